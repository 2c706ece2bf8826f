"""Masks of detector pixels in files of their own: NumPy, HDF5, or any picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.array_file import load_values, name_of
from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.errors import DataFormatError

_CLEAR_MAJORITY = 0.6


def read_mask(mask: Path, polarity: str, shapes: Sequence[tuple[int, int]]) -> tuple[BoolArray, str]:
    """Read a mask of detector pixels.

    Parameters
    ----------
    mask
        NPY; NPZ or HDF5, optionally as FILE:NAME; or a picture such as PNG or TIFF (of a colour picture the first
        channel counts).
    polarity
        ``"valid"`` or ``"invalid"``: what nonzero pixels are; ``"auto"`` takes what most pixels are as valid.
    shapes
        Those that it may have: of the frames, and of the detector.

    Returns
    -------
    ndarray, bool, shape (H, W)
        True = valid.
    str
        What was read, in words.

    Raises
    ------
    DataFormatError
        If there is no such file or array, or it has another shape, or leaves no pixel or no doubt which are valid.
    """
    values = np.squeeze(load_values(mask, "mask"))
    if values.ndim == 3 and values.shape[-1] in (2, 3, 4):
        values = values[..., 0]
    if values.shape not in shapes or values.dtype.kind not in "biuf":
        expected = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        msg = f"mask {mask} has shape {values.shape} and dtype {values.dtype}; expected numbers {expected}. Crop it."
        raise DataFormatError(msg)
    if not np.isfinite(values).all():
        msg = f"mask {mask} holds {int((~np.isfinite(values)).sum())} values that are no numbers; expected 0 or not 0. "
        msg += "Export it again."
        raise DataFormatError(msg)
    nonzero = np.asarray(values != 0)
    share = float(nonzero.mean())
    if polarity == "auto" and 1 - _CLEAR_MAJORITY < share < _CLEAR_MAJORITY:
        msg = (
            f"{share:.0%} of the pixels of mask {mask} are not zero; expected a clear majority of valid ones. Say "
            "--mask_polarity valid (nonzero pixels are valid) or invalid."
        )
        raise DataFormatError(msg)
    is_valid = polarity == "valid" or (polarity == "auto" and share >= _CLEAR_MAJORITY)
    valid = nonzero if is_valid else ~nonzero
    if not valid.any():
        msg = f"mask {mask} with mask_polarity {polarity!r} leaves no pixel valid; expected some. Change mask_polarity."
        raise DataFormatError(msg)
    meaning = "valid" if is_valid else "invalid"
    return valid, f"mask: {name_of(mask)}, nonzero pixels {meaning}; {int((~valid).sum())} pixels left out"
