"""What a refinement fits is what its product is judged by: one forward model, every method and option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.physics.probe import disc
from ptycho_dist.physics.propagators import FarField, NearField, Propagator, wavelength_m
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, amplitude_ratio, residual
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.run import Iteration
from tests.support.truth import make_truth
from tests.torch.refine.conftest import Refine, product_of

UNITS = {"pixel_size_m": 1e-7, "energy_eV": 8000.0, "detector_distance_m": 2e-3}
LIKE = torch.zeros((), dtype=torch.complex64)
NEAR = NearField.over(32, 1e-7, wavelength_m(8000.0), 2e-3, LIKE)
UNEVEN = np.random.default_rng(3).uniform(0.6, 1.4, 49)


def mask_of() -> np.ndarray:
    mask = np.random.default_rng(4).uniform(size=(32, 32)) > 0.1
    mask[:, 7] = False
    return mask


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Propagator]] = {
    "plain": ({}, {}, FarField()),
    "flux": ({"flux": UNEVEN}, {"flux": True}, FarField()),
    "background": ({"background": 5.0}, {"background": True}, FarField()),
    "modes": ({"n_modes": 2}, {"n_modes": 3}, FarField()),
    "positions": ({}, {"position_start": 2}, FarField()),
    "momentum": ({}, {"momentum": 0.3, "cooling": 0.5}, FarField()),
    "mask": ({"mask": mask_of()}, {}, FarField()),
    "support": ({}, {"probe_support_px": 20.0}, FarField()),
    "near_field": ({"propagator": NEAR, **UNITS}, {"propagation": "near_field"}, NEAR),
    "everything": (
        {"propagator": NEAR, "flux": UNEVEN, "background": 5.0, "mask": mask_of(), **UNITS},
        {
            "propagation": "near_field", "flux": True, "background": True, "n_modes": 2, "position_start": 2,
            "momentum": 0.2, "probe_support_px": 22.0,
        },
        NEAR,
    ),
}  # fmt: skip


def own_error(estimate: Estimate, scan: Scan, propagator: Propagator) -> float:
    """Fourier error by the forward model that the refinement runs, evaluated once."""
    every = np.arange(scan.header.n_patterns)
    share = AmplitudeReader(scan, propagator, torch.zeros(()), single_rank()).read(every)
    windows = Windows(estimate.positions_px, estimate.N, estimate.canvas_px)
    modulus = share.amplitude_nNN / estimate.flux_B.float().sqrt()[:, None, None]
    mask = None if scan.mask is None else propagator.arrange(torch.from_numpy(scan.mask))
    batch = Batch(windows, slice(0, len(every)), windows, modulus, mask_NN=mask)
    squared = residual(estimate, batch, propagator, amplitude_ratio).squared_B.double() * estimate.flux_B
    return float(torch.sqrt(squared.sum() / share.photons_n.sum()))


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
@pytest.mark.parametrize("case", CASES)
def test_metrics_give_the_error_of_the_refinement_itself(
    refine: Refine, tmp_path: Path, case: str, method: str
) -> None:
    content, settings, propagator = CASES[case]
    truth = make_truth(tmp_path / "scan.h5", **content)
    last: list[Iteration] = []
    result = refine(truth.path, iterations=4, method=method, callbacks=(last.append,), **settings)
    refiner = last[-1].refiner
    assert isinstance(refiner, Refiner)
    with open_scan(truth.path) as scan:
        metrics = evaluate_product(result.product_path, scan, tmp_path / "out")
        expected = own_error(refiner.estimate, scan, propagator)
    assert metrics["fourier_error"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("method", ["pie", "gradient"])
def test_probe_stays_within_its_support(refine: Refine, tmp_path: Path, method: str) -> None:
    outside = ~disc(32, 20.0).numpy()
    truth = make_truth(tmp_path / "scan.h5")
    result = refine(truth.path, iterations=3, method=method, probe_support_px=20.0)
    probe = product_of(result).probe
    assert np.abs(probe[:, outside]).max() == 0
    assert np.abs(probe[:, ~outside]).max() > 0


def test_probe_mask_of_the_scan_is_a_support(refine: Refine, tmp_path: Path) -> None:
    inside = np.zeros((32, 32), np.bool_)
    inside[6:28, 4:26] = True
    truth = make_truth(tmp_path / "scan.h5", probe_mask=inside)
    probe = product_of(refine(truth.path, iterations=3)).probe
    assert np.abs(probe[:, ~inside]).max() == 0


def test_near_field_product_is_judged_in_the_near_field(refine: Refine, tmp_path: Path) -> None:
    truth = make_truth(tmp_path / "scan.h5", propagator=NEAR, **UNITS)
    result = refine(truth.path, iterations=30, propagation="near_field")
    with open_scan(truth.path) as scan:
        found = evaluate_product(result.product_path, scan, tmp_path / "out")["fourier_error"]
    assert found < 1.1 * result.fourier_errors[-1]
    assert product_of(result).metadata.propagation.distance_m == pytest.approx(2e-3)


def test_known_flux_enters_the_error(refine: Refine, tmp_path: Path) -> None:
    truth = make_truth(tmp_path / "scan.h5", flux=UNEVEN)

    def error(name: str, **settings: Any) -> float:
        result = refine(truth.path, iterations=30, name=name, **settings)
        with open_scan(truth.path) as scan:
            return float(evaluate_product(result.product_path, scan, tmp_path / name)["fourier_error"])

    assert error("fitted", flux=True) < 0.3 * error("ignored")


@pytest.mark.parametrize(("source_distance_m", "distance_m"), [(None, 2e-3), (2e-3, 1e-3)])
def test_near_field_product_of_version_0_1_is_judged_in_the_near_field(
    refine: Refine, tmp_path: Path, source_distance_m: float | None, distance_m: float
) -> None:
    path = refine(make_truth(tmp_path / "scan.h5", **UNITS).path, iterations=1).product_path
    settings = {"propagation": "near_field", "source_distance_m": source_distance_m}
    with h5py.File(path, "r+") as file:
        del file.attrs["ptycho_dist_propagation"]
        file.attrs["ptycho_dist_provenance"] = json.dumps({"payload": {"refine": settings}})
    found = read_product(path).metadata.propagation
    assert (found.kind, found.energy_eV) == ("near_field", 8000.0)
    assert (found.pixel_size_m, found.distance_m) == pytest.approx((1e-7, distance_m))
