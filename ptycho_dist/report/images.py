"""Pictures inside a page: PNG data addresses of maps, masks and complex waves.

A map travels as numbers, not as colours: the page colours it, zooms in it and says the value under the cursor.
Small maps have 16 bits (high byte red, low byte green, blue where there is a value), large ones 8 bits of grey,
in which 0 is a pixel without a value.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptycho_dist.types import FloatArray

LARGEST_SIDE_PX = 1500
"""Pixels along the longer side of a picture at most."""
_FINE_PX = 700**2
"""Pixels up to which a map has 16 bits."""
_FINE, _COARSE = 65535, 254
_CUT = (0.05, 99.95)
"""Percentiles at which a coarse map is cut off, so that a few outliers do not take all its steps."""


@dataclass(frozen=True)
class Map:
    """A map with what is needed to show it.

    Parameters
    ----------
    name, title, unit
        Short name within the page; title; unit of the values.
    values
        float (H, W); NaN where there is no value.
    limits
        Values of the first and last colour.
    colours
        Name of a colour map.
    corner_px, step_px
        Place (row, column) of its first pixel in the object, and object pixels along a side of one of its pixels.
    """

    name: str
    title: str
    unit: str
    values: NDArray[np.floating]
    limits: tuple[float, float]
    colours: str
    corner_px: tuple[float, float] = (0.0, 0.0)
    step_px: int = 1

    def fitted(self) -> Map:
        """Take means over squares of known pixels, where there are more than a page shows."""
        step = math.ceil(max(self.values.shape) / LARGEST_SIDE_PX)
        if step == 1:
            return self
        rows, columns = (side // step for side in self.values.shape)
        squares = self.values[: rows * step, : columns * step].reshape(rows, step, columns, step)
        known = np.isfinite(squares)
        count = known.sum(axis=(1, 3))
        total = np.where(known, squares, 0).sum(axis=(1, 3))
        values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return replace(self, values=values, step_px=self.step_px * step)

    def packed(self) -> dict[str, Any]:
        """Give what the page takes."""
        packed = pack(self.values)
        shown = {"limits": list(self.limits), "colours": self.colours}
        place = {"corner": list(self.corner_px), "step": self.step_px}
        return {"name": self.name, "title": self.title, "unit": self.unit} | packed | shown | place


def pack(values: NDArray[np.floating]) -> dict[str, Any]:
    """Pack a map, float (H, W), as a picture with the range of its values.

    Returns
    -------
    dict
        ``png`` (data address), ``bits``, ``low``, ``high``, ``rows``, ``columns``.
    """
    known = np.isfinite(values)
    is_fine = values.size <= _FINE_PX
    low, high = _range(values[known], is_fine=is_fine)
    share = np.clip((np.where(known, values, low) - low) / (high - low), 0.0, 1.0)
    picture = _fine(share, known) if is_fine else _coarse(share, known)
    rows, columns = values.shape
    size = {"rows": rows, "columns": columns}
    return {"png": data_address(picture), "bits": 16 if is_fine else 8, "low": low, "high": high} | size


def data_address(picture: NDArray[np.uint8]) -> str:
    """Turn a picture, uint8 (H, W) or (H, W, 3), into a PNG data address."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "png", optimize=picture.size < 3 * _FINE_PX)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def mask_address(mask: NDArray[np.bool_]) -> str:
    """Turn a mask (H, W) into a PNG data address, white where it is true."""
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def numbers_address(values: FloatArray) -> str:
    """Turn numbers into base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def _range(known: NDArray[np.floating], *, is_fine: bool) -> tuple[float, float]:
    if not known.size:
        return 0.0, 1.0
    ends = (known.min(), known.max()) if is_fine else np.percentile(known, _CUT)
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _fine(share: FloatArray, known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    steps = np.rint(share * _FINE).astype(np.uint16)
    bytes_ = (steps >> 8, steps & 255, 255 * known)
    return np.stack([one.astype(np.uint8) for one in bytes_], axis=-1)


def _coarse(share: FloatArray, known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(known, 1 + np.rint(share * _COARSE), 0).astype(np.uint8)
