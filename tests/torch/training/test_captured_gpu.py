"""Training steps as CUDA graphs: the bits of those that are done operation by operation, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ptycho_dist.data.datamodule import ScanBatch, read_groups
from ptycho_dist.data.scan import open_scan
from ptycho_dist.training.captured import CapturedTerms
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.objective import Terms
from ptycho_dist.training.run import build_module
from tests.support.runs import simulate_tiny, training_payload

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
SETTINGS: list[dict[str, Any]] = [
    {}, {"likelihood": "poisson"}, {"tv_weight": 0.1}, {"exchange": False}, {"n_modes": 2}, {"background": "pixel"},
]  # fmt: skip


@contextmanager
def nothing_waits() -> Iterator[None]:
    """Raise where the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(batch: ScanBatch) -> ScanBatch:
    return ScanBatch(*(one.cuda() if isinstance(one, Tensor) else one for one in batch))


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ScanBatch]]:
    """Make steps of two groups near each other and far apart, so that canvases differ, and one of a single group."""
    path = simulate_tiny(tmp_path_factory.mktemp("scan") / "scan.h5", n_patterns=60)
    with open_scan(path) as scan:
        near = np.argsort(np.linalg.norm(scan.positions_px - scan.positions_px[0], axis=1))
        groups = [[near[:6], near[6:12]], [near[:6], near[::10]], [near[12:18], near[18:24]], [near[:6]]]
        return path, [on_gpu(read_groups(scan, one, 0.7)) for one in groups]


def module_of(path: Path, folder: Path, settings: dict[str, Any]) -> PtychoModule:
    with open_scan(path) as scan:
        return build_module(training_payload(path, folder, accelerator="gpu", **settings), scan, 1).cuda()


def gradients(module: PtychoModule, terms: Terms) -> list[Tensor]:
    module.zero_grad(set_to_none=True)
    torch.autograd.backward(sum(terms.values(), torch.zeros((), device="cuda")))
    return [one.grad.clone() for one in module.parameters() if one.grad is not None]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_graphs_give_the_bits_of_operations(
    batches: tuple[Path, list[ScanBatch]], tmp_path: Path, settings: dict[str, Any]
) -> None:
    path, steps = batches
    module = module_of(path, tmp_path, settings)
    captured = CapturedTerms(module.objective, module.model)
    for batch in [*steps, *steps]:
        expected = module.objective.terms(module.model, batch)
        wanted = gradients(module, expected)
        found = captured.terms(batch)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
        assert all(torch.equal(one, other) for one, other in zip(gradients(module, found), wanted, strict=True))


def test_graph_follows_weights_that_change(batches: tuple[Path, list[ScanBatch]], tmp_path: Path) -> None:
    path, steps = batches
    module = module_of(path, tmp_path, {})
    captured = CapturedTerms(module.objective, module.model)
    before = float(captured.terms(steps[0])["data"])
    with torch.no_grad():
        for one in module.model.networks.parameters():
            one.mul_(0.5)
    after, expected = captured.terms(steps[0])["data"], module.objective.terms(module.model, steps[0])["data"]
    assert torch.equal(after, expected)
    assert float(after) != before


def test_step_waits_for_nothing_once_it_is_captured(batches: tuple[Path, list[ScanBatch]], tmp_path: Path) -> None:
    path, steps = batches
    module = module_of(path, tmp_path, {})
    captured = CapturedTerms(module.objective, module.model)
    gradients(module, captured.terms(steps[0]))
    with nothing_waits():
        gradients(module, captured.terms(steps[0]))


def test_mixed_precision_is_captured_too(batches: tuple[Path, list[ScanBatch]], tmp_path: Path) -> None:
    path, steps = batches
    module = module_of(path, tmp_path, {})
    captured = CapturedTerms(module.objective, module.model)
    with torch.autocast("cuda", torch.bfloat16):
        expected = gradients(module, module.objective.terms(module.model, steps[0]))
        found = gradients(module, captured.terms(replace_counts(steps[0])))
    assert all(torch.allclose(one, other, rtol=1e-2, atol=1e-4) for one, other in zip(found, expected, strict=True))


def replace_counts(batch: ScanBatch) -> ScanBatch:
    """Give the same batch at other addresses."""
    return batch._replace(counts=batch.counts.clone(), corners_px=batch.corners_px.clone())
