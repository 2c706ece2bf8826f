"""How many operations a training step, a prediction and an update of the refinement hand to a device.

Run ``python -m benchmarks.operations``; no GPU is needed, for what accelerators do, which move patches by index, runs
on a CPU, too. Views and bare allocations launch nothing and are left out; some operations launch more than one kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.counting import Operations, operations
from benchmarks.workloads import EAGER, Setting, model_and_batch, prediction, refiner, training
from ptycho_dist.config.schema import ModelConfig
from ptycho_dist.model.neighbours import Neighbours
from ptycho_dist.physics.bodies import Body
from ptycho_dist.refine.batching import Drawn
from ptycho_dist.refine.findings import Findings

PATTERNS = (32, 256)
"""Patterns at once, or in an update."""
DEFAULT = ModelConfig(output_px=16)
_NETWORKS = {
    "default network": DEFAULT,
    "one stage": replace(DEFAULT, stages=1),
    "one stage, nothing exchanged": replace(DEFAULT, stages=1, exchange=False),
}
_METHODS = ("pie", "lsqml", "gradient")
_APART, _CROWDED = 0.0, 1.0


@dataclass(frozen=True)
class Counted:
    """Operations of one piece of work.

    Parameters
    ----------
    name
        What.
    found
        Operations for each number of patterns.
    """

    name: str
    found: tuple[Operations, ...]


def setting_of(patterns: int, model: ModelConfig = DEFAULT, body: Body = Body.INDEXED) -> Setting:
    """Give the small setting, on a CPU, that is counted for a number of patterns."""
    return Setting(torch.device("cpu"), 32, patterns, 8, model, body)


def training_step(patterns: int, model: ModelConfig = DEFAULT) -> Callable[[], object]:
    """Make a training step: forward, backward, optimiser."""
    return training(setting_of(patterns, model), EAGER).run


def prediction_batch(patterns: int, model: ModelConfig = DEFAULT) -> Callable[[], object]:
    """Make the prediction of a batch, through all stages."""
    return prediction(setting_of(patterns, model), EAGER).run


def stage_batch(patterns: int) -> Callable[[], object]:
    """Make what one stage of a prediction does with a batch: as in ``infer``, where all patterns agree after each."""
    model, (counts, corners, canvas) = model_and_batch(setting_of(patterns))
    weight, object_ = counts.new_ones(canvas), model.optics.probe.new_ones(canvas)

    def work() -> object:
        with torch.inference_mode():
            return model.improve(0, counts, object_, Neighbours.on(weight, corners, model.sizes.sides))

    return work


def refinement_update(patterns: int, method: str = "pie", crowding: float = _APART) -> Callable[[], object]:
    """Make one update of the refinement, of object and probe, by so many patterns; it can be done twice."""
    engine = refiner(setting_of(patterns), {"refine.method": method})
    first, share = engine.begin(0), engine.reader.whole
    again = replace(first, found=Findings.empty(engine.estimate, fits_background=False))
    passes, drawn = iter([first, again]), Drawn(share.numbers, crowding)
    return lambda: engine.update(next(passes), drawn, share)


def counted(name: str, make: Callable[[int], Callable[[], object]], patterns: Sequence[int]) -> Counted:
    """Count a piece of work for each number of patterns, after it was done once."""
    found = []
    for number in patterns:
        work = make(number)
        work()
        found.append(operations(work))
    return Counted(name, tuple(found))


def count_all(patterns: Sequence[int] = PATTERNS) -> list[Counted]:
    """Count every piece of work for each number of patterns."""
    makers: dict[str, Callable[[int], Callable[[], object]]] = {
        f"{kind}, {name}": partial(make, model=model)
        for kind, make in (("training step", training_step), ("prediction batch", prediction_batch))
        for name, model in _NETWORKS.items()
    }
    makers["prediction batch, each stage where ranks exchange"] = stage_batch
    makers |= {f"refinement update, {method}": partial(refinement_update, method=method) for method in _METHODS}
    makers["refinement update, pie, patterns that overlap"] = partial(refinement_update, crowding=_CROWDED)
    return [counted(name, make, patterns) for name, make in makers.items()]


def table(found: Sequence[Counted], patterns: Sequence[int]) -> Table:
    """Show how many operations there are for each number of patterns."""
    result = Table("work", *(f"{number} patterns" for number in patterns), title="operations, patches moved by index")
    for one in found:
        result.add_row(one.name, *(str(each.total) for each in one.found))
    return result


def main() -> int:
    """Count and print."""
    Console().print(table(count_all(), PATTERNS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
