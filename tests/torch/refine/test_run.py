"""A refinement as a job: start, memory, stop and resume, product, and what it refuses."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.errors import ConfigError, DataFormatError, RefinementError
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.refine import checkpoint
from ptycho_dist.refine.run import Iteration, RefinementResult
from tests.support.scans import make_scan, write_tike
from tests.support.truth import Truth, make_truth
from tests.torch.refine.conftest import Refine, phase_error_rad, product_of

EVERYTHING: dict[str, Any] = {
    "iterations": 6, "position_start": 2, "flux": True, "background": True, "n_modes": 2, "momentum": 0.2,
    "cooling": 0.5,
}  # fmt: skip


def require_equal(one: RefinementResult, other: RefinementResult) -> None:
    assert one.fourier_errors == other.fourier_errors
    found, expected = product_of(one), product_of(other)
    for name in ("object_", "probe", "positions_px"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert all(np.array_equal(found.extras[name], expected.extras[name]) for name in ("flux", "background"))


@pytest.mark.parametrize("memory_GiB", [1e-9, 5e-5])
def test_share_that_does_not_fit_memory_gives_the_same_bits(truth: Truth, refine: Refine, memory_GiB: float) -> None:
    whole = refine(truth.path, **EVERYTHING, name="whole")
    require_equal(refine(truth.path, **EVERYTHING, memory_GiB=memory_GiB, name="pieces"), whole)


def stop_at(iteration: int) -> Any:
    def callback(done: Iteration) -> None:
        if done.number == iteration:
            os.kill(os.getpid(), signal.SIGTERM)

    return callback


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
def test_stopped_refinement_resumes_with_the_same_bits(truth: Truth, refine: Refine, method: str) -> None:
    whole = refine(truth.path, **EVERYTHING, method=method, name="whole")
    for iteration in (1, 4):
        with pytest.raises(StopRequested):
            refine(truth.path, **EVERYTHING, method=method, name=str(iteration), callbacks=(stop_at(iteration),))
        seen: list[Iteration] = []
        again = {"name": str(iteration), "resume": True, "callbacks": (seen.append,)}
        rest = refine(truth.path, **EVERYTHING, method=method, **again)
        assert [one.number for one in seen] == list(range(iteration + 1, 7))
        require_equal(rest, whole)


def test_state_of_other_settings_is_not_taken_up(truth: Truth, refine: Refine) -> None:
    with pytest.raises(StopRequested):
        refine(truth.path, iterations=4, callbacks=(stop_at(2),))
    other = refine(truth.path, iterations=4, seed=1, resume=True)
    assert other.fourier_errors == refine(truth.path, iterations=4, seed=1, name="fresh").fourier_errors


def test_damaged_state_is_refused(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    with pytest.raises(StopRequested):
        refine(truth.path, iterations=4, callbacks=(stop_at(2),))
    path = tmp_path / "out" / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RefinementError, match="resume false"):
        refine(truth.path, iterations=4, resume=True)


def test_state_is_gone_after_a_good_end(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    refine(truth.path, iterations=2, checkpoint_interval_s=0.0)
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["product.h5"]


def test_callbacks_are_told_of_each_iteration(truth: Truth, refine: Refine) -> None:
    told: list[Iteration] = []
    result = refine(truth.path, iterations=3, callbacks=(told.append,))
    assert [one.number for one in told] == [1, 2, 3]
    assert tuple(one.fourier_error for one in told) == result.fourier_errors
    assert all(one.patterns_per_s > 0 and one.total == 3 for one in told)


def test_product_is_a_start(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    first = refine(truth.path, iterations=20, position_start=15, name="first")
    second = refine(truth.path, start=first.product_path, iterations=20, name="second")
    assert second.fourier_errors[0] < 1.15 * first.fourier_errors[-1]
    assert second.fourier_errors[-1] < first.fourier_errors[-1]
    assert np.allclose(product_of(second).positions_px, product_of(first).positions_px, atol=1e-9)


def test_npz_is_a_start(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    corner = np.floor(truth.positions_px.min(axis=0)).astype(int)
    path = tmp_path / "start.npz"
    np.savez(path, object=truth.object_[corner[0] :, corner[1] :], probe=truth.probe)
    result = refine(truth.path, start=path, iterations=1)
    assert result.fourier_errors[0] < 1e-3
    assert phase_error_rad(product_of(result), truth) < 0.02


def test_losses_of_the_product_are_the_fourier_errors(truth: Truth, refine: Refine) -> None:
    result = refine(truth.path, iterations=3)
    assert tuple(product_of(result).losses) == result.fourier_errors


def test_steps_too_long_are_told(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    with pytest.raises(RefinementError, match="object_step"):
        refine(truth.path, iterations=60, object_step=50.0, probe_step=50.0)
    assert not (tmp_path / "out" / "product.h5").exists()


def test_start_of_another_scan_is_refused(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    other = make_truth(tmp_path / "other.h5", across=5)
    product = refine(other.path, iterations=1, name="other").product_path
    with pytest.raises(DataFormatError, match="25 patterns of 32 pixels; expected the 49 patterns"):
        refine(truth.path, start=product, iterations=1)


@pytest.mark.parametrize("content", [b"no archive", None])
def test_npz_without_an_object_is_refused(truth: Truth, refine: Refine, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "start.npz"
    if content is None:
        np.savez(path, something=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(DataFormatError, match="object"):
        refine(truth.path, start=path, iterations=1)


def test_start_that_is_not_finite_is_refused(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    np.savez(path, object=np.full((60, 60), np.nan + 0j))
    with pytest.raises(RefinementError, match="finite"):
        refine(truth.path, start=path, iterations=1)


def test_scan_without_a_probe_is_refused(tmp_path: Path) -> None:
    path = write_tike(tmp_path / "bare.npz", make_scan(), probe=None)
    with pytest.raises((ConfigError, DataFormatError), match="probe"):
        create_refine_payload(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "bf16-mixed"}, "needs 32-true or 64-true"),
        ({"propagation": "near_field"}, "does not say pixel_size_m, energy_eV, detector_distance_m"),
        ({"method": "newton"}, "refine.method"),
        ({"alpha": 1.5}, "refine.alpha"),
        ({"iterations": -1}, "refine.iterations"),
        ({"object_stepp": 1.0}, "object_step"),
    ],
)
def test_settings_that_cannot_be_had_are_refused(
    truth: Truth, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        create_refine_payload(truth.path, tmp_path / "out", settings)


def test_missing_start_is_refused(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file"):
        create_refine_payload(truth.path, tmp_path / "out", start=tmp_path / "nosuch.h5")


def test_payload_depends_on_what_changes_the_result_only(truth: Truth, tmp_path: Path) -> None:
    first = create_refine_payload(truth.path, tmp_path / "a", {"accelerator": "cpu"})
    elsewhere = create_refine_payload(truth.path, tmp_path / "b", {"accelerator": "cpu", "memory_GiB": 1.0})
    other = create_refine_payload(truth.path, tmp_path / "a", {"accelerator": "cpu", "alpha": 0.5})
    assert first.result_fingerprint() == elsewhere.result_fingerprint() != other.result_fingerprint()
    assert first.refine_config.batch_size == 8
    assert create_refine_payload(truth.path, tmp_path / "a", {"method": "gradient"}).refine_config.batch_size == 64
