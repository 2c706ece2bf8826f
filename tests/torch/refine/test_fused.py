"""Compiled loops give what operations of torch give, with any number of threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ptycho_dist.config.refine import METHOD_DEFAULTS, RefineConfig
from ptycho_dist.physics.propagators import FarField
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, amplitude_ratio, poisson_ratio, residual
from ptycho_dist.refine.fused import Fused
from ptycho_dist.refine.methods import make_method
from ptycho_dist.refine.pie import object_direction, probe_direction
from ptycho_dist.refine.reductions import keep_own, run_update

N, COUNT = 48, 7


def complex_noise(*shape: int, seed: int) -> Tensor:
    random = np.random.default_rng(seed)
    values = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return torch.from_numpy(values.astype(np.complex64))


def fused_of(mask_NN: Tensor | None, threads: int) -> Fused:
    return replace(Fused.of(N, mask_NN, threads), worth_a_thread=1)


def estimate_of(modes: int, *, background: bool) -> Estimate:
    random = np.random.default_rng(2)
    positions = torch.from_numpy(random.uniform(0, 60, (COUNT, 2)))
    positions[0] = 0.0
    positions[1] = torch.tensor([60.0, 17.0])
    dark = torch.from_numpy(random.uniform(0, 0.5, (N, N)).astype(np.float32)) if background else None
    return Estimate(
        1 + 0.2 * complex_noise(61 + N, 61 + N, seed=3), complex_noise(modes, N, N, seed=4), positions,
        torch.ones(COUNT, dtype=torch.float64), dark,
    )  # fmt: skip


def batch_of(estimate: Estimate, fused: Fused | None, mask_NN: Tensor | None) -> Batch:
    random = np.random.default_rng(5)
    windows = Windows(estimate.positions_px, N, estimate.canvas_px)
    measured = torch.from_numpy(random.uniform(0, 3, (COUNT, N, N)).astype(np.float32))
    return Batch(windows, slice(0, COUNT), windows, measured, is_crowded=True, mask_NN=mask_NN, fused=fused)


def mask_of(masked: bool) -> Tensor | None:
    return torch.from_numpy(np.random.default_rng(6).random((N, N)) > 0.2) if masked else None


def require_near(found: Tensor, expected: Tensor) -> None:
    largest = float(expected.abs().max())
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 3e-6 * max(largest, 1e-3)


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("background", [False, True], ids=["dark", "background"])
@pytest.mark.parametrize("threads", [1, 3])
def test_residual_and_directions_are_those_of_torch(modes: int, masked: bool, background: bool, threads: int) -> None:
    estimate, mask = estimate_of(modes, background=background), mask_of(masked)
    whole = batch_of(estimate, None, mask)
    compiled = replace(whole, fused=fused_of(mask, threads))
    expected, found = (residual(estimate, one, FarField(), amplitude_ratio) for one in (whole, compiled))
    assert found.fused is not None
    for name in ("patches_BNN", "exit_waves_PBNN", "squared_B", "modelled_BNN"):
        require_near(getattr(found, name), getattr(expected, name))
    guide = complex_noise(modes, N, N, seed=8)
    require_near(object_direction(guide, found), object_direction(guide, expected))
    for one, other in zip(probe_direction(found), probe_direction(expected), strict=True):
        require_near(one, other)


@pytest.mark.parametrize("factor", [1.0, -0.3])
def test_steps_are_added_and_compared_as_by_torch(factor: float) -> None:
    estimate, steps = estimate_of(1, background=False), complex_noise(COUNT, N, N, seed=9)
    expected, found = estimate.object_HW.clone(), estimate.object_HW.clone()
    batch, fused = batch_of(estimate, None, None), fused_of(None, 2)
    batch.add_to(expected, steps, factor)
    replace(batch, fused=fused).add_to(found, steps, factor)
    require_near(found, expected)
    own, along = fused.agreement(expected, batch.everyone, steps)
    there = batch.everyone.gather(expected)
    require_near(own, (steps.abs() ** 2).sum(dim=(1, 2)))
    require_near(along, (steps.conj() * there).real.sum(dim=(1, 2)))


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
@pytest.mark.parametrize("modes", [1, 2])
def test_update_is_that_of_torch(method: str, modes: int, tmp_path: Path) -> None:
    chosen = {name: METHOD_DEFAULTS[method][name] for name in ("object_step", "probe_step")}
    config = RefineConfig(scan=tmp_path / "s.h5", output_dir=tmp_path, method=method, **chosen)
    changed = []
    for fused in (None, fused_of(None, 2)):
        estimate = estimate_of(modes, background=False)
        made, batch = make_method(config, estimate), batch_of(estimate, fused, None)
        run_update(
            made.update(estimate, batch, residual(estimate, batch, FarField(), made.ratio), 0.5), batch, keep_own
        )
        changed.append(estimate)
    before = estimate_of(modes, background=False)
    assert float((changed[0].object_HW - before.object_HW).abs().max()) > 1e-3
    require_near(changed[1].object_HW, changed[0].object_HW)
    require_near(changed[1].probe_PNN, changed[0].probe_PNN)


def test_number_of_threads_changes_no_bit() -> None:
    found = []
    for threads in (1, 2, 5):
        estimate = estimate_of(2, background=True)
        fused = fused_of(mask_of(masked=True), threads)
        batch = batch_of(estimate, fused, mask_of(masked=True))
        own = residual(estimate, batch, FarField(), amplitude_ratio)
        batch.add_to(estimate.object_HW, object_direction(estimate.probe_PNN, own), 0.1)
        found.append((estimate.object_HW, own.squared_B, *probe_direction(own)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_other_likelihoods_and_empty_batches_are_left_to_torch() -> None:
    estimate = estimate_of(1, background=False)
    batch = batch_of(estimate, fused_of(None, 1), None)
    expected = residual(estimate, replace(batch, fused=None), FarField(), poisson_ratio)
    found = residual(estimate, batch, FarField(), poisson_ratio)
    assert torch.equal(found.exit_waves_PBNN, expected.exit_waves_PBNN)
    none = batch.everyone.take(slice(0, 0))
    empty = replace(batch, part=slice(0, 0), own=none, modulus_BNN=torch.zeros(0, N, N))
    nothing = residual(estimate, empty, FarField(), amplitude_ratio)
    change, light, squared = probe_direction(nothing)
    assert [len(nothing.squared_B), float(change.abs().sum()), float(light.sum()), float(squared)] == [0, 0, 0, 0]
    assert object_direction(estimate.probe_PNN, nothing).shape == (0, N, N)
