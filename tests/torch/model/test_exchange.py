"""Overlapping patches agree on one object between the stages of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.config.schema import DataConfig, ModelConfig
from ptycho_dist.data.datamodule import ScanBatch, read_groups
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.model.build import build_model
from ptycho_dist.model.neighbours import Neighbours
from ptycho_dist.model.ptycho_model import PtychoModel
from tests.support.runs import simulate_tiny


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = simulate_tiny(tmp_path_factory.mktemp("dense") / "scan.h5", n_patterns=49, step_px=3.0, photons=1e6)
    with open_scan(path) as scan:
        yield scan


def model_of(scan: Scan, *, stages: int = 3, step: float | None = None) -> PtychoModel:
    assert scan.probe is not None
    torch.manual_seed(0)
    model = build_model(
        DataConfig(N=32, nphotons=scan.header.mean_counts, n_modes=1),
        ModelConfig(width=8, depth=1, output_px=16, stages=stages),
        torch.from_numpy(scan.probe),
    )
    if step is not None:
        torch.nn.init.constant_(model.steps, step)
    return model


def lively(model: PtychoModel) -> PtychoModel:
    """Change all weights of the networks at random."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.networks.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def whole(scan: Scan) -> ScanBatch:
    return read_groups(scan, [np.arange(len(scan))], 1.0)


def fourier_errors(model: PtychoModel, batch: ScanBatch) -> list[float]:
    shape = batch.canvas_px
    with torch.no_grad():
        canvases = [one.canvas_HW for one in model.stages(batch.photons, batch.corners_px, shape)]
        misfits = [model.misfit("amplitude", one, batch.corners_px, batch.photons).sum() for one in canvases]
    return [float((misfit / batch.photons.sum()).sqrt()) for misfit in misfits]


def test_stages_of_an_untrained_network_come_closer_to_the_patterns_one_after_another(dense: Scan) -> None:
    errors = fourier_errors(model_of(dense, stages=4, step=0.8), whole(dense))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.7 * errors[0]


def test_improve_of_some_patterns_gives_what_it_gives_of_all(dense: Scan) -> None:
    model, batch = model_of(dense).double(), whole(dense)
    shape = batch.canvas_px
    near = model.neighbours(batch.corners_px, shape)
    canvas = torch.polar(torch.ones(shape), torch.linspace(0, 1, shape[1]).expand(shape)).to(torch.complex128)
    with torch.no_grad():
        every = model.improve(1, batch.photons.double(), canvas, near)
        some = Neighbours.on(near.weight_HW, batch.corners_px[5:9], model.sizes.sides)
        assert torch.allclose(model.improve(1, batch.photons[5:9].double(), canvas, some), every[5:9], atol=1e-9)


def test_improve_does_not_depend_on_the_phase_of_the_object(dense: Scan) -> None:
    model, batch = lively(model_of(dense, step=0.5)).double(), whole(dense)
    with torch.no_grad():
        shape = batch.canvas_px
        near, ones = model.neighbours(batch.corners_px, shape), torch.ones(shape, dtype=torch.complex128)
        plain, turned = (model.improve(0, batch.photons.double(), ones * z, near) for z in (1, np.exp(2j)))
    assert torch.allclose(turned, plain * np.exp(2j), atol=1e-9)


def test_improve_knows_how_much_light_there_was(dense: Scan) -> None:
    model, batch = lively(model_of(dense)).double(), whole(dense)
    with torch.no_grad():
        shape = batch.canvas_px
        near, ones = model.neighbours(batch.corners_px, shape), torch.ones(shape, dtype=torch.complex128)
        bright, dark = (model.improve(0, batch.photons.double(), ones, near, share) for share in (1.0, 1e-3))
    assert float((bright - dark).abs().max()) > 1e-3


def test_average_of_equal_patches_is_their_object_and_1_beside_it(dense: Scan) -> None:
    model, batch = model_of(dense), whole(dense)
    shape = batch.canvas_px
    near, weight = model.neighbours(batch.corners_px, shape), model.patch_weight()
    patches = torch.full((len(dense), 16, 16), 0.5 + 0.25j, dtype=torch.complex64)
    canvas = near.average(patches, weight)
    known = near.weight_HW > 0
    assert torch.allclose(canvas[known], torch.tensor(0.5 + 0.25j), atol=1e-5)
    assert bool((canvas[~known] == 1).all())
    assert bool((~known).any())


def test_gradient_of_each_stage_comes_from_its_own_object(dense: Scan) -> None:
    model, batch = model_of(dense, stages=2), whole(dense)
    shape = batch.canvas_px
    first, second = (one.canvas_HW for one in model.stages(batch.photons, batch.corners_px, shape))
    of_first = torch.autograd.grad(first.abs().sum(), list(model.networks[0].parameters()), retain_graph=True)
    of_second = torch.autograd.grad(second.abs().sum(), list(model.networks[0].parameters()), allow_unused=True)
    assert any(float(one.abs().max()) > 0 for one in of_first)
    assert all(one is None for one in of_second)


def test_network_of_one_size_works_on_frames_of_another(tmp_path: Path) -> None:
    small, large = (simulate_tiny(tmp_path / f"{N}.h5", n_patterns=9, N=N) for N in (32, 64))
    with open_scan(small) as one, open_scan(large) as other:
        states = []
        for scan, N in ((one, 32), (other, 64)):
            data = DataConfig(N=N, nphotons=scan.header.mean_counts, n_modes=1)
            model = build_model(data, ModelConfig(width=8, output_px=N // 2), torch.from_numpy(scan.probe))
            states.append({name: value.shape for name, value in model.networks.state_dict().items()})
    assert states[0] == states[1]
