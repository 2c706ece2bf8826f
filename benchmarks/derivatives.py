"""What derivatives written out by hand save against automatic differentiation of the one forward model.

Run ``python -m benchmarks.derivatives``. Both ways compute a value and its gradients for the same patterns, in turn, in
this process; what is reported is the ratio of their shortest times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.common import write_results
from ptycho_dist.physics.epie_step import backproject, centre
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.likelihood import TERMS, Patterns, sum_valid
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagators import FarField

PATTERNS, N, SIDE, PATCH = 64, 64, 32, 32
REPEATS = 15


def main() -> None:
    """Measure, write the results, and print them."""
    torch.set_num_threads(1)
    times = {name: ratio(*pair) for name, pair in {"misfit": misfits(), "epie_step": corrections()}.items()}
    measured = {"patterns": PATTERNS, "pixels": N, "times_faster_by_hand": times}
    write_results("derivatives", measured)
    sys.stdout.write(f"{json.dumps(measured, indent=1)}\n")


def ratio(by_hand: Callable[[], None], automatic: Callable[[], None]) -> float:
    """Time of automatic differentiation over that of the hand-written one, the shortest of several each."""
    seconds: dict[Callable[[], None], float] = {by_hand: float("inf"), automatic: float("inf")}
    for _ in range(REPEATS):
        for way in seconds:
            started = time.perf_counter()
            way()
            seconds[way] = min(seconds[way], time.perf_counter() - started)
    return round(seconds[automatic] / seconds[by_hand], 2)


def misfits() -> tuple[Callable[[], None], Callable[[], None]]:
    """Misfit to the patterns, with the gradients of objects and probe."""
    objects, model, patterns = _scene()
    inputs = (objects.requires_grad_(), model.probe_PNN.requires_grad_())

    def by_hand() -> None:
        torch.autograd.grad(pattern_misfits("amplitude", objects, model, patterns).sum(), inputs)

    def automatic() -> None:
        terms = TERMS["amplitude"](model.counts(objects), patterns.counts_BNN, patterns.modulus_BNN)
        torch.autograd.grad(sum_valid(terms[0], None).sum(), inputs)

    return by_hand, automatic


def corrections() -> tuple[Callable[[], None], Callable[[], None]]:
    """Back-projection, with the gradient of the present patches."""
    objects, model, patterns = _scene()
    patches = centre(objects, PATCH).clone().requires_grad_()

    def automatic_correction() -> Tensor:
        whole = functional.pad(patches - 1, ((N - PATCH) // 2,) * 4) + 1
        waves = model.waves(whole)
        change = model.propagator.backward((patterns.modulus_BNN / (model.intensity(waves) + 1e-3).sqrt() - 1) * waves)
        bright = probe_intensity(model.probe_PNN)
        damped = model.probe_PNN.conj() / (bright + 0.05 * bright.max())
        return centre((change * damped[:, None]).sum(dim=0) / whole, SIDE)

    def by_hand() -> None:
        torch.autograd.grad(backproject(patterns, model, SIDE, patches).abs().sum(), patches)

    def automatic() -> None:
        torch.autograd.grad(automatic_correction().abs().sum(), patches)

    return by_hand, automatic


def _scene() -> tuple[Tensor, ForwardModel, Patterns]:
    generator = torch.Generator().manual_seed(0)
    objects = torch.polar(torch.ones(PATTERNS, N, N), torch.rand(PATTERNS, N, N, generator=generator))
    axis = torch.arange(N) - N / 2
    probe = 30 * torch.polar(torch.exp(-(axis[:, None] ** 2 + axis**2) / 200), 0.02 * (axis[:, None] ** 2 + axis**2))
    model = ForwardModel(probe[None].contiguous(), FarField())
    counts = torch.poisson(model.counts(objects.roll(1, 0)), generator=generator)
    return objects, model, Patterns.of(FarField().rearrange(counts), FarField())


if __name__ == "__main__":
    main()
