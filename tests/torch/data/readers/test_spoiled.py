"""Every dataset and attribute of files of other programs, spoiled in every way: read as it is, or a DataFormatError."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.convert.run import convert_result
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import MADE, POSITIONS_PX, write_hdf5
from tests.torch.convert.test_results import write_product
from tests.torch.data.readers.test_cxi import cxi
from tests.torch.data.readers.test_dectris import master, table
from tests.torch.data.readers.test_ptychodus import diffraction, product
from tests.torch.data.readers.test_ptyd import ptyd
from tests.torch.data.readers.test_stem import CUBE, emd, hyperspy

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.slow]
SPOILED: dict[str, Any] = {
    "null": h5py.Empty("f8"),
    "text": "nonsense",
    "texts": np.array([b"a", b"bc"]),
    "empty": np.zeros((0,)),
    "nan": np.full((3, 2), np.nan),
    "large": np.full((2, 2), 1e300),
    "negative": np.int64(-5),
    "pairs": np.zeros(4, [("r", "f4"), ("i", "f4")]),
    "five axes": np.ones((1, 2, 1, 2, 2)),
    "complex": np.ones((2, 2), np.complex64),
    "zero": np.float64(0),
}


def _ptychodus(folder: Path) -> Path:
    product(folder / "product.h5")
    return diffraction(folder / "diffraction.h5")


def _dectris(folder: Path) -> Path:
    table(folder / "p.csv", "y_m,x_m", list(POSITIONS_PX.T * 3e-8))
    return master(folder)


def _ptyr(folder: Path) -> Path:
    parts = {"obj": MADE.object_[None], "probe": MADE.probe}
    content: dict[str, Any] = {"content/positions/S0": POSITIONS_PX * 1e-8}
    for name, data in parts.items():
        content |= {f"content/{name}/S0/{key}": [1e-8, 1e-8] for key in ("_psize",)}
        content |= {f"content/{name}/S0/data": data, f"content/{name}/S0/_center": [8, 8]}
        content |= {f"content/{name}/S0/_energy": 8.0}
    return write_hdf5(folder / "r.ptyr", content)


def _result(folder: Path, name: str) -> Path:
    """Write a result of ours as one of another program."""
    write_product(folder / "p.h5")
    target = folder / f"r.{'cxi' if name == 'cxi' else 'h5'}"
    convert_result(name, folder / "p.h5", target)
    (folder / "p.h5").unlink()
    return target


FILES: dict[str, Callable[[Path], Path]] = {
    "cxi": lambda folder: cxi(folder / "s.cxi"),
    "ptychodus": _ptychodus,
    "ptyd": lambda folder: ptyd(folder / "s.ptyd"),
    "dectris": _dectris,
    "py4dstem": lambda folder: emd(folder / "s.h5", vectors=False),
    "hyperspy": lambda folder: hyperspy(folder / "s.hspy", CUBE, (True, True, False, False)),
    "ptyr": _ptyr,
    "product": lambda folder: _result(folder, "ptychodus"),
    "cxi result": lambda folder: _result(folder, "cxi"),
}


def _places(path: Path) -> Iterator[tuple[str, str | None]]:
    """List datasets, and attributes of any node."""
    found: list[tuple[str, str | None]] = []
    with h5py.File(path) as file:
        found += [("/", name) for name in file.attrs]

        def visit(key: str, node: Any) -> None:
            found.extend((key, name) for name in node.attrs)
            if isinstance(node, h5py.Dataset):
                found.append((key, None))

        file.visititems(visit)
    yield from found


def _spoil(path: Path, place: tuple[str, str | None], value: Any) -> None:
    key, name = place
    with h5py.File(path, "r+") as file:
        if name is not None:
            file[key].attrs[name] = value
            return
        del file[key]
        if value is not None:
            file[key] = value


def _read(path: Path) -> None:
    """Read a scan or a result; what cannot be read is to be a DataFormatError."""
    if path.stem == "r":
        read_result(path)
        return
    options = ScanOptions()
    if path.name == "m_master.h5":
        options = ScanOptions(file_format="dectris", positions_file=str(path.with_name("p.csv")))
    with open_scan(path, options) as scan:
        scan.counts([0])


@pytest.mark.parametrize("kind", FILES)
def test_spoiled_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "whole").mkdir()
    FILES[kind](tmp_path / "whole")
    refused, tried = 0, 0
    for file in sorted((tmp_path / "whole").glob("*.*")):
        if not h5py.is_hdf5(file):
            continue
        for place in list(_places(file)):
            for value in (*SPOILED.values(), None):
                if place[1] is not None and value is None:
                    continue
                work = tmp_path / f"work{tried}"
                shutil.copytree(tmp_path / "whole", work)
                _spoil(work / file.name, place, value)
                path = next(work.glob("m_master.h5"), None) or next(work.glob("diffraction.h5"), work / file.name)
                tried += 1
                try:
                    _read(path)
                except DataFormatError:
                    refused += 1
                shutil.rmtree(work)
    assert tried > 50
    assert refused > tried / 8
