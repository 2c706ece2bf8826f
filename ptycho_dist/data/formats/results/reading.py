"""Reconstructions of this and other programs, told by their content."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py

from ptycho_dist.data.formats import hdf5, npz
from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.formats.results import cxi_reader, ptychodus_npz, ptyr_reader


@dataclass(frozen=True)
class ResultKind:
    """A kind of reconstruction file.

    Parameters
    ----------
    words
        What it is, for messages.
    read
        Reads it.
    """

    words: str
    read: Callable[[Path], Product]


_PTYR = ResultKind("a result of ptypy (.ptyr)", ptyr_reader.read)
_CXI = ResultKind("a reconstruction in CXI, without patterns", cxi_reader.read)
_NPZ = ResultKind("a Ptychodus product (NPZ)", ptychodus_npz.read)
_PRODUCT = ResultKind("a Ptychodus product", read_product)


def kind_of_result(path: Path) -> ResultKind | None:
    """Tell what kind of reconstruction a file is; None where it is none.

    Raises
    ------
    DataFormatError
        If it is damaged.
    """
    if zipfile.is_zipfile(path):
        return _NPZ if ptychodus_npz.detect(npz.member_names(path)) else None
    if not h5py.is_hdf5(path):
        return None
    if ptyr_reader.detect(path):
        return _PTYR
    if cxi_reader.detect(path):
        return _CXI
    with hdf5.reading(path) as file:
        return _PRODUCT if {"object", "probe", "probe_position_x_m"} <= set(file) and "patterns" not in file else None


def read_result(path: Path | str) -> Product:
    """Read a reconstruction of any known kind.

    Raises
    ------
    DataFormatError
        If it is none, or damaged.
    """
    kind = kind_of_result(Path(path)) if Path(path).is_file() else None
    return read_product(path) if kind is None else kind.read(Path(path))
