"""Refinements find the truth of simulated scans, by every method and for every unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.physics.probe import mode_powers, orthogonalise
from ptycho_dist.physics.propagators import ConeBeam, NearField, wavelength_m
from tests.support.truth import Truth, make_truth
from tests.torch.refine.conftest import Refine, phase_error_rad, product_of

METHODS: dict[str, dict[str, Any]] = {
    "pie": {"iterations": 60},
    "pie with alpha 0.2": {"iterations": 60, "alpha": 0.2},
    "pie with momentum": {"iterations": 60, "momentum": 0.3},
    "pie with cooling": {"iterations": 80, "cooling": 0.3},
    "lsqml": {"iterations": 60, "method": "lsqml"},
    "gradient": {"iterations": 150, "method": "gradient", "batch_size": 16},
}


@pytest.mark.parametrize("method", METHODS)
def test_object_is_found_from_ones(truth: Truth, refine: Refine, method: str) -> None:
    result = refine(truth.path, **METHODS[method])
    assert result.fourier_errors[-1] < 0.03
    assert result.fourier_errors[-1] < 0.15 * result.fourier_errors[0]
    assert phase_error_rad(product_of(result), truth) < 0.05


def test_fixed_probe_stays_as_it_is(truth: Truth, refine: Refine) -> None:
    result = refine(truth.path, iterations=3, probe_step=0.0)
    found, expected = product_of(result).probe[0], truth.probe[0]
    assert np.allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), atol=1e-5)


def test_precision_64_goes_below_that_of_32(truth: Truth, refine: Refine) -> None:
    coarse = refine(truth.path, iterations=2, name="32")
    fine = refine(truth.path, iterations=2, name="64", precision="64-true")
    assert coarse.fourier_errors == pytest.approx(fine.fourier_errors, rel=1e-3)
    assert coarse.fourier_errors != fine.fourier_errors


def test_masked_pixels_do_not_count(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    bad = np.ones((32, 32), bool)
    bad[::7, ::5] = False
    masked = make_truth(tmp_path / "masked.h5", mask=bad)
    result = refine(masked.path, iterations=60)
    assert result.fourier_errors[-1] < 0.03
    assert phase_error_rad(product_of(result), truth) < 0.06


def test_positions_are_found(refine: Refine, tmp_path: Path) -> None:
    exact = make_truth(tmp_path / "exact.h5")
    wrong = exact.positions_px + np.random.default_rng(1).normal(0, 0.7, exact.positions_px.shape)
    moved = make_truth(tmp_path / "moved.h5", nominal_px=np.clip(wrong, 1, None))
    fixed = refine(moved.path, iterations=60, name="fixed")
    free = refine(moved.path, iterations=80, position_start=5, alpha=0.2, name="free")
    assert free.fourier_errors[-1] < 0.4 * fixed.fourier_errors[-1]
    assert rms_error(product_of(free).positions_px, exact) < 0.25 * rms_error(wrong, exact)


def rms_error(positions_px: np.ndarray[Any, Any], truth: Truth) -> float:
    """Rms distance from the true positions; a common shift is no error."""
    error = positions_px - truth.positions_px
    return float(np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean()))


def test_flux_of_each_pattern_is_found(refine: Refine, tmp_path: Path) -> None:
    flux = np.random.default_rng(2).uniform(0.6, 1.4, 49)
    flickering = make_truth(tmp_path / "flux.h5", flux=flux)
    blind = refine(flickering.path, iterations=40, name="blind")
    result = refine(flickering.path, iterations=60, flux=True, alpha=0.2, name="seeing")
    assert result.fourier_errors[-1] < 0.35 * blind.fourier_errors[-1]
    found = product_of(result).extras["flux"]
    assert np.corrcoef(found, flux)[0, 1] > 0.9


def test_background_is_found(refine: Refine, tmp_path: Path) -> None:
    foggy = make_truth(tmp_path / "fog.h5", background=20.0, photons=1e5)
    blind = refine(foggy.path, iterations=40, name="blind")
    result = refine(foggy.path, iterations=60, background=True, alpha=0.2, name="seeing")
    assert result.fourier_errors[-1] < 0.35 * blind.fourier_errors[-1]
    assert np.median(product_of(result).extras["background"]) == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize("source_distance_m", [None, 0.02])
def test_near_field_scan_is_explained(refine: Refine, tmp_path: Path, source_distance_m: float | None) -> None:
    units = {"pixel_size_m": 1e-7, "energy_eV": 8000.0, "detector_distance_m": 2e-3}
    beam = ConeBeam(source_distance_m or np.inf, units["detector_distance_m"])
    like = torch.zeros((), dtype=torch.complex128)
    near = NearField.over(32, 1e-7, wavelength_m(8000.0), beam.effective_distance_m, like)
    scan = make_truth(tmp_path / "near.h5", propagator=near, **units)
    result = refine(scan.path, iterations=60, propagation="near_field", source_distance_m=source_distance_m)
    assert result.fourier_errors[-1] < 0.03
    assert phase_error_rad(product_of(result), scan) < 0.2
    wrong = refine(scan.path, iterations=60, name="far")
    assert wrong.fourier_errors[-1] > 5 * result.fourier_errors[-1]


def test_modes_are_found_orthogonal_and_ordered(refine: Refine, tmp_path: Path) -> None:
    several = make_truth(tmp_path / "modes.h5", n_modes=3)
    alone = refine(several.path, iterations=40, n_modes=1, name="one")
    result = refine(several.path, iterations=60, n_modes=3, alpha=0.2, name="three")
    assert result.fourier_errors[-1] < 0.4 * alone.fourier_errors[-1]
    modes = product_of(result).probe.reshape(3, -1)
    gram = np.abs(modes @ modes.conj().T)
    assert np.all(gram - np.diag(np.diag(gram)) < 1e-3 * gram[0, 0])
    assert list(result.mode_powers) == sorted(result.mode_powers, reverse=True)
    assert sum(result.mode_powers) == pytest.approx(1.0)


def test_orthogonalise_keeps_the_mutual_intensity() -> None:
    modes = torch.randn(4, 8, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    found = orthogonalise(modes)

    def mutual(probe: torch.Tensor) -> torch.Tensor:
        flat = probe.reshape(4, -1)
        return flat.T @ flat.conj()

    assert torch.allclose(mutual(found), mutual(modes), atol=1e-12)
    assert mode_powers(found) == sorted(mode_powers(found), reverse=True)
