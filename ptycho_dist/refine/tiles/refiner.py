"""Iterations by tiles: each is refined by itself for a quarter of a pass, then all are joined."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.distributed.collectives import all_reduce_sum
from ptycho_dist.refine.estimate import Estimate
from ptycho_dist.refine.findings import Totals
from ptycho_dist.refine.iteration import QUARTERS, Refiner
from ptycho_dist.refine.reductions import as_real
from ptycho_dist.refine.tiles.cutting import Rectangle
from ptycho_dist.refine.tiles.exchange import Exchange
from ptycho_dist.refine.tiles.joining import extrapolated, in_order, step_of_light, total, weight
from ptycho_dist.types import IntArray

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
    def positions_px(self) -> Tensor:
        """Corners of its patterns on the whole canvas, float64, shape (b, 2)."""
        return self.estimate.positions_px + torch.tensor(self.rectangle.low, dtype=torch.float64)

    def tensors(self) -> dict[str, Tensor]:
        """Give what it has for itself, by name; positions, too, for their last bits depend on the origin."""
        state = {f"method.{name}": value for name, value in self.refiner.method.state().items()}
        return {"positions_px": self.estimate.positions_px, **state}

    def restore(self, tensors: Mapping[str, Tensor], whole: Refiner) -> None:
        """Restore what :meth:`tensors` returned, and its part of the whole."""
        own, given, velocity = self.estimate, whole.estimate, whole.velocity_HW
        own.object_HW.copy_(given.object_HW[self.rectangle.slices])
        own.probe_PNN.copy_(given.probe_PNN)
        own.positions_px = tensors["positions_px"].clone()
        own.flux_B = given.flux_B[self.patterns]
        if own.background_NN is not None and given.background_NN is not None:
            own.background_NN.copy_(given.background_NN)
        self.refiner.velocity_HW = None if velocity is None else velocity[self.rectangle.slices].clone()
        self.refiner.method.restore(without_prefix(tensors, "method."))


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class TiledRefiner:
    """Refines the tiles of this rank, and joins them with all others; a :class:`Refiner` for whoever iterates.

    Parameters
    ----------
    whole
        The refinement of the scan at once: what the tiles are cut from, and gathered in.
    tiles
        Those of this rank, in their order.
    exchange
        Brings to tiles what others say.
    shares
        Share of the patterns that each of all tiles has.
    """

    whole: Refiner
    tiles: Sequence[Tile]
    exchange: Exchange
    shares: Sequence[float]

    @property
    def estimate(self) -> Estimate:
        """What is refined; the object where this rank has no tile is that of the last :meth:`gather`."""
        return self.whole.estimate

    @property
    def config(self) -> RefineConfig:
        """Settings in force."""
        return self.whole.config

    def iterate(self, iteration: int) -> float:
        """Pass over all patterns once; see :meth:`Refiner.iterate`."""
        passes = [tile.refiner.begin(iteration) for tile in self.tiles]
        runs = [tile.refiner.quarters(one) for tile, one in zip(self.tiles, passes, strict=True)]
        weights = self._weights(self.whole.scale(iteration))
        for _ in range(QUARTERS):
            before = {tile.number: tile.estimate.object_HW.clone() for tile in self.tiles}
            for run in runs:
                next(run)
            self._join_objects(before, weights)
            self._join_probes()
            for one in passes:
                one.push.repeat()
        found = self._totals([tile.refiner.totals(one) for tile, one in zip(self.tiles, passes, strict=True)])
        for tile, one in zip(self.tiles, passes, strict=True):
            tile.refiner.finish(one, found)
        self._show()
        return found.error

    def ended(self) -> Refiner:
        """Give what goes on after the iterations: the whole, gathered."""
        self.gather()
        account = self.exchange.account
        logger.info(
            "%d tiles on %d ranks: this one sent %.2f MiB and was %.1f s in exchanges",
            len(self.shares), self.exchange.world, account.sent_bytes / 2**20, account.seconds,
        )  # fmt: skip
        return self.whole

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, of the tiles of all ranks, by name; called on all ranks."""
        self.gather()
        own = {f"tile.{tile.number}.{name}": value for tile in self.tiles for name, value in tile.tensors().items()}
        return self.whole.tensors() | self.exchange.named(own)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore what :meth:`tensors` returned, on any number of ranks."""
        self.whole.restore({name: value for name, value in tensors.items() if not name.startswith("tile.")})
        for tile in self.tiles:
            tile.restore(without_prefix(tensors, f"tile.{tile.number}."), self.whole)

    def gather(self) -> None:
        """Bring the tiles of all ranks together in the whole; called on all ranks."""
        whole, first = self.estimate, self._first_tile()
        is_covered = first >= 0
        found = self._on_canvas([tile.estimate.object_HW for tile in self.tiles], first)
        whole.object_HW.copy_(torch.where(is_covered, found, whole.object_HW))
        if self.whole.velocity_HW is not None:
            pushed = [tile.refiner.velocity_HW for tile in self.tiles if tile.refiner.velocity_HW is not None]
            self.whole.velocity_HW = self._on_canvas(pushed, first)
        positions, flux = torch.zeros_like(whole.positions_px), torch.zeros_like(whole.flux_B)
        for tile in self.tiles:
            positions[tile.patterns] = tile.positions_px
            flux[tile.patterns] = tile.estimate.flux_B
        whole.positions_px, whole.flux_B = all_reduce_sum(positions), all_reduce_sum(flux)
        for shared in (whole.probe_PNN, whole.background_NN):
            if shared is not None:
                known = shared if self.exchange.rank == 0 else torch.zeros_like(shared)
                as_real(shared).copy_(all_reduce_sum(as_real(known)))

    def _join_objects(self, before: Mapping[int, Tensor], weights: Mapping[int, Tensor]) -> None:
        """Give all tiles the same object where they overlap."""
        changes = {
            tile.number: (tile.estimate.object_HW - before[tile.number]) * weights[tile.number] for tile in self.tiles
        }
        said = self.exchange.with_neighbours(changes, self.estimate.object_HW)
        for tile in self.tiles:
            change = total(tile.number, tile.rectangle, changes[tile.number], said[tile.number])
            torch.add(before[tile.number], change, out=tile.estimate.object_HW)

    def _join_probes(self) -> None:
        """Give all tiles the same probe, from what they have made of the last one they agreed on."""
        if self.config.probe_step:
            known = self.estimate.probe_PNN
            made = self.exchange.of_all([tile.estimate.probe_PNN for tile in self.tiles], known)
            known.copy_(extrapolated(known, made, self.shares))
            for tile in self.tiles:
                tile.estimate.probe_PNN.copy_(known)

    def _weights(self, scale: float) -> dict[int, Tensor]:
        """Factors on the changes of this rank's tiles, for a quarter of an iteration."""
        step = step_of_light(self.config, self.estimate.probe_PNN) * scale / QUARTERS
        lights = {tile.number: tile.estimate.light() * step for tile in self.tiles}
        said = self.exchange.with_neighbours(lights, self.estimate.object_HW.real)
        return {
            tile.number: weight(own, total(tile.number, tile.rectangle, own, said[tile.number]))
            for tile, own in zip(self.tiles, lights.values(), strict=True)
        }

    def _totals(self, own: Sequence[Totals]) -> Totals:
        """Sum over the tiles of all ranks, in their order."""
        flat = self.exchange.of_all([one.flat() for one in own], torch.zeros(Totals.LENGTH, dtype=torch.float64))
        background = self.estimate.background_NN if self.whole.background != "none" else None
        if background is not None:
            said = [one.background_NN for one in own if one.background_NN is not None]
            background = in_order(self.exchange.of_all(said, background))
        return Totals.of(in_order(flat), background)

    def _show(self) -> None:
        """Put this rank's tiles into the whole."""
        whole = self.estimate
        for tile in self.tiles:
            whole.object_HW[tile.rectangle.slices] = tile.estimate.object_HW
            whole.positions_px[tile.patterns] = tile.positions_px
            whole.flux_B[tile.patterns] = tile.estimate.flux_B
            whole.probe_PNN.copy_(tile.estimate.probe_PNN)
            if whole.background_NN is not None and tile.estimate.background_NN is not None:
                whole.background_NN.copy_(tile.estimate.background_NN)
        if self.config.momentum and self.whole.velocity_HW is None:
            self.whole.velocity_HW = torch.zeros_like(whole.object_HW)

    def _first_tile(self) -> Tensor:
        """Lowest number of the tiles that have a pixel, int32 (H, W); -1 where none has."""
        found = torch.full(self.estimate.canvas_px, -1, dtype=torch.int32, device=self.estimate.object_HW.device)
        for number in reversed(range(len(self.exchange.rectangles))):
            found[self.exchange.rectangles[number].slices] = number
        return found

    def _on_canvas(self, of_tiles: Sequence[Tensor], first: Tensor) -> Tensor:
        """Put what tiles agree on together from all ranks; zero where no tile is."""
        canvas = torch.zeros_like(self.estimate.object_HW)
        for tile, values in zip(self.tiles, of_tiles, strict=True):
            place = tile.rectangle.slices
            canvas[place] += values * (first[place] == tile.number)
        return torch.view_as_complex(all_reduce_sum(torch.view_as_real(canvas)))
