"""Network and physics composed: sizes, consistency, gradients, DDP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ptycho_dist.config.schema import DataConfig, ModelConfig
from ptycho_dist.data.datamodule import ScanBatch, read_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.model.build import build_model, empty_model, field_side, settled_probe
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.likelihood import TERMS
from ptycho_dist.training.objective import with_earlier
from tests.support.runs import training_payload

GROUPS = (np.arange(0, 5), np.arange(5, 9))


def model_of(scan: Scan, **changes: Any) -> PtychoModel:
    assert scan.probe is not None
    measured = {"n_modes": 1} | {name: value for name, value in changes.items() if hasattr(DataConfig, name)}
    of_network = {name: value for name, value in changes.items() if name not in measured}
    model = ModelConfig(**({"width": 8, "depth": 1, "output_px": 16} | of_network))
    data = DataConfig(N=32, nphotons=scan.header.mean_counts, **measured)
    torch.manual_seed(0)
    return build_model(data, model, torch.from_numpy(scan.probe), None)


def network_parameters(model: PtychoModel) -> dict[str, torch.nn.Parameter]:
    return {name: one for name, one in model.named_parameters() if not name.startswith("optics.")}


def lively(model: PtychoModel) -> PtychoModel:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network_parameters(model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def step(scan: Scan) -> ScanBatch:
    return read_groups(scan, GROUPS, 1.0)


def loss_of(model: PtychoModel, batch: ScanBatch, kind: str = "amplitude") -> torch.Tensor:
    rows, columns = batch.canvas_px
    stages = model.stages(batch.photons, batch.corners_px, (rows, columns))
    misfits = [one.misfits(kind).sum() for one in stages]
    return with_earlier(misfits) / batch.photons.sum()


@pytest.mark.parametrize("N", [32, 64, 128])
def test_model_of_any_size_predicts_patches_and_judges_a_canvas(N: int) -> None:
    y, x = torch.meshgrid(*[torch.arange(float(N)) - N / 2] * 2, indexing="ij")
    probe = torch.exp(-(y**2 + x**2) / (N / 5) ** 2).to(torch.complex64)[None]
    data = DataConfig(N=N, nphotons=1e4, n_modes=1)
    model = build_model(data, ModelConfig(width=8, depth=1, output_px=N // 2), probe)
    counts = torch.poisson(torch.full((3, N, N), 2.0))
    patches = model.predict(counts)
    assert patches.shape == (3, N // 2, N // 2)
    assert patches.dtype == torch.complex64
    corners = torch.tensor([[0.0, 0.0], [2.5, 3.0], [1.0, 7.25]])
    canvas = model.assemble(patches, corners, (N + 4, N + 9))
    assert model.misfit("amplitude", canvas, corners, counts).shape == (3,)


def test_field_side_is_a_multiple_that_holds_the_output() -> None:
    for N, output_px in ((32, 16), (64, 32), (64, 64), (128, 64), (72, 36), (128, 100)):
        side = field_side(N, output_px)
        assert output_px <= side <= N
        assert side % 8 == 0


def test_assemble_of_equal_patches_is_that_value_where_they_lie_and_one_elsewhere(tiny_scan: Scan) -> None:
    model = model_of(tiny_scan)
    patches = torch.full((2, 16, 16), 0.5 + 0.25j, dtype=torch.complex64)
    canvas = model.assemble(patches, torch.tensor([[0.0, 0.0], [3.5, 4.25]]), (40, 44))
    covered = torch.zeros(40, 44, dtype=torch.bool)
    covered[8:24, 8:24] = True
    covered[11:28, 12:29] = True
    assert torch.allclose(canvas[covered], torch.tensor(0.5 + 0.25j), atol=1e-5)
    assert set(canvas[~covered].tolist()) == {1 + 0j}


def test_assemble_trusts_the_patch_that_saw_more_light(tiny_scan: Scan) -> None:
    model = model_of(tiny_scan)
    patches = torch.stack([torch.full((16, 16), value, dtype=torch.complex64) for value in (0.0, 1.0)])
    canvas = model.assemble(patches, torch.tensor([[0.0, 0.0], [0.0, 8.0]]), (33, 41)).real
    weight = model.patch_weight().detach()
    share = weight[8, 0] / (weight[8, 0] + weight[8, 8])
    assert float(canvas[16, 16]) == pytest.approx(float(share), rel=1e-4)


def test_predict_does_not_depend_on_the_other_patterns(tiny_scan: Scan) -> None:
    model = lively(model_of(tiny_scan)).double()
    counts = torch.from_numpy(tiny_scan.read_patterns(np.arange(6))).double()
    patterns_per_sample = model.predict(counts)
    for row in range(6):
        assert torch.allclose(model.predict(counts[row : row + 1])[0], patterns_per_sample[row], rtol=1e-10)


def test_groups_do_not_depend_on_each_other(tiny_scan: Scan) -> None:
    model = lively(model_of(tiny_scan)).double()
    parts = []
    for groups in (GROUPS, GROUPS[:1], GROUPS[1:]):
        batch = read_groups(tiny_scan, groups, 1.0)
        batch = batch._replace(count_factor=batch.count_factor.double())
        parts.append(float(loss_of(model, batch).detach() * batch.photons.sum()))
    assert parts[0] == pytest.approx(parts[1] + parts[2], rel=1e-10)


@pytest.mark.parametrize("kind", TERMS)
@pytest.mark.parametrize("scale", [False, True])
def test_step_leaves_no_parameter_unused(tiny_scan: Scan, kind: str, scale: bool) -> None:
    model = lively(model_of(tiny_scan, intensity_scale_trainable=scale, n_modes=3))
    loss_of(model, step(tiny_scan), kind).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_orthogonal_modes_predict_what_the_trained_ones_did(tiny_scan: Scan) -> None:
    model = lively(model_of(tiny_scan, n_modes=3)).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        parts = model.optics.probe_parts
        parts.add_(0.1 * float(parts.abs().max()) * torch.randn(parts.shape, generator=generator, dtype=parts.dtype))
    counts = torch.from_numpy(tiny_scan.read_patterns(np.arange(4))).double()
    before = model.predict(counts)
    model.optics.probe_parts.data.copy_(settled_probe(parts.detach(), is_trained=True))
    assert torch.allclose(model.predict(counts), before, rtol=1e-8, atol=1e-10)
    assert torch.equal(settled_probe(parts.detach(), is_trained=False), parts)


@pytest.mark.parametrize("kind", ["uniform", "pixel"])
def test_step_uses_the_background(tiny_scan: Scan, kind: str) -> None:
    model = lively(model_of(tiny_scan, background=kind))
    loss_of(model, step(tiny_scan)).backward()
    root = model.optics.background_root
    assert root is not None
    assert root.grad is not None
    assert root.grad.abs().max() > 0


def test_fixed_probe_is_no_parameter(tiny_scan: Scan) -> None:
    names = [name for name, _ in model_of(tiny_scan, probe_trainable=False).named_parameters()]
    assert not [name for name in names if name.startswith("optics")]
    assert "optics.probe_parts" in model_of(tiny_scan, probe_trainable=False).state_dict()


def test_gradient_of_a_step_in_its_patches_and_its_probe_is_right(tiny_scan: Scan) -> None:
    model = lively(model_of(tiny_scan)).double()
    batch = step(tiny_scan)
    counts, (rows, columns) = batch.photons.double(), batch.canvas_px
    patches = model.predict(counts).detach().requires_grad_()
    canvas = model.assemble(patches, batch.corners_px, (rows, columns))
    model.misfit("amplitude", canvas, batch.corners_px, counts).sum().backward()
    probe, probe_start = model.optics.probe_parts, model.optics.probe_parts.detach().clone()
    generator = torch.Generator().manual_seed(3)
    toward = torch.randn(patches.shape, generator=generator, dtype=patches.dtype)
    turn = float(probe_start.abs().max()) * torch.randn(probe.shape, generator=generator, dtype=probe.dtype)
    assert patches.grad is not None
    assert probe.grad is not None
    slopes = float((patches.grad.conj() * toward).real.sum()), float((probe.grad * turn).sum())

    @torch.no_grad()
    def along(distance: float, which: int) -> float:
        moved = model.assemble(patches + (1 - which) * distance * toward, batch.corners_px, (rows, columns))
        probe.copy_(probe_start + which * distance * turn)
        value = float(model.misfit("amplitude", moved, batch.corners_px, counts).sum())
        probe.copy_(probe_start)
        return value

    for which in (0, 1):
        assert slopes[which] == pytest.approx((along(1e-5, which) - along(-1e-5, which)) / 2e-5, rel=1e-3)


def test_probe_learns_where_it_is_wrong(tiny_scan: Scan) -> None:
    model = model_of(tiny_scan)
    with torch.no_grad():
        model.optics.probe_parts.mul_(1.2)
    optimizer = torch.optim.SGD(
        model.optics.parameters(), lr=0.05 * float(model.optics.probe.detach().abs().max()) ** 2
    )
    before = float(loss_of(model, step(tiny_scan)).detach())
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(model, step(tiny_scan))
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < before


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_ddp_finds_every_parameter_in_two_steps_of_different_groups(tiny_scan: Scan) -> None:
    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = lively(model_of(tiny_scan))

        def forward(self, batch: ScanBatch) -> torch.Tensor:
            return loss_of(self.model, batch)

    wrapped = DistributedDataParallel(Loss(), find_unused_parameters=False)
    for _ in range(2):
        wrapped(step(tiny_scan)).backward()
    assert all(parameter.grad is not None for parameter in wrapped.parameters())


def test_empty_model_takes_the_weights_of_a_built_one(tiny_scan: Scan, tiny_path: Path, tmp_path: Path) -> None:
    payload = training_payload(tiny_path, tmp_path)
    mask = torch.rand(32, 32) > 0.1
    assert tiny_scan.probe is not None
    built = build_model(payload.data_config, payload.model_config, torch.from_numpy(tiny_scan.probe), mask)
    empty = empty_model(payload.data_config, payload.model_config, has_mask=True)
    empty.load_state_dict(built.state_dict())
    counts = torch.from_numpy(tiny_scan.read_patterns(np.arange(3)))
    assert torch.equal(empty.predict(counts), built.predict(counts))


def test_build_model_refuses_settings_that_the_factory_has_not_settled() -> None:
    with pytest.raises(ConfigError, match="must be set; expected a payload made by the factory"):
        build_model(DataConfig(N=32), ModelConfig(), torch.ones(1, 32, 32, dtype=torch.complex64))
