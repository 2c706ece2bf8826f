"""Probes in files of their own: NumPy arrays, products, and scans that hold one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks, npz
from ptycho_dist.data.formats.base import ComplexArray, ScanOptions
from ptycho_dist.data.formats.containers import container_of
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.formats.registry import open_raw
from ptycho_dist.errors import DataFormatError

_NPZ_KEYS = ("probe", "probeGuess")


def read_probe(path: Path, N: int) -> ComplexArray:
    """Read a probe.

    Parameters
    ----------
    path
        NPY of (N, N) or (P, N, N); NPZ with ``probe`` or ``probeGuess``; a product; or a scan that holds a probe.
    N
        Side that it gets: a smaller one is padded with zeros.

    Returns
    -------
    ndarray, complex64, shape (P, N, N)

    Raises
    ------
    DataFormatError
        If there is no such file, or no probe in it that fits.
    """
    if not path.is_file():
        msg = f"data.probe = {path} is {'a folder' if path.is_dir() else 'missing'}; expected a file. Check --probe."
        raise DataFormatError(msg)
    return checks.embed_probe(path, checks.checked_probe(path, "probe", np.asarray(_load(path))), N)[0]


def _load(path: Path) -> ComplexArray:
    if path.suffix != ".npy" and container_of(path) is None:
        what = "empty" if path.stat().st_size == 0 else "neither NPY, NPZ nor HDF5"
        msg = f"data.probe = {path} is {what}; expected modes (N, N) or (P, N, N), a product or a scan. Check --probe."
        raise DataFormatError(msg)
    if path.suffix == ".npy":
        try:
            return np.asarray(np.load(path, allow_pickle=False))
        except (ValueError, EOFError) as error:
            msg = f"{path} cannot be read ({error}); expected an array of numbers. Export the probe again."
            raise DataFormatError(msg) from error
    if path.suffix == ".npz":
        key = next((key for key in _NPZ_KEYS if key in npz.member_names(path)), None)
        if key is not None:
            return npz.load_member(path, key)
    try:
        return read_product(path).probe
    except DataFormatError as no_product:
        return _of_scan(path, no_product)


def _of_scan(path: Path, no_product: DataFormatError) -> ComplexArray:
    try:
        raw = open_raw(path, ScanOptions())
    except DataFormatError as error:
        msg = f"data.probe = {path} is no file with a probe: {no_product} {error}"
        raise DataFormatError(msg) from error
    raw.patterns.close()
    if raw.probe is None:
        msg = f"data.probe = {path} is a scan without a probe; expected one that holds a probe. Give another file."
        raise DataFormatError(msg)
    return raw.probe
