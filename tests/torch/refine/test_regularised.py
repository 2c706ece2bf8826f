"""Few photons: regularised passes, what decides about them, and the uncertainty from halves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.formats.product_h5 import UNCERTAINTY
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.refine.run import Iteration, RefinementResult
from ptycho_dist.simulate.run import simulate
from tests.support.truth import Truth
from tests.torch.refine.conftest import Refine, product_of
from tests.torch.refine.test_run import require_equal, stop_at

FEW = SimulateConfig(output_file=Path("few.h5"), N=32, n_patterns=49, step_px=4.0, photons=500.0)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate a scan of few photons; not to be changed."""
    return simulate(replace(FEW, output_file=tmp_path_factory.mktemp("few") / "few.h5"))


def ssim_phase(result: RefinementResult, path: Path) -> float:
    product = product_of(result)
    with open_scan(path) as scan:
        truth, probe, origin = scan.object_, scan.probe, scan.object_origin_px
        assert truth is not None
        assert probe is not None
        assert origin is not None
        area = scanned_area(illumination(scan.positions_px, probe, truth.shape, origin))
    found = Placed(product.object_, product.geometry.object_origin_px)
    return compare_to_reference(found, Placed(truth, (float(origin[0]), float(origin[1]))), area).ssim_phase


@pytest.mark.slow
def test_refinement_of_few_photons_is_regularised_and_better(few: Path, refine: Refine) -> None:
    plain = refine(few, regularisation="none", name="plain")
    found = refine(few, regularisation="auto", regularised_passes=20)
    assert found.facts()["regularisation"] > 0
    assert len(found.fourier_errors) == len(plain.fourier_errors) + 20
    assert ssim_phase(found, few) > ssim_phase(plain, few) + 0.05
    deviances = found.facts()["held_out_deviance"]
    assert min(deviances.values()) == 0.0
    assert deviances["iterations alone"] > 0


def test_refinement_is_not_regularised_where_noise_limits_nothing(refine: Refine, tmp_path: Path) -> None:
    many = simulate(replace(FEW, output_file=tmp_path / "many.h5", photons=1e8))
    found = refine(many, iterations=2, regularisation="auto")
    assert isinstance(found.facts()["regularisation"], NotMeasured)
    assert "noise limits nothing" in found.facts()["regularisation"]
    assert len(found.fourier_errors) == 2


def test_refinement_of_what_is_not_counted_is_not_regularised(truth: Truth, refine: Refine) -> None:
    found = refine(truth.path, iterations=2, regularisation="auto", uncertainty=True)
    assert "were not counted" in found.facts()["regularisation"]
    assert "were not counted" in found.facts()["uncertainty_median"]
    assert UNCERTAINTY not in product_of(found).extras


def test_weight_that_is_given_is_taken(few: Path, refine: Refine) -> None:
    found = refine(few, iterations=3, regularisation=0.5, regularised_passes=4)
    assert found.facts()["regularisation"] == 0.5
    assert len(found.fourier_errors) == 7


def test_refinement_without_a_weight_ends_with_its_iterations(few: Path, refine: Refine) -> None:
    found = refine(few, iterations=2)
    assert len(found.fourier_errors) == 2
    assert "none" in found.facts()["regularisation"]


def test_start_that_was_kept_is_regularised_with_the_bits_that_it_has_alone(few: Path, refine: Refine) -> None:
    settings = {"iterations": 8, "regularisation": 0.5, "regularised_passes": 3}
    start = refine(few, iterations=4, name="start").product_path
    alone = {
        "network": refine(few, start=start, **settings, name="network"),
        "ones": refine(few, **settings, name="ones"),
    }
    both = refine(few, start=start, start_from="both", **settings, name="both")
    assert both.fourier_errors == alone[both.start].fourier_errors
    assert np.array_equal(product_of(both).object_, product_of(alone[both.start]).object_)
    told = both.facts()
    assert (told["refined_from"], told["regularisation"]) == (both.start, 0.5)
    assert told["fourier_error_from_ones"] in both.by_start["ones"][:8]
    with pytest.raises(StopRequested):
        refine(few, start=start, start_from="both", **settings, callbacks=(stop_at(10),))
    seen: list[Iteration] = []
    rest = refine(few, start=start, start_from="both", **settings, resume=True, callbacks=(seen.append,))
    assert seen[0].number == 9
    assert (rest.start, rest.by_start) == (both.start, both.by_start)
    assert np.array_equal(product_of(rest).object_, product_of(both).object_)


@pytest.mark.parametrize("iteration", [2, 5])
def test_stopped_regularised_refinement_resumes_with_the_same_bits(few: Path, refine: Refine, iteration: int) -> None:
    settings = {"iterations": 3, "regularisation": "auto", "regularised_passes": 4, "flux": True, "background": True}
    whole = refine(few, **settings, name="whole")
    with pytest.raises(StopRequested):
        refine(few, **settings, callbacks=(stop_at(iteration),))
    seen: list[Iteration] = []
    require_equal(refine(few, **settings, resume=True, callbacks=(seen.append,)), whole)
    assert seen[0].number == min(iteration, 3) + 1


def test_share_that_does_not_fit_memory_gives_the_same_regularised_bits(few: Path, refine: Refine) -> None:
    settings = {"iterations": 2, "regularisation": "auto", "regularised_passes": 3, "flux": True, "background": True}
    require_equal(refine(few, **settings, memory_GiB=1e-6, name="pieces"), refine(few, **settings, name="whole"))


@pytest.mark.slow
def test_uncertainty_has_the_size_of_the_error(few: Path, refine: Refine) -> None:
    found = refine(few, iterations=10, regularisation="auto", regularised_passes=20, uncertainty=True)
    product = product_of(found)
    deviation = product.extras[UNCERTAINTY]
    assert deviation.shape == product.object_.shape
    with open_scan(few) as scan:
        truth, probe, origin = scan.object_, scan.probe, scan.object_origin_px
        assert truth is not None
        assert probe is not None
        assert origin is not None
        area = scanned_area(illumination(scan.positions_px, probe, truth.shape, origin))
    placed = Placed(truth, (float(origin[0]), float(origin[1])))
    compared = compare_to_reference(Placed(product.object_, product.geometry.object_origin_px), placed, area)
    error = np.abs(compared.registered.object_ - compared.reference)[compared.area] / abs(compared.registered.scale)
    assert found.facts()["uncertainty_median"] == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=0.5)
    assert found.facts()["halves_resolution_one_seventh_px"] >= 2.0
