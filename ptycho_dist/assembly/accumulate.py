"""Sums of patches that do not depend on their order, batches or shards.

Each contribution is rounded to a fixed-point integer on its own, and integers
add exactly, so any split of the patterns over ranks gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.errors import ShardError
from ptycho_dist.physics.patches import PatchGeometry
from ptycho_dist.types import Canvas

_WORD_BITS = 62
_LARGEST_PATCH_BITS = 10
_FINEST_BITS = 40
_LEAST_EFFECTIVE = 1.25
"""Patches that must, in effect, have a say in a pixel before their agreement is estimated."""
NAMES = ("real", "imag", "weight", "square", "weight_square")
"""Integer sums: of ``w o`` (two parts), ``w``, ``w |o|^2`` and ``w^2``, for patches o with weights w."""


def fraction_bits(n_patterns: int) -> int:
    """Binary digits after the point such that ``n_patterns`` patches cannot overflow 62 bits.

    Patches may reach 2**10 in magnitude; larger ones are refused when added.
    """
    return min(_FINEST_BITS, _WORD_BITS - _LARGEST_PATCH_BITS - math.ceil(math.log2(max(2, n_patterns))))


def square_bits(bits: int) -> int:
    """Binary digits after the point of the sums of squares, which may be larger than the others."""
    return bits - _LARGEST_PATCH_BITS


class FixedPointSum:
    """Weighted sums of complex patches, and of their squares, on a tile of the canvas, as int64.

    Parameters
    ----------
    tile
        Part of the canvas to sum on.
    bits
        Binary digits after the point (:func:`fraction_bits`).
    """

    def __init__(self, tile: Canvas, bits: int) -> None:
        self.tile, self.bits = tile, bits
        rows, columns = tile.shape
        self._sums = torch.zeros(len(NAMES), rows * columns, dtype=torch.int64)
        self._count = torch.zeros(rows * columns, dtype=torch.int32)

    def add(self, patches_Bnn: Tensor, weight_nn: Tensor, corners_px: Tensor) -> None:
        """Add patches times weights.

        Parameters
        ----------
        patches_Bnn
            Complex, shape (B, n, n), on the CPU.
        weight_nn
            Float, shape (n, n), between 0 and 2.
        corners_px
            float64, shape (B, 2): corners in the frame of the whole canvas' positions.

        Raises
        ------
        ShardError
            If a patch is not finite, or larger than the sum can hold.
        """
        _require_small(patches_Bnn)
        local = corners_px - torch.tensor(self.tile.origin_px, dtype=torch.float64)
        geometry = PatchGeometry.build(local, patches_Bnn.shape[-1], self.tile.shape)
        weights = weight_nn.double().expand(patches_Bnn.shape).contiguous()
        weighted = patches_Bnn.to(torch.complex128) * weights
        shares = (weighted.real.contiguous(), weighted.imag.contiguous(), weights)
        real, imag, weight = (geometry.windows(values) for values in shares)
        square = torch.where(weight > 0, (real**2 + imag**2) / weight, 0.0)
        fine, coarse = self.bits, square_bits(self.bits)
        for row, (values, bits) in enumerate(
            ((real, fine), (imag, fine), (weight, fine), (square, coarse), (weight**2, coarse))
        ):
            self._sums[row].index_add_(0, geometry.index, _fixed(values, bits))
        touched = geometry.windows((weights > 0).double()) > 0
        self._count.index_add_(0, geometry.index, touched.to(torch.int32).reshape(-1))

    def arrays(self) -> dict[str, NDArray[np.int64] | NDArray[np.int32]]:
        """Integer sums by name: those of ``NAMES`` (int64) and count (int32), each (H, W)."""
        shape = self.tile.shape
        sums = {name: self._sums[row].view(shape).numpy() for row, name in enumerate(NAMES)}
        return {**sums, "count": self._count.view(shape).numpy()}


def add_fixed(sums: Tensor, values_RBnn: Float[Tensor, "R B n n"], geometry: PatchGeometry, bits: int) -> None:
    """Add patches of real numbers, float64, to integer sums (R, H, W) on a canvas; the order does not matter.

    Raises
    ------
    ShardError
        If a patch is not finite, or larger than the sum can hold.
    """
    for row, values in zip(sums.view(len(sums), -1), values_RBnn, strict=True):
        largest = float(values.abs().max()) if values.numel() else 0.0
        if not largest < 2.0**_LARGEST_PATCH_BITS:
            raise ShardError(_too_large(largest))
        row.index_add_(0, geometry.index, _fixed(geometry.windows(values.contiguous()), bits))


def _fixed(values: Tensor, bits: int) -> Tensor:
    return torch.round(values * float(2**bits)).to(torch.int64).reshape(-1)


def normalise(real: NDArray[np.int64], imag: NDArray[np.int64], weight: NDArray[np.int64]) -> NDArray[np.complex64]:
    """Weighted mean of the patches; 1 where no patch lies."""
    known = weight > 0
    divisor = np.where(known, weight, 1).astype(np.float64)
    mean = (real / divisor) + 1j * (imag / divisor)
    return np.where(known, mean, 1.0).astype(np.complex64)


def disagreement(sums: Mapping[str, NDArray[np.int64]], bits: int) -> NDArray[np.float32]:
    """Weighted standard deviation between the patches that overlap in a pixel.

    The estimate of the variance that is unbiased for weights of reliability,
    ``sum w |o - mean|^2 / (sum w - sum w^2 / sum w)``; the deviation is that of complex transmissions, so 0.1
    is about 10 percent in amplitude or 0.1 rad in phase.

    Parameters
    ----------
    sums
        Integer sums by name, as :meth:`FixedPointSum.arrays` gives them.
    bits
        Binary digits after the point.

    Returns
    -------
    ndarray, float32, shape (H, W)
        NaN where one patch alone decides, in effect: where (sum w)^2 / sum w^2 is below 1.25.
    """
    scales = dict.fromkeys(NAMES, 2.0**-bits) | dict.fromkeys(("square", "weight_square"), 2.0 ** -square_bits(bits))
    real, imag, weight, square, weight_square = (sums[name] * scales[name] for name in NAMES)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = weight**2 / weight_square
        scatter = square - (real**2 + imag**2) / weight
        deviation = np.sqrt(np.maximum(scatter, 0.0) / (weight - weight_square / weight))
    known = np.isfinite(effective) & (effective >= _LEAST_EFFECTIVE)
    return np.where(known, deviation, np.nan).astype(np.float32)


def _require_small(patches: Tensor) -> None:
    largest = float(torch.view_as_real(patches).abs().max()) if patches.numel() else 0.0
    if not largest < 2.0**_LARGEST_PATCH_BITS:
        raise ShardError(_too_large(largest))


def _too_large(largest: float) -> str:
    return (
        f"a predicted patch reaches {largest}; expected object transmissions below {2**_LARGEST_PATCH_BITS}. "
        "The network has diverged: train again with a smaller learning_rate, or set gradient_clip_val."
    )
