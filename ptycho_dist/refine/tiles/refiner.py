"""Iterations by tiles: each is refined by itself for a quarter of a pass, then all are joined."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptycho_dist.distributed.collectives import all_reduce_sum
from ptycho_dist.physics.sampling import participation
from ptycho_dist.refine.beginning import Beginning
from ptycho_dist.refine.estimate import Estimate, light_sums
from ptycho_dist.refine.findings import Pass, Totals
from ptycho_dist.refine.iteration import QUARTERS, ReadPart, Refiner, Tell, scale_of, tell_nobody
from ptycho_dist.refine.outcome import Outcome, Piece
from ptycho_dist.refine.reductions import as_real
from ptycho_dist.refine.tiles.cutting import Rectangle, gaps
from ptycho_dist.refine.tiles.exchange import Exchange
from ptycho_dist.refine.tiles.joining import extrapolated, in_order, step_of_light, total, weight
from ptycho_dist.types import Canvas, IntArray

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tile:
    """Some neighbouring patterns, and their part of the object.

    Parameters
    ----------
    number
        Its place among all tiles.
    patterns
        Numbers of its patterns in the scan, int64, ascending.
    rectangle
        Its part of the canvas: the windows of its patterns, with room for them to move.
    refiner
        Refines it as if there were nothing else.
    """

    number: int
    patterns: IntArray
    rectangle: Rectangle
    refiner: Refiner

    @property
    def estimate(self) -> Estimate:
        """Its unknowns."""
        return self.refiner.estimate

    @property
    def name(self) -> str:
        """Of its part of a saved state."""
        return f"tile.{self.number}"

    @property
    def positions_px(self) -> Tensor:
        """Corners of its patterns on the whole canvas, float64, shape (b, 2)."""
        return self.estimate.positions_px + torch.tensor(self.rectangle.low, dtype=torch.float64)


@dataclass(frozen=True)
class Common:
    """What all tiles have alike; changed in place.

    Parameters
    ----------
    probe_PNN, background_NN
        As in :class:`~ptycho_dist.refine.estimate.Estimate`.
    """

    probe_PNN: Tensor
    background_NN: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        """Both as real numbers, by name."""
        named = {"probe": self.probe_PNN}
        named |= {} if self.background_NN is None else {"background": self.background_NN}
        return {name: as_real(value) for name, value in named.items()}

    def copy_(self, given: Common | Estimate) -> None:
        """Take those of another."""
        self.probe_PNN.copy_(given.probe_PNN)
        if self.background_NN is not None and given.background_NN is not None:
            self.background_NN.copy_(given.background_NN)


@dataclass(frozen=True)
class TiledRefiner:
    """Refines the tiles of this rank, and joins them with all others; a :class:`Refiner` for whoever iterates.

    No rank holds the object but where its tiles are, until one asks for the whole (:meth:`ended`).

    Parameters
    ----------
    beginning
        What the scan at once would begin with.
    common
        What all tiles have alike.
    tiles
        Those of this rank, in their order.
    exchange
        Brings to tiles what others say.
    shares
        Share of the patterns that each of all tiles has.
    make_whole
        Makes the refinement of the scan at once, as it would begin.
    """

    beginning: Beginning
    common: Common
    tiles: Sequence[Tile]
    exchange: Exchange
    shares: Sequence[float]
    make_whole: Callable[[], Refiner]

    def iterate(self, iteration: int, tell: Tell = tell_nobody) -> float:
        """Pass over all patterns once; see :meth:`Refiner.iterate`."""
        passes = [tile.refiner.begin(iteration) for tile in self.tiles]
        runs = [tile.refiner.quarters(one) for tile, one in zip(self.tiles, passes, strict=True)]
        weights = self._weights(scale_of(self.beginning.config, iteration))
        for quarter in range(1, QUARTERS + 1):
            before = {tile.number: _before(tile, one) for tile, one in zip(self.tiles, passes, strict=True)}
            for run in runs:
                next(run)
            self._join_objects(before, weights)
            self._join_probes()
            for one in passes:
                one.push.repeat()
            tell(quarter / QUARTERS)
        found = self._totals([tile.refiner.totals(one) for tile, one in zip(self.tiles, passes, strict=True)])
        for tile, one in zip(self.tiles, passes, strict=True):
            tile.refiner.finish(one, found)
            self.common.copy_(tile.estimate)
        return found.error

    def ended(self) -> Refiner:
        """Give the whole on every rank, for what goes on after the iterations; called on all ranks."""
        whole = self.make_whole()
        estimate, found = whole.estimate, torch.zeros_like(whole.estimate.object_HW)
        for tile in self.tiles:
            owned = self._owned(tile)
            found[tile.rectangle.slices][owned] = tile.estimate.object_HW[owned]
        found = torch.view_as_complex(all_reduce_sum(torch.view_as_real(found)))
        for rectangle in self.exchange.rectangles:
            estimate.object_HW[rectangle.slices] = found[rectangle.slices]
        known = self.outcome(self.beginning.canvas)
        estimate.probe_PNN, estimate.background_NN = known.probe_PNN, known.background_NN
        estimate.positions_px, estimate.flux_B = known.positions_px, known.flux_B
        return whole

    def outcome(self, canvas: Canvas) -> Outcome:
        """Give what a product takes; called on all ranks."""
        count = len(self.beginning.start.positions_px)
        positions, flux = torch.zeros(count, 2, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        for tile in self.tiles:
            positions[tile.patterns] = tile.positions_px
            flux[tile.patterns] = tile.estimate.flux_B
        probe, background = (self._of_rank_0(one) for one in (self.common.probe_PNN, self.common.background_NN))
        assert probe is not None
        self._tell()
        return Outcome(canvas, probe, all_reduce_sum(positions), all_reduce_sum(flux), background, self._pieces)

    def lit_pixels(self) -> float:
        """Participation number of the object's pixels by their light; 0 without any. Called on all ranks."""
        sums = [light_sums(everyone[self._owned(tile)]) for tile, _, everyone in self._lights(1.0)]
        like = torch.zeros(2, dtype=torch.float64, device=self.common.probe_PNN.device)
        return participation(*in_order(self.exchange.of_all(sums, like)).tolist())

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """Everything that changes of the tiles of this rank, by their names."""
        return {tile.name: tile.refiner.tensors() for tile in self.tiles}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes beside that, by name."""
        return self.common.tensors()

    def restore(self, tensors: Mapping[str, Tensor], read: ReadPart) -> None:
        """Restore what :meth:`tensors` and :meth:`parts` returned, on any number of ranks."""
        for name, value in self.common.tensors().items():
            value.copy_(tensors[name])
        for tile in self.tiles:
            tile.refiner.restore(read(tile.name), read)

    def _join_objects(self, before: Mapping[int, Tensor], weights: Mapping[int, Tensor]) -> None:
        """Give all tiles the same object where they overlap; changes are made of the objects in their place."""
        changes = {tile.number: tile.estimate.object_HW for tile in self.tiles}
        for number, change in changes.items():
            change.sub_(before[number]).mul_(weights[number])
        said = self.exchange.with_neighbours(changes)
        for tile in self.tiles:
            change = total(tile.number, tile.rectangle, changes[tile.number], said[tile.number])
            torch.add(before[tile.number], change, out=tile.estimate.object_HW)

    def _join_probes(self) -> None:
        """Give all tiles the same probe, from what they have made of the last one they agreed on."""
        if self.beginning.config.probe_step:
            known = self.common.probe_PNN
            made = self.exchange.of_all([tile.estimate.probe_PNN for tile in self.tiles], known)
            known.copy_(extrapolated(known, made, self.shares))
            for tile in self.tiles:
                tile.estimate.probe_PNN.copy_(known)

    def _weights(self, scale: float) -> dict[int, Tensor]:
        """Factors on the changes of this rank's tiles, for a quarter of an iteration."""
        step = step_of_light(self.beginning.config, self.common.probe_PNN) * scale / QUARTERS
        return {tile.number: weight(own, everyone) for tile, own, everyone in self._lights(step)}

    def _lights(self, step: Tensor | float) -> Iterator[tuple[Tile, Tensor, Tensor]]:
        """Yield this rank's tiles, the light of each, and that of all tiles in its rectangle, in units of a step."""
        lights = {tile.number: tile.estimate.light() * step for tile in self.tiles}
        said = self.exchange.with_neighbours(lights)
        for tile in self.tiles:
            own = lights.pop(tile.number)
            yield tile, own, total(tile.number, tile.rectangle, own, said[tile.number])

    def _totals(self, own: Sequence[Totals]) -> Totals:
        """Sum over the tiles of all ranks, in their order."""
        flat = self.exchange.of_all([one.flat() for one in own], torch.zeros(Totals.LENGTH, dtype=torch.float64))
        background = self.common.background_NN if self.beginning.data.background != "none" else None
        if background is not None:
            said = [one.background_NN for one in own if one.background_NN is not None]
            background = in_order(self.exchange.of_all(said, background))
        return Totals.of(in_order(flat), background)

    def _owned(self, tile: Tile) -> Tensor:
        """Pixels of a tile that no tile before it has, bool, of its rectangle's shape."""
        found = torch.ones(tile.rectangle.shape, dtype=torch.bool, device=tile.estimate.object_HW.device)
        for rectangle in self.exchange.rectangles[: tile.number]:
            part = rectangle.common(tile.rectangle)
            if part is not None:
                found[part.inside(tile.rectangle)] = False
        return found

    def _pieces(self) -> Iterator[Piece]:
        """Give this rank's tiles, which have the same bits where they overlap, and its share of what no tile covers."""
        for tile in self.tiles:
            yield tile.rectangle.low, tile.estimate.object_HW.cpu().numpy().astype(np.complex64)
        whole = self.beginning.canvas
        uncovered = gaps(self.exchange.rectangles, whole.shape)
        for gap in uncovered[self.exchange.rank :: self.exchange.world]:
            yield gap.low, self.beginning.object_on(gap.on(whole)).astype(np.complex64)

    def _of_rank_0(self, shared: Tensor | None) -> Tensor | None:
        """Give every rank what rank 0 has, which always owns a tile."""
        if shared is None:
            return None
        known = as_real(shared if self.exchange.rank == 0 else torch.zeros_like(shared))
        found = all_reduce_sum(known)
        return torch.view_as_complex(found) if shared.is_complex() else found

    def _tell(self) -> None:
        account = self.exchange.account
        logger.info(
            "%d tiles on %d ranks: this one sent %.2f MiB and was %.1f s in exchanges",
            len(self.shares), self.exchange.world, account.sent_bytes / 2**20, account.seconds,
        )  # fmt: skip


def _before(tile: Tile, one: Pass) -> Tensor:
    """Object of a tile as it is before a quarter of a pass, which its momentum keeps if it has one."""
    kept = one.push.before_HW
    return tile.estimate.object_HW.clone() if kept is None else kept
