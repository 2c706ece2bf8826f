"""One iteration: a pass over all patterns, in batches, on all ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import orthogonalise
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.amplitudes import AmplitudeReader, Share
from ptycho_dist.refine.batching import Batching, Drawn
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, background_ratio, flux_ratio, residual
from ptycho_dist.refine.fused import Fused
from ptycho_dist.refine.methods import Method
from ptycho_dist.refine.momentum import Push
from ptycho_dist.refine.positions import lost, search, shifts
from ptycho_dist.refine.reductions import Join, as_real, join_sums, keep_own, run_update
from ptycho_dist.types import IntArray

_COOLEST = 0.1
_SEARCH_EVERY = 10
"""Iterations between two searches for lost positions."""


@dataclass
class Refiner:
    """Everything an iteration needs.

    Parameters
    ----------
    config
        Settings in force; nothing is left at "where not set".
    estimate
        Changed in place, the same on every rank.
    method
        Changes object and probe.
    batching
        Draws the patterns that are updated together.
    reader
        Reads the amplitudes of this rank's share.
    mask_NN
        Valid pixels in detector order; None where all are.
    memory_bytes
        Room for amplitudes on this rank; a larger share is read anew in every iteration.
    support_NN
        Where the probe may differ from zero; None where anywhere.
    background
        Which background is fitted: uniform or pixel; that of the start stays as it is with none.
    fixes_flux
        Whether the brightness of patterns stays as it is, where it is refined otherwise.
    velocity_HW
        Decaying sum of the object's changes; see :class:`~ptycho_dist.refine.momentum.Push`.
    fused
        Compiled loops to use; None for operations of torch.
    """

    config: RefineConfig
    estimate: Estimate
    method: Method
    batching: Batching
    reader: AmplitudeReader
    mask_NN: Tensor | None
    memory_bytes: int
    support_NN: Tensor | None = None
    background: str = "none"
    fixes_flux: bool = False
    velocity_HW: Tensor | None = None
    fused: Fused | None = None

    def iterate(self, iteration: int) -> float:
        """Pass over all patterns once.

        Returns
        -------
        float
            Fourier error of the patterns as they were met, before their own update.
        """
        one, order = self.begin(iteration), self.batching.of(iteration)
        push, found = Push(self.estimate, self.config.momentum or 0.0, self.velocity_HW), one.found
        for done, (drawn, share) in enumerate(self._met(order, found), start=1):
            self.update(one, drawn, share)
            if _is_quarter(done, len(order)):
                push.repeat()
        self.velocity_HW = push.velocity_HW
        found.join(self.estimate.flux_B, self._join)
        self._settle(iteration, found)
        if self._searches(iteration):
            self._find_lost(found)
        return found.error()

    def begin(self, iteration: int) -> Pass:
        """Prepare a pass over all patterns."""
        found = Findings.empty(self.estimate, fits_background=self.background != "none")
        return Pass(iteration, self._scale(iteration), self.estimate.windows(), found)

    def update(self, one: Pass, drawn: Drawn, share: Share) -> None:
        """Update object and probe by a batch of patterns; nothing is read back from the device."""
        batch = self._batch(drawn, share, one.windows)
        own = residual(self.estimate, batch, self.reader.propagator, self.method.ratio)
        self._note(one.iteration, drawn.numbers[batch.part], batch, own, one.found)
        run_update(self.method.update(self.estimate, batch, own, one.scale), batch, self._join)
        if self.support_NN is not None:
            self.estimate.probe_PNN *= self.support_NN

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        named = {f"estimate.{name}": as_real(value) for name, value in self.estimate.tensors().items()}
        named |= {f"method.{name}": value for name, value in self.method.state().items()}
        return named if self.velocity_HW is None else {**named, "velocity": as_real(self.velocity_HW)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore what :meth:`tensors` returned."""
        for name, value in self.estimate.tensors().items():
            as_real(value).copy_(tensors[f"estimate.{name}"])
        method = {name.removeprefix("method."): one for name, one in tensors.items() if name.startswith("method.")}
        self.method.restore(method)
        if "velocity" in tensors:
            self.velocity_HW = torch.view_as_complex(tensors["velocity"]).to(self.estimate.object_HW)

    @property
    def _join(self) -> Join:
        return keep_own if self.reader.is_alone else join_sums

    def _met(self, order: Sequence[Drawn], found: Findings) -> Iterator[tuple[Drawn, Share]]:
        """Yield batches with the amplitudes of this rank's patterns in them."""
        for piece, share in self._pieces(order):
            found.photons_B[share.numbers] = share.photons_n
            for drawn in piece:
                yield drawn, share

    def _pieces(self, order: Sequence[Drawn]) -> Iterator[tuple[Sequence[Drawn], Share]]:
        if self.reader.bytes_of_share > self.memory_bytes:
            yield from self.reader.in_pieces(order, self.memory_bytes)
            return
        yield order, self.reader.whole

    def _batch(self, drawn: Drawn, share: Share, windows: Windows) -> Batch:
        part = self.reader.own(drawn.numbers)
        own = drawn.numbers[part]
        amplitude = share.of(own)
        if self.config.flux:
            amplitude = amplitude / self.estimate.flux_B[own].sqrt().to(amplitude, non_blocking=True)[:, None, None]
        everyone = windows.take(drawn.numbers)
        return Batch(
            everyone=everyone,
            part=part,
            own=everyone if len(own) == len(drawn.numbers) else everyone.take(part),
            modulus_BNN=amplitude,
            is_crowded=drawn.is_crowded,
            mask_NN=self.mask_NN,
            fused=self.fused,
        )

    def _note(self, iteration: int, numbers: IntArray, batch: Batch, own: Residual, found: Findings) -> None:
        """Note what a batch says of everything but object and probe."""
        if not len(numbers):
            return
        found.met.append((numbers, own.squared_B))
        if self._moves(iteration):
            found.shifted.append((numbers, shifts(self.estimate, batch, own)))
        if self.config.flux:
            found.dimmed.append((numbers, flux_ratio(batch, own)))
        if found.background_NN is not None:
            found.background_NN += background_ratio(batch, own)

    def _moves(self, iteration: int) -> bool:
        return self.config.position_start is not None and iteration >= self.config.position_start

    def _searches(self, iteration: int) -> bool:
        start = self.config.position_start
        return start is not None and iteration > start and (iteration - start) % _SEARCH_EVERY == 0

    def _find_lost(self, found: Findings) -> None:
        """Put positions that are in a wrong minimum where the object explains their patterns best."""
        numbers = lost(found.squared_B, found.photons_B)
        own = numbers[self.reader.own(numbers)]
        share = self.reader.together(lambda: self.reader.read(own))
        shifts_px = torch.zeros_like(found.shifts_px)
        for number, amplitude in zip(own.tolist(), share.amplitude_nNN, strict=True):
            shifts_px[number] = search(self.estimate, self.reader.propagator, number, amplitude, self.mask_NN)
        (shifts_px,) = self._join([shifts_px])
        self.estimate.move(shifts_px)

    def _settle(self, iteration: int, found: Findings) -> None:
        """Change what is changed once in an iteration."""
        estimate, count = self.estimate, len(self.estimate.positions_px)
        if self._moves(iteration):
            step = found.shifts_px - found.shifts_px.mean(dim=0)
            estimate.move(self.config.position_step * step)
        if self.config.flux and not self.fixes_flux:
            flux = estimate.flux_B * found.flux_B
            estimate.flux_B = flux / flux.mean()
        if estimate.background_NN is not None and found.background_NN is not None:
            estimate.background_NN *= found.background_NN / count
            if self.background == "uniform":
                estimate.background_NN.fill_(self._mean_over_valid(estimate.background_NN))
        if len(estimate.probe_PNN) > 1 and self.config.probe_step:
            estimate.probe_PNN.copy_(orthogonalise(estimate.probe_PNN))

    def _mean_over_valid(self, values_NN: Tensor) -> float:
        return float((values_NN if self.mask_NN is None else values_NN[self.mask_NN]).double().mean())

    def _scale(self, iteration: int) -> float:
        """Factor on steps: 1, falling geometrically to a tenth over the last share of the iterations."""
        cooling = (self.config.cooling or 0.0) * self.config.iterations
        late = iteration + 1 - (self.config.iterations - cooling)
        return float(_COOLEST ** (late / cooling)) if cooling > 0 and late > 0 else 1.0


