"""Patterns that share a canvas: where they lie, and how much of each object pixel they know together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at

_LEAST = 1e-12


@dataclass(frozen=True)
class Sides:
    """Sides in pixels of the squares around the middle of a frame.

    Parameters
    ----------
    frame, field, patch
        The whole frame, what a network sees, and what it predicts.
    body
        How they are moved; None for what suits the device.
    """

    frame: int
    field: int
    patch: int
    body: Body | None = None


@dataclass(frozen=True)
class Neighbours:
    """Patterns on one canvas.

    Parameters
    ----------
    frames, fields, patches
        Where their frames lie, and the squares in the middle of them that the network sees and predicts.
    weight_HW
        Sum of the weights of all patches of the canvas, also of those of patterns that are not listed here.
    """

    frames: PatchGeometry
    fields: PatchGeometry
    patches: PatchGeometry
    weight_HW: Float[Tensor, "H W"]

    @classmethod
    def on(cls, weight_HW: Float[Tensor, "H W"], corners_px: Float[Tensor, "B 2"], sides: Sides) -> Neighbours:
        """Place patterns with the corners (y, x) of their frames on a canvas whose weights are known."""
        rows, columns = weight_HW.shape
        frames, fields, patches = (
            PatchGeometry.build(
                corners_px + (sides.frame - side) / 2, side, (rows, columns), sides.body, is_inside=side < sides.frame
            )
            for side in (sides.frame, sides.field, sides.patch)
        )
        return cls(frames, fields, patches, weight_HW)

    @classmethod
    def alone(
        cls, corners_px: Float[Tensor, "B 2"], canvas_px: tuple[int, int], sides: Sides, weight_nn: Float[Tensor, "n n"]
    ) -> Neighbours:
        """Place patterns that are all a canvas has."""
        near = cls.on(weight_nn.new_zeros(canvas_px), corners_px, sides)
        weights = weight_nn.expand(len(corners_px), sides.patch, sides.patch).contiguous()
        return replace(near, weight_HW=place_at(weights, near.patches))

    def average(self, patches_Bnn: Complex[Tensor, "B n n"], weight_nn: Float[Tensor, "n n"]) -> Complex[Tensor, "H W"]:
        """Average overlapping patches by their weights; 1 where there is none."""
        share, rest = self._normaliser
        return place_at(patches_Bnn * weight_nn, self.patches) * share + rest

    @cached_property
    def _normaliser(self) -> tuple[Tensor, Tensor]:
        return _normaliser(self.weight_HW)

    def weight_at_fields(self) -> Float[Tensor, "B f f"]:
        """Sum of the weights of all patches, at each pixel that the network sees."""
        return extract_at(self.weight_HW, self.fields)


def normalised(sum_HW: Complex[Tensor, "H W"], weight_HW: Float[Tensor, "H W"]) -> Complex[Tensor, "H W"]:
    """Weighted mean from a weighted sum; 1 where no patch lies."""
    share, rest = _normaliser(weight_HW)
    return sum_HW * share + rest


def _normaliser(weight_HW: Tensor) -> tuple[Tensor, Tensor]:
    """Factor on a weighted sum, and what is added to it, of shape (H, W): one over the weight and 0, or 0 and 1."""
    known = weight_HW > 0
    share = torch.where(known, weight_HW.clamp_min(_LEAST).reciprocal(), torch.zeros_like(weight_HW))
    return share, (~known).to(share.dtype)
