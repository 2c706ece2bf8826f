"""Every network at every size of a pattern, and groups that are seen together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.config.schema import DataConfig, ModelConfig
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.grouping import neighbor_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.model.build import build_model
from ptycho_dist.model.ptycho_model import PtychoModel
from tests.support.ranks import rank_context
from tests.support.runs import training_payload

ARCHITECTURES = ("lean", "ptychopinn_cnn", "vit")


def model_of(N: int, gridsize: int | None = None, **changes: Any) -> PtychoModel:
    y, x = torch.meshgrid(*[torch.arange(float(N)) - N / 2] * 2, indexing="ij")
    probe = torch.exp(-(y**2 + x**2) / (N / 5) ** 2).to(torch.complex64)[None]
    settings = {"width": 16, "depth": 1, "output_px": N // 2, "n_filters_scale": 1, "stages": 1} | changes
    torch.manual_seed(0)
    return build_model(DataConfig(N=N, nphotons=1e4, gridsize=gridsize, n_modes=1), ModelConfig(**settings), probe)


def counts_of(patterns: int, N: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.poisson(2 * torch.rand(patterns, N, N, generator=generator), generator)


def lively(model: PtychoModel) -> PtychoModel:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("networks."):
                parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("N", range(32, 513, 16))
def test_lean_takes_every_multiple_of_16(N: int) -> None:
    patches = lively(model_of(N, width=8, depth=0)).predict(counts_of(1, N))
    assert patches.shape == (1, N // 2, N // 2)
    assert torch.isfinite(torch.view_as_real(patches)).all()


@pytest.mark.parametrize(
    ("architecture", "N"),
    [("lean", 32), ("lean", 48), ("lean", 512), ("vit", 48), ("vit", 128),
     ("ptychopinn_cnn", 64), ("ptychopinn_cnn", 128), ("ptychopinn_cnn", 256)],
)  # fmt: skip
def test_step_lowers_the_misfit(architecture: str, N: int) -> None:
    model, counts = model_of(N, architecture=architecture, depth=1), counts_of(2, N)
    corners = torch.tensor([[0.0, 0.0], [4.0, 5.0]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    misfits = []
    for _ in range(3):
        optimizer.zero_grad()
        canvas = model.assemble(model.predict(counts), corners, (N + 5, N + 6))
        misfit = model.misfit("amplitude", canvas, corners, counts).sum()
        misfit.backward()
        optimizer.step()
        misfits.append(float(misfit.detach()))
    assert misfits[-1] < misfits[0]


def test_cnn_refuses_patterns_that_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match="input side = 48; the network ptychopinn_cnn expects one of 32, 64"):
        model_of(48, architecture="ptychopinn_cnn")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_group_is_seen_together_and_no_other(architecture: str) -> None:
    model = lively(model_of(32, gridsize=2, architecture=architecture, group_as_channels=True)).double()
    counts = counts_of(8, 32).double()
    patches = model.predict(counts)
    assert patches.shape == (8, 16, 16)
    assert torch.allclose(model.predict(counts[4:]), patches[4:], rtol=1e-9, atol=1e-12)
    changed = counts.clone()
    changed[5] = changed[5].flip(0)
    moved = (model.predict(changed) - patches).abs().amax(dim=(1, 2))
    assert (moved[:4] < 1e-9).all()
    assert (moved[4:] > 1e-9).all()


def test_group_gives_each_pattern_its_own_patch() -> None:
    """Without the network's part, patterns of a group are predicted as each alone."""
    model = model_of(32, gridsize=2, group_as_channels=True)
    counts = counts_of(4, 32)
    assert torch.allclose(model.predict(counts), model_of(32).predict(counts), atol=1e-6)


@pytest.mark.parametrize("changes", [{"gridsize": None}, {}])
def test_groups_as_channels_are_refused_without_gridsize(
    tiny_path: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"group_as_channels = True, but data\.gridsize is not set"):
        training_payload(tiny_path, tmp_path, group_as_channels=True, **changes)


def test_training_brings_whole_groups(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    payload = training_payload(tiny_path, tmp_path, gridsize=2, group_as_channels=True, batch_size=3)
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    groups = neighbor_groups(tiny_scan.positions_px, 2).index
    known = {tiny_scan.read_patterns(group).tobytes() for group in groups}
    modules = [
        ScanDataModule(tiny_scan, configs, rank_context(rank, 2), tiny_scan.header.mean_counts) for rank in (0, 1)
    ]
    shares = [one.first_batch().parts[0].photons for one in modules]
    assert [len(share) for share in shares] == [8, 4]
    assert all(group.numpy().tobytes() in known for share in shares for group in share.split(4))


def test_prediction_batches_bring_each_pattern_with_its_group(tiny_scan: Scan) -> None:
    groups = neighbor_groups(tiny_scan.positions_px, 2).index
    order = np.array([5, 1, 24, 7, 0])
    batches = list(PatternBatches(tiny_scan, order, 3, groups[order]))
    assert [rows.tolist() for _, rows in batches] == [[5, 1, 24], [7, 0]]
    assert all(counts.shape == (12, 32, 32) for counts, _ in batches)
    expected = torch.from_numpy(tiny_scan.read_patterns(groups[[7, 0]].ravel()))
    assert torch.equal(batches[1][0][:8].float(), expected)
    assert batches[1][0][8:].float().abs().max() == 0
