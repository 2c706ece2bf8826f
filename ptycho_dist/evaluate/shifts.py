"""Shifts of positions that a refinement has found."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.types import FloatArray

_MOVED_PX = 1e-3


def shifts_of(product: Product, scan: Scan | None) -> FloatArray | None:
    """Shifts (B, 2) of a product's positions against those of its scan, less their mean, in pixels.

    None where there are none, or no scan is at hand. The common shift is left out, for it moves object and positions
    alike.
    """
    if scan is None:
        return None
    moved = np.asarray(product.positions_px - scan.positions_px[product.indexes], np.float64)
    moved -= moved.mean(axis=0)
    return moved if np.abs(moved).max(initial=0.0) > _MOVED_PX else None


def shift_facts(shifts_px: FloatArray | None, pixel_size_m: float) -> dict[str, Any]:
    """Give what metrics say of shifts (B, 2): root mean square and largest; nothing where there are none."""
    if shifts_px is None:
        return {}
    length = np.hypot(*shifts_px.T)
    rms, largest = float(np.sqrt((length**2).mean())), float(length.max())
    told = {"position_shift_rms_px": rms, "position_shift_largest_px": largest}
    if not math.isfinite(pixel_size_m):
        return told
    return told | {"position_shift_rms_m": rms * pixel_size_m, "position_shift_largest_m": largest * pixel_size_m}