def _is_quarter(done: int, count: int) -> bool:
    """Whether so many batches of an iteration complete a quarter of it."""
    return 4 * done // count > 4 * (done - 1) // count


@dataclass
class Findings:
    """What one pass has found; each rank fills in its own patterns, the others' are zero.

    What batches say stays where it was made until the pass is over, so that no batch waits for the one before.
    """

    squared_B: Tensor
    photons_B: Tensor
    shifts_px: Tensor
    flux_B: Tensor
    background_NN: Tensor | None
    met: list[tuple[IntArray, Tensor]] = field(default_factory=list)
    shifted: list[tuple[IntArray, Tensor]] = field(default_factory=list)
    dimmed: list[tuple[IntArray, Tensor]] = field(default_factory=list)

    @classmethod
    def empty(cls, estimate: Estimate, *, fits_background: bool) -> Findings:
        """Prepare for a pass."""
        count, background = len(estimate.positions_px), estimate.background_NN if fits_background else None
        return cls(
            squared_B=torch.zeros(count, dtype=torch.float64),
            photons_B=torch.zeros(count, dtype=torch.float64),
            shifts_px=torch.zeros(count, 2, dtype=torch.float64),
            flux_B=torch.zeros(count, dtype=torch.float64),
            background_NN=None if background is None else torch.zeros_like(background),
        )

    def join(self, flux_B: Tensor, join: Join) -> None:
        """Add up over the ranks what was met at a flux (B,)."""
        for into, said in ((self.squared_B, self.met), (self.shifts_px, self.shifted), (self.flux_B, self.dimmed)):
            if said:
                numbers = np.concatenate([one for one, _ in said])
                into[numbers] = torch.cat([one for _, one in said]).double().cpu()
        self.squared_B *= flux_B
        found = [self.squared_B, self.photons_B, self.shifts_px, self.flux_B]
        self.squared_B, self.photons_B, self.shifts_px, self.flux_B = join(found)
        if self.background_NN is not None:
            (self.background_NN,) = join([self.background_NN])

    def error(self) -> float:
        """Fourier error of the patterns as they were met; NaN of no photons."""
        photons = float(self.photons_B.sum())
        return math.sqrt(float(self.squared_B.sum()) / photons) if photons > 0 else math.nan


@dataclass(frozen=True)
class Pass:
    """A pass over all patterns.

    Parameters
    ----------
    iteration
        Its number, from 0.
    scale
        Factor on the step lengths.
    windows
        Where all patterns are on the object.
    found
        What the batches so far have found.
    """

    iteration: int
    scale: float
    windows: Windows
    found: Findings
