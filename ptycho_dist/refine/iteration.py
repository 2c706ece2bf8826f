"""One iteration: a pass over all patterns, in batches, on all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.physics.probe import orthogonalise
from ptycho_dist.physics.windows import Windows
from ptycho_dist.refine.amplitudes import AmplitudeReader, Share
from ptycho_dist.refine.batching import Batching, Drawn
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.exit_wave import Batch, Residual, background_ratio, flux_ratio, residual
from ptycho_dist.refine.findings import Findings, Pass, Totals
from ptycho_dist.refine.fused import Fused
from ptycho_dist.refine.methods import Method
from ptycho_dist.refine.momentum import Push
from ptycho_dist.refine.outcome import Outcome
from ptycho_dist.refine.positions import lost, search, shifts
from ptycho_dist.refine.reductions import Join, as_real, join_sums, keep_own, run_update
from ptycho_dist.types import Canvas, IntArray

ReadPart = Callable[[str], Mapping[str, Tensor]]
"""Reads a part of a saved state by its name."""

Tell = Callable[[float], None]
"""Takes the share of a pass that is done."""

QUARTERS = 4
_COOLEST = 0.1
_SEARCH_EVERY = 10
"""Iterations between two searches for lost positions."""


def tell_nobody(_share: float) -> None:
    """Take a share for nobody."""


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

    def iterate(self, iteration: int, tell: Tell = tell_nobody) -> float:
        """Pass over all patterns once.

        Parameters
        ----------
        iteration
            Its number, from 0.
        tell
            Takes the share of the pass that is done, after each quarter of it.

        Returns
        -------
        float
            Fourier error of the patterns as they were met, before their own update.
        """
        one = self.begin(iteration)
        for quarter, updates in enumerate(self.quarters(one), 1):
            if updates:
                one.push.repeat()
            tell(quarter / QUARTERS)
        whole = self.totals(one)
        self.finish(one, whole)
        return whole.error

    def begin(self, iteration: int) -> Pass:
        """Prepare a pass over all patterns."""
        found = Findings.empty(self.estimate, fits_background=self.background != "none")
        push = Push(self.estimate, self.config.momentum or 0.0, self.velocity_HW)
        return Pass(iteration, scale_of(self.config, iteration), self.estimate.windows(), found, push)

    def quarters(self, one: Pass) -> Iterator[int]:
        """Make the updates of a pass; yields their number after each quarter of it."""
        order, done = self.batching.of(one.iteration), 0
        met = self._met(order, one.found)
        for quarter in range(1, QUARTERS + 1):
            upto = -(-quarter * len(order) // QUARTERS)
            for drawn, share in islice(met, upto - done):
                self.update(one, drawn, share)
            yield upto - done
            done = upto

    def update(self, one: Pass, drawn: Drawn, share: Share) -> None:
        """Update object and probe by a batch of patterns; nothing is read back from the device."""
        batch = self._batch(drawn, share, one.windows)
        own = residual(self.estimate, batch, self.reader.propagator, self.method.ratio)
        self._note(one.iteration, drawn.numbers[batch.part], batch, own, one.found)
        run_update(self.method.update(self.estimate, batch, own, one.scale), batch, self._join)
        if self.support_NN is not None:
            self.estimate.probe_PNN *= self.support_NN

    def totals(self, one: Pass) -> Totals:
        """Sum what a pass has found over all patterns."""
        one.found.join(self.estimate.flux_B, self._join)
        return one.found.totals(self.estimate.flux_B)

    def finish(self, one: Pass, whole: Totals) -> None:
        """Change what is changed once in an iteration, given the totals over all patterns there are."""
        self.velocity_HW = one.push.velocity_HW
        self._settle(one, whole)
        if self._searches(one.iteration):
            self._find_lost(one.found)

    def ended(self) -> Refiner:
        """Give what goes on after the iterations."""
        return self

    def outcome(self, canvas: Canvas) -> Outcome:
        """Give what a product takes, of an object that lies on a canvas."""
        return Outcome.of(self.estimate, canvas, self.reader.context.rank)

    def lit_pixels(self) -> float:
        """Participation number of the object's pixels by their light; 0 without any."""
        return self.estimate.lit_pixels()

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Give what only this rank has of the state, by parts: nothing."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name."""
        named = {f"estimate.{name}": as_real(value) for name, value in self.estimate.tensors().items()}
        named |= {f"method.{name}": value for name, value in self.method.state().items()}
        return named if self.velocity_HW is None else {**named, "velocity": as_real(self.velocity_HW)}

    def restore(self, tensors: Mapping[str, Tensor], _: ReadPart) -> None:
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
        found.met.add(numbers, own.squared_B)
        if self._moves(iteration):
            found.shifted.add(numbers, shifts(self.estimate, batch, own))
        if self.config.flux:
            found.dimmed.add(numbers, flux_ratio(batch, own))
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

    def _settle(self, one: Pass, whole: Totals) -> None:
        estimate, found = self.estimate, one.found
        if self._moves(one.iteration):
            estimate.move(self.config.position_step * (found.shifts_px - whole.shift_px / whole.count))
        if self.config.flux and not self.fixes_flux:
            estimate.flux_B = estimate.flux_B * found.flux_B / (whole.flux / whole.count)
        if estimate.background_NN is not None and whole.background_NN is not None:
            estimate.background_NN *= whole.background_NN / int(whole.count)
            if self.background == "uniform":
                estimate.background_NN.fill_(self._mean_over_valid(estimate.background_NN))
        if len(estimate.probe_PNN) > 1 and self.config.probe_step:
            estimate.probe_PNN.copy_(orthogonalise(estimate.probe_PNN))

    def _mean_over_valid(self, values_NN: Tensor) -> float:
        return float((values_NN if self.mask_NN is None else values_NN[self.mask_NN]).double().mean())


def scale_of(config: RefineConfig, iteration: int) -> float:
    """Factor on steps: 1, falling geometrically to a tenth over the last share of the iterations."""
    cooling = (config.cooling or 0.0) * config.iterations
    late = iteration + 1 - (config.iterations - cooling)
    return float(_COOLEST ** (late / cooling)) if cooling > 0 and late > 0 else 1.0
