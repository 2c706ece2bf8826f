"""Training step, prediction and refinement on one device, as pieces of work that can be timed and counted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, ModelConfig, TrainingConfig
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.datamodule import ScanBatch, stack_canvases
from ptycho_dist.data.scan import open_scan
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.model.build import build_model
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.propagators import FarField
from ptycho_dist.refine.amplitudes import AmplitudeReader
from ptycho_dist.refine.batching import make_batching
from ptycho_dist.refine.beginning import Beginning
from ptycho_dist.refine.initial import read_start
from ptycho_dist.refine.iteration import Refiner
from ptycho_dist.refine.methods import make_method
from ptycho_dist.simulate.probes import ZonePlate
from ptycho_dist.simulate.run import fermat_spiral, simulate
from ptycho_dist.training.captured import CapturedTerms
from ptycho_dist.training.objective import DATA, Objective
from ptycho_dist.training.optim import build_optimizer

EAGER, BF16, COMPILED, GRAPH = "eager", "bf16", "bf16 + compile", "CUDA graph"
_UPDATES = {"8 in an update": 8, "64 in an update": 64}
_PHOTONS, _DEFOCUS_M, _STEP_PX = 1e5, 6e-5, 6.0
_ROOM_BYTES = 1 << 36
"""All patterns stay on the device."""


@dataclass(frozen=True)
class Setting:
    """What is timed.

    Parameters
    ----------
    device
        Where.
    N, patterns, group_size
        Side of a pattern, patterns at once, and how many of them share a canvas in training.
    model
        Network and stages.
    body
        How patches are moved; None for what suits the device.
    """

    device: torch.device
    N: int
    patterns: int
    group_size: int
    model: ModelConfig
    body: Body | None = None


@dataclass(frozen=True)
class Workload:
    """A piece of work.

    Parameters
    ----------
    name, variant
        What, and how it is run.
    patterns
        Patterns that one call works on.
    run
        Does it once.
    """

    name: str
    variant: str
    patterns: int
    run: Callable[[], object]


Maker = Callable[[Setting, str], Workload]


def training(setting: Setting, variant: str) -> Workload:
    """Forward, backward and optimiser step; as a CUDA graph all but the optimiser."""
    model = _model(setting, variant)
    counts, corners, canvas = _batch(setting)
    configs = TrainingConfig(train_data_file=Path(), output_dir=Path()), PyTorchExecutionConfig()
    optimizer, objective = build_optimizer(model, *configs), Objective(configs[0], _PHOTONS)
    batch = ScanBatch(0, counts, corners, canvas, torch.ones((), device=setting.device), 1.0)
    captured = CapturedTerms(objective, model) if variant == GRAPH else None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _precision(setting, variant):
            terms = captured.terms(batch) if captured else objective.terms(model, batch)
        torch.autograd.backward(terms[DATA] / setting.patterns)
        optimizer.step()

    return Workload("training step", variant, setting.patterns, step)


def prediction(setting: Setting, variant: str) -> Workload:
    """Patterns to patches."""
    model = _model(setting, variant).eval().requires_grad_(requires_grad=False)
    counts = _batch(setting)[0]

    def predict() -> Tensor:
        with torch.inference_mode(), _precision(setting, variant):
            return model.predict(counts)

    return Workload("prediction", variant, setting.patterns, _captured(predict) if variant == GRAPH else predict)


def refinement(setting: Setting, variant: str) -> Workload:
    """One pass over all patterns, so many of them in an update as the variant says."""
    engine = refiner(setting, {"refine.batch_size": _UPDATES[variant]})
    engine.iterate(0)
    return Workload("refinement, one pass", variant, setting.patterns, lambda: engine.iterate(1))


def refiner(setting: Setting, overrides: Mapping[str, object]) -> Refiner:
    """Prepare a refinement of a simulated scan, whose amplitudes are in memory."""
    with tempfile.TemporaryDirectory() as name:
        scan = simulate(SimulateConfig(
            output_file=Path(name) / "scan.h5", n_patterns=setting.patterns, N=setting.N, defocus_m=_DEFOCUS_M,
            step_px=_STEP_PX, photons=_PHOTONS))  # fmt: skip
        payload = create_refine_payload(scan, name, {"accelerator": setting.device.type, **overrides})
        config = payload.refine_config
        with open_scan(scan) as opened:
            like = torch.zeros((), device=setting.device)
            estimate = Beginning(read_start(opened, None), opened, payload.data_config, config, like).estimate()
            estimate.body = setting.body
            measured = AmplitudeReader(opened, FarField(), like, single_rank())
            method, drawn = make_method(config, estimate), make_batching(config, estimate)
            engine = Refiner(config, estimate, method, drawn, measured, None, _ROOM_BYTES)
            _ = measured.whole
    return engine


WORKLOADS: dict[Maker, tuple[str, ...]] = {
    training: (EAGER, BF16, COMPILED, GRAPH),
    prediction: (EAGER, BF16, COMPILED, GRAPH),
    refinement: tuple(_UPDATES),
}
"""What is timed, and in which variants."""


def make_all(setting: Setting, *, compiled: bool) -> list[Callable[[], Workload]]:
    """Give makers of all workloads that the device can run; they are made one at a time, to spare memory."""
    on_gpu = setting.device.type == "cuda"
    wanted = {COMPILED: compiled, GRAPH: on_gpu}
    return [
        partial(make, setting, variant)
        for make, variants in WORKLOADS.items()
        for variant in variants
        if wanted.get(variant, True)
    ]


def _model(setting: Setting, variant: str) -> PtychoModel:
    plate = ZonePlate(pupil_radius=0.2, central_stop=0.25, defocus_m=_DEFOCUS_M, pixel_size_m=2e-8, energy_eV=8e3)
    probe = torch.from_numpy(plate.probe(setting.N).astype(np.complex64))[None]
    torch.manual_seed(0)
    model = build_model(DataConfig(N=setting.N, nphotons=_PHOTONS, n_modes=1), setting.model, probe).to(setting.device)
    model.sizes = replace(model.sizes, body=setting.body)
    if variant == COMPILED:
        model.networks = nn.ModuleList([torch.compile(network) for network in model.networks])  # type: ignore[misc]
    return model


def model_and_batch(setting: Setting) -> tuple[PtychoModel, tuple[Tensor, Tensor, tuple[int, int]]]:
    """Give the network, and counts (B, N, N), corners (B, 2) and size of the canvas that it is trained on."""
    return _model(setting, EAGER), _batch(setting)


def _batch(setting: Setting) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Make counts (B, N, N), corners (B, 2) on the stacked canvases, and the size of these."""
    rng = np.random.default_rng(0)
    points = fermat_spiral(setting.group_size, _STEP_PX, 0.5, rng)
    groups = [points] * (setting.patterns // setting.group_size)
    corners, canvas = stack_canvases(groups, setting.N)
    mean = _PHOTONS / setting.N**2
    counts = rng.poisson(mean, (len(corners), setting.N, setting.N)).astype(np.float32)
    return torch.from_numpy(counts).to(setting.device), torch.from_numpy(corners).to(setting.device), canvas


def _precision(setting: Setting, variant: str) -> AbstractContextManager[object]:
    if variant in (BF16, COMPILED):
        return torch.autocast(setting.device.type, dtype=torch.bfloat16)
    return nullcontext()


def _captured(work: Callable[[], object]) -> Callable[[], object]:
    """Capture work as a CUDA graph; it is warmed up on a stream of its own first, as capturing demands."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
