"""Modes that start equal separate, the same on every rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.start_modes import separable
from tests.support.truth import make_truth
from tests.torch.refine.conftest import Refine, product_of


def modes(*weights: complex) -> torch.Tensor:
    one = torch.randn(8, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    return torch.stack([weight * one for weight in weights])


@pytest.mark.parametrize("equal", [(1, 1), (1, -0.5j, 2), (1, 0)])
def test_equal_modes_become_independent_of_the_same_power(equal: tuple[complex, ...]) -> None:
    found = separable(modes(*equal))
    flat = found.reshape(len(equal), -1)
    assert int(torch.linalg.matrix_rank(flat, rtol=1e-3)) == len(equal)
    assert float(probe_intensity(found).sum()) == pytest.approx(float(probe_intensity(modes(*equal)).sum()))
    assert torch.equal(found, separable(modes(*equal)))


def test_independent_modes_stay_as_they_are() -> None:
    different = torch.randn(3, 8, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(5))
    assert torch.equal(separable(different), different)


def test_refinement_separates_modes_that_start_equal(refine: Refine, tmp_path: Path) -> None:
    several = make_truth(tmp_path / "modes.h5", n_modes=2)
    start = tmp_path / "start.npz"
    corner = np.floor(several.positions_px.min(axis=0)).astype(int)
    equal = np.repeat(several.probe[:1], 2, axis=0)
    np.savez(start, object=np.ones_like(several.object_[corner[0] :, corner[1] :]), probe=equal)
    result = refine(several.path, start=start, iterations=40)
    alone = refine(several.path, iterations=40, n_modes=1, name="one")
    assert result.fourier_errors[-1] < 0.5 * alone.fourier_errors[-1]
    found = product_of(result).probe.reshape(2, -1)
    assert abs(np.vdot(found[0], found[1])) < 1e-3 * np.vdot(found[0], found[0]).real
