"""The probe of a scan is found before its prediction, if that makes the prediction better."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import BundleError
from ptycho_dist.evaluate.fourier import fourier_errors
from ptycho_dist.inference import found_probe
from ptycho_dist.inference.found_probe import FoundProbe, load_found_probe
from ptycho_dist.inference.run import run_inference
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.probe_stage import find_probe, sample_of
from tests.support.runs import inference_payload, simulate_tiny
from tests.support.wrong_probe import bundle_without_probe, with_wrong_probe


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate a scan that holds its true probe."""
    return simulate_tiny(tmp_path_factory.mktemp("exact") / "scan.h5", n_patterns=100, step_px=3.0)


@pytest.fixture(scope="module")
def wrong(exact: Path) -> Path:
    """Give it another probe."""
    return with_wrong_probe(exact, exact.with_name("wrong.h5"), 4.0)


@pytest.fixture(scope="module")
def bundle(exact: Path) -> Path:
    return bundle_without_probe(exact, exact.parent / "net")


def predicted(bundle: Path, path: Path, folder: Path, **overrides: Any) -> tuple[Path, FoundProbe | None]:
    payload = inference_payload(bundle, path, folder, probe_patterns=50, **overrides)
    with open_scan(path) as scan:
        found = find_probe(payload, single_rank(), scan)
        return run_inference(payload, single_rank(), scan, found=found).product_path, found


def likeness(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Correlation of two probes, 0 to 1, whatever their scale and phase."""
    return float(abs(np.vdot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_wrong_probe_is_replaced_by_one_that_predicts_better(
    bundle: Path, exact: Path, wrong: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ptycho_dist.probe_stage"):
        path, found = predicted(bundle, wrong, tmp_path / "found")
    supplied, _ = predicted(bundle, wrong, tmp_path / "supplied", probe_search="never")
    assert found is not None
    assert found.is_new
    assert found.found_error < 0.95 * found.supplied_error
    assert f"{found.found_error:.4f} with it, {found.supplied_error:.4f} with the supplied one" in caplog.text
    with open_scan(exact) as scan, open_scan(wrong) as given:
        assert scan.probe is not None
        errors = [fourier_errors(read_product(one), given).error() for one in (path, supplied)]
        likenesses = [likeness(read_product(one).probe, scan.probe) for one in (path, supplied)]
    assert errors[0] < 0.97 * errors[1]
    assert likenesses[0] > likenesses[1]
    assert read_product(path).metadata.provenance["probe_used"] == "found"


def test_right_probe_is_kept_with_the_bits_of_a_prediction_without_a_search(
    bundle: Path, exact: Path, tmp_path: Path
) -> None:
    path, found = predicted(bundle, exact, tmp_path / "searched")
    plain, nothing = predicted(bundle, exact, tmp_path / "plain", probe_search="never")
    assert nothing is None
    assert found is not None
    assert not found.is_new
    one, other = read_product(path), read_product(plain)
    assert np.array_equal(one.object_, other.object_)
    assert np.array_equal(one.probe, other.probe)


@pytest.mark.parametrize(("changes", "settled"), [
    ({}, "always"), ({"probe_search": "never"}, "never"), ({"probe_search": "always"}, "always"),
])  # fmt: skip
def test_search_is_settled_by_whose_probe_it_is(
    bundle: Path, exact: Path, tmp_path: Path, changes: dict[str, Any], settled: str
) -> None:
    payload = inference_payload(bundle, exact, tmp_path, **changes)
    assert payload.inference_config.probe_search == settled
    assert payload.result_settings()["inference"]["probe_search"] == settled


def test_probe_of_a_killed_prediction_is_used_again_and_removed_at_the_end(
    bundle: Path, wrong: Path, tmp_path: Path
) -> None:
    payload = inference_payload(bundle, wrong, tmp_path, probe_patterns=50)
    with open_scan(wrong) as scan:
        first = find_probe(payload, single_rank(), scan)
        assert first is not None
        marked = FoundProbe(first.probe * np.complex64(2), True, 0.5, 0.25, 7)
        marked.save(tmp_path, payload.result_fingerprint())
        again = find_probe(payload, single_rank(), scan, resume=True)
        assert again is not None
        assert again.facts() == marked.facts()
        assert np.array_equal(again.probe, marked.probe)
        fresh = find_probe(payload, single_rank(), scan)
        assert fresh is not None
        assert np.array_equal(fresh.probe, first.probe)
        run_inference(payload, single_rank(), scan, found=fresh)
    assert not (tmp_path / found_probe.NAME).exists()


def test_probe_of_another_prediction_is_not_used_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    FoundProbe(np.ones((1, 8, 8), np.complex64), True, 0.5, 0.25, 7).save(tmp_path, "one")
    assert load_found_probe(tmp_path, "other") is None
    path = tmp_path / found_probe.NAME
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BundleError, match="resume false"):
        load_found_probe(tmp_path, "one")


def test_scan_of_few_patterns_keeps_its_probe(bundle: Path, tmp_path: Path) -> None:
    path = simulate_tiny(tmp_path / "few.h5", n_patterns=9)
    _, found = predicted(bundle, path, tmp_path / "out")
    assert found is None


@pytest.mark.parametrize(("count", "wanted"), [(16, 192), (100, 192), (500, 192), (3000, 192), (3000, 40)])
def test_sample_is_about_as_large_as_asked_for_and_never_more_than_half(count: int, wanted: int) -> None:
    positions_px = np.random.default_rng(0).uniform(0, 100, (count, 2))
    sample = sample_of(positions_px, wanted)
    assert np.array_equal(sample, np.unique(sample))
    most = min(wanted, count // 2)
    assert 0.6 * most <= len(sample) <= most
