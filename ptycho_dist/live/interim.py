"""The object so far: patterns are predicted once, as they arrive, with the neighbours that are there already.

A network whose patches agree on one object after each stage has a canvas for each stage here. New patterns are taken
through all stages at once; in each they are held against what that canvas has of earlier patterns and of each other,
and then belong to it. So each pattern costs the same, however long the scan is; it is not predicted again when later
neighbours arrive. That is what the prediction of the whole scan does, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.assembly.synchronise import overlap_pairs, pair_products, solve_phases
from ptycho_dist.data.grouping import neighbor_groups
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.patch_store import PatchRecipe, recipe
from ptycho_dist.inference.precision import precision_context
from ptycho_dist.live.arrivals import Arrived
from ptycho_dist.live.canvas import GrowingCanvas
from ptycho_dist.model.neighbours import Neighbours, normalised
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at
from ptycho_dist.types import Canvas, FloatArray


@dataclass(frozen=True)
class Picture:
    """The object so far.

    Parameters
    ----------
    object_
        complex64, shape (H, W); 1 where no patch lies.
    origin_px
        Position (y, x) of its first pixel.
    """

    object_: NDArray[np.complex64]
    origin_px: tuple[float, float]


class InterimObject:
    """Sums of the patches that were predicted so far.

    Parameters
    ----------
    model
        Trained model with the probe of the scan, on its device, ready to predict.
    payload
        Settings, made of the first patterns.
    """

    def __init__(self, model: PtychoModel, payload: InferencePayload) -> None:
        self._model, self._payload = model, payload
        self._recipe: PatchRecipe = recipe(model, payload)
        self._layers = len(model.networks) if model.sizes.exchange else 1
        like = model.optics.scaled_probe
        self._canvas = GrowingCanvas(self._layers, like.dtype, like.device)
        self._waiting: Arrived | None = None
        self.n_patterns = 0

    @property
    def probe_PNN(self) -> NDArray[np.complex64]:  # noqa: N802  # the letters of shapes
        """Probe modes that are predicted with, in the scale of the counts."""
        probe = self._model.optics.scaled_probe.detach() / self._payload.count_factor**0.5
        return np.asarray(probe.to(torch.complex64).cpu().numpy())

    def add(self, arrived: Arrived) -> None:
        """Predict patterns, and add their patches; those without any count are left out.

        A network that sees several patterns together waits until there are as many, and takes those that came together.
        """
        waiting = arrived if self._waiting is None else Arrived.joined([self._waiting, arrived])
        lit = np.flatnonzero(waiting.counts.any(axis=(1, 2)))
        self._waiting = waiting if len(lit) < self._model.sizes.patterns_per_sample else None
        if not len(lit) or self._waiting is not None:
            return
        arrived, device = waiting, self._model.patch_weight().device
        positions_px = arrived.positions_px[lit]
        tile = Canvas.around(positions_px, self._model.N)
        self._canvas.hold(tile)
        counts = torch.from_numpy(np.ascontiguousarray(arrived.counts[lit])).to(device)
        photons = counts.to(self._model.patch_weight().dtype) * self._payload.count_factor
        with torch.inference_mode(), precision_context(self._payload.execution_config, device):
            if self._model.sizes.exchange:
                self._add_stages(photons, positions_px, tile)
            else:
                self._add_alone(photons, positions_px, tile)
        self.n_patterns += len(lit)

    def picture(self) -> Picture:
        """Give the object so far."""
        tile = self._canvas.used
        sums, weight = self._canvas.on(tile)
        mean = normalised(sums[-1], weight)
        return Picture(mean.to(torch.complex64).cpu().numpy(), tile.origin_px)

    def _add_stages(self, photons: Tensor, positions_px: FloatArray, tile: Canvas) -> None:
        model, weight_nn = self._model, self._model.patch_weight()
        sums, weight = self._canvas.on(tile)
        corners = torch.from_numpy(positions_px - np.asarray(tile.origin_px)).to(photons.device)
        own = Neighbours.alone(corners, tile.shape, model.sizes.sides, weight_nn)
        weight += own.weight_HW
        near = Neighbours.on(weight, corners, model.sizes.sides)
        known = model.optics.probe.new_ones(tile.shape)
        for stage, total in enumerate(sums):
            patches = model.improve(stage, photons, known, near, 1 / self._payload.count_factor)
            total += place_at(patches * weight_nn, near.patches)
            known = normalised(total, weight)

    def _add_alone(self, photons: Tensor, positions_px: FloatArray, tile: Canvas) -> None:
        """Predict each pattern on its own, and turn the patches to the phase of the object so far."""
        patches = self._predict_alone(photons, positions_px)
        trim, side = self._recipe.trim_px, self._recipe.side
        patches = patches[:, trim : trim + side, trim : trim + side].contiguous()
        weight_nn = self._recipe.weight_nn.to(photons)
        sums, weight = self._canvas.on(tile)
        corners_px = positions_px + self._recipe.offset_px
        corners = torch.from_numpy(corners_px - np.asarray(tile.origin_px)).to(photons.device)
        where = PatchGeometry.build(corners, side, tile.shape)
        if self._payload.inference_config.synchronise_phases:
            turned = patches * self._phases(patches, corners_px).to(patches)[:, None, None]
            there = extract_at(sums[0], where)
            product = (there * turned.conj() * weight_nn).sum()
            patches = turned * (product / product.abs() if product.abs() > 0 else 1.0)
        sums[0] += place_at(patches * weight_nn, where)
        weight += place_at(weight_nn.expand(len(patches), side, side).contiguous(), where)

    def _predict_alone(self, photons: Tensor, positions_px: FloatArray) -> Tensor:
        together = self._model.sizes.patterns_per_sample
        if together == 1:
            return self._model.predict_own(photons, len(photons))
        size = self._payload.data_config.gridsize or 1
        groups = neighbor_groups(positions_px, size).index
        return self._model.predict_own(photons[torch.from_numpy(groups.reshape(-1)).to(photons.device)], len(groups))

    def _phases(self, patches: Tensor, corners_px: FloatArray) -> Tensor:
        """Factors (n,) by which new patches agree with each other."""
        pairs = overlap_pairs(corners_px, self._recipe.side)
        offsets = np.rint(corners_px[pairs[:, 1]] - corners_px[pairs[:, 0]]).astype(np.int64)
        values = patches.to(torch.complex64).cpu().numpy()
        products = pair_products(values, pairs, offsets, self._recipe.weight_nn.numpy())
        return torch.from_numpy(np.exp(1j * solve_phases(len(patches), pairs, products)))
