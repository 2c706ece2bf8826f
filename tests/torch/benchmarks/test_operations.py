"""What is handed to a device: as many operations for many patterns as for few, and nothing is read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.counting import operations
from benchmarks.operations import (
    PATTERNS,
    counted,
    prediction_batch,
    refinement_update,
    setting_of,
    stage_batch,
    table,
    training_step,
)
from benchmarks.workloads import refiner
from ptycho_dist.config.schema import ModelConfig
from ptycho_dist.data.datamodule import StepBatch, read_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.physics.bodies import Body
from ptycho_dist.training.run import build_module
from tests.support.no_reading import ReadError, nothing_is_read
from tests.support.runs import training_payload

Make = Callable[[int], Callable[[], object]]
ONE = ModelConfig(output_px=16, stages=1)
ALONE = ModelConfig(output_px=16, stages=1, exchange=False)
WORKS: dict[str, tuple[Make, int]] = {
    "training step": (training_step, 800),
    "training step, one stage": (partial(training_step, model=ONE), 300),
    "training step, nothing exchanged": (partial(training_step, model=ALONE), 250),
    "prediction": (prediction_batch, 410),
    "prediction, nothing exchanged": (partial(prediction_batch, model=ALONE), 120),
    "prediction, each stage": (stage_batch, 135),
    "refinement": (refinement_update, 60),
    "refinement, crowded": (partial(refinement_update, crowding=1.0), 70),
    "refinement, lsqml": (partial(refinement_update, method="lsqml"), 90),
    "refinement, gradient": (partial(refinement_update, method="gradient"), 60),
}


@pytest.mark.parametrize(("make", "most"), WORKS.values(), ids=WORKS.keys())
def test_operations_are_few_whatever_the_number_of_patterns(make: Make, most: int) -> None:
    few, many = counted("work", make, PATTERNS).found
    assert few.names == many.names
    assert few.total <= most


# Adam of the method "gradient" counts its steps in a tensor that is on the host in any case.
UNREAD = {name: make for name, (make, _) in WORKS.items() if name != "refinement, gradient"}


@pytest.mark.parametrize("make", UNREAD.values(), ids=UNREAD.keys())
def test_nothing_is_read_back_from_the_device(make: Make) -> None:
    work = make(16)
    work()
    with nothing_is_read():
        work()


@pytest.mark.parametrize(
    "read",
    [
        lambda values: values.sum().item(),
        lambda values: float(values.sum()),
        lambda values: bool(values.any()),
        lambda values: values.tolist(),
        lambda values: values.cpu(),
        lambda values: values.numpy(),
    ],
)
def test_guard_refuses_what_reads(read: Callable[[torch.Tensor], object]) -> None:
    with nothing_is_read(), pytest.raises(ReadError):
        read(torch.ones(3))


def test_positions_and_flux_are_refined_without_reading() -> None:
    overrides = {"refine.flux": True, "refine.position_start": 0, "n_modes": 2, "refine.batch_size": 8}
    engine = refiner(setting_of(16), overrides)
    one, drawn, share = engine.begin(0), engine.batching.of(0), engine.reader.whole
    engine.update(one, drawn[0], share)
    with nothing_is_read():
        for batch in drawn[1:]:
            engine.update(one, batch, share)
    assert len(drawn) > 1
    assert len(one.found.shifted) == len(one.found.dimmed) == len(engine.estimate.positions_px)


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes down each operation with the shapes of its tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        self.lines.append((str(func), tuple(tuple(one.shape) for one in tensors)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
def test_updates_of_one_size_are_the_same_operations_on_the_same_shapes(method: str) -> None:
    engine = refiner(setting_of(32), {"refine.method": method, "refine.batch_size": 4})
    one, drawn, share = engine.begin(0), engine.batching.of(0), engine.reader.whole
    engine.update(one, drawn[0], share)
    traces: dict[tuple[int, bool], list[object]] = {}
    for batch in drawn[1:]:
        with Trace() as trace:
            engine.update(one, batch, share)
        traces.setdefault((len(batch.numbers), batch.is_crowded), []).append(trace.lines)
    assert max(len(alike) for alike in traces.values()) > 2
    for alike in traces.values():
        assert all(lines == alike[0] for lines in alike)


@pytest.mark.parametrize("method", ["pie", "lsqml", "gradient"])
def test_both_bodies_refine_alike(method: str) -> None:
    by_rectangle, by_index = (
        refiner(setting_of(24, body=body), {"refine.method": method}) for body in (Body.RECTANGLES, Body.INDEXED)
    )
    for iteration in range(2):
        errors = [engine.iterate(iteration) for engine in (by_rectangle, by_index)]
        assert errors[1] == pytest.approx(errors[0], rel=1e-4)
    difference = by_index.estimate.object_HW - by_rectangle.estimate.object_HW
    assert float(difference.abs().max()) < 1e-3


def test_operations_leave_views_out() -> None:
    values = torch.ones(4, 4)
    found = operations(lambda: values.view(16)[2:].add(1).sum())
    assert found.names == {"aten.add.Tensor": 1, "aten.sum.default": 1}
    assert found.made_bytes == 14 * 4 + 4


def test_table_names_every_number_of_patterns() -> None:
    shown = table([counted("an update", refinement_update, (2, 4))], (2, 4))
    assert [column.header for column in shown.columns] == ["work", "2 patterns", "4 patterns"]
    assert shown.row_count == 1


@pytest.mark.parametrize("likelihood", ["amplitude", "poisson"])
def test_loss_of_the_module_is_made_without_reading(tiny_scan: Scan, tmp_path: Path, likelihood: str) -> None:
    payload = training_payload(tiny_scan.header.path, tmp_path, likelihood=likelihood, tv_weight=0.1)
    module = build_module(payload, tiny_scan, 1)
    module.model.sizes = replace(module.model.sizes, body=Body.INDEXED)
    photons = payload.photons / tiny_scan.header.mean_counts
    part = read_groups(tiny_scan, [np.arange(5), np.arange(4, 9)], photons)
    batch = StepBatch((part,), 1.0, 10.0, 10.0)
    with nothing_is_read():
        torch.autograd.backward(module.training_step(batch, 0))
    assert any(one.grad is not None and one.grad.any() for one in module.model.networks.parameters())
