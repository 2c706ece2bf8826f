"""Masks of detector pixels in files of their own: NumPy, HDF5, or any picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import hdf5, npz
from ptycho_dist.data.formats.base import BoolArray
from ptycho_dist.errors import DataFormatError

_HDF5_SUFFIXES = (".h5", ".hdf5", ".nxs", ".cxi")
_CLEAR_MAJORITY = 0.6


def file_of(mask: Path) -> Path:
    """Return the file of a mask, which may be given as FILE.h5:DATASET."""
    return _split(mask)[0]


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
    values = np.squeeze(_load(mask))
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
    return valid, f"mask: {mask.name}, nonzero pixels {meaning}; {int((~valid).sum())} pixels left out"


def _split(mask: Path) -> tuple[Path, str | None]:
    text = str(mask)
    if not mask.exists() and ":" in text:
        file, _, name = text.rpartition(":")
        return Path(file), name.lstrip("/")
    return mask, None


def _load(mask: Path) -> NDArray[Any]:
    path, name = _split(mask)
    if not path.is_file():
        msg = f"mask {path} is {'a folder' if path.is_dir() else 'missing'}; expected a file. Check --mask."
        raise DataFormatError(msg)
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if suffix == ".npz":
            return npz.load_member(path, _choose(mask, npz.member_names(path), name))
        if suffix in _HDF5_SUFFIXES:
            return _from_hdf5(mask, path, name)
        return _from_picture(path)
    except (ValueError, OSError, SyntaxError) as error:
        msg = f"mask {path} cannot be read ({error}); expected NPY, NPZ, HDF5, PNG or TIFF. Export it again."
        raise DataFormatError(msg) from error


def _from_hdf5(mask: Path, path: Path, name: str | None) -> NDArray[Any]:
    with hdf5.reading(path) as file:
        return np.asarray(hdf5.require_dataset(file, path, _choose(mask, tuple(file), name))[()])


def _from_picture(path: Path) -> NDArray[Any]:
    from skimage.io import imread

    return np.asarray(imread(path))


def _choose(mask: Path, names: tuple[str, ...], name: str | None) -> str:
    """Return the array to read: the one named, the only one, or the one called mask."""
    wanted = name or ("mask" if "mask" in names else names[0] if len(names) == 1 else None)
    is_there = wanted in names or (wanted is not None and "/" in wanted)
    if wanted is None or not is_there:
        expected = "one array" if name is None else f"an array {name!r}"
        msg = f"mask {mask} holds {', '.join(names) or 'nothing'}; expected {expected}. Name it: --mask FILE:NAME."
        raise DataFormatError(msg)
    return wanted
