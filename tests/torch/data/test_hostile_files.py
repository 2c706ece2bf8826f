"""Damaged, hostile and mistaken files end in a DataFormatError that names the file."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.formats.contents import contents
from ptycho_dist.data.formats.hdf5_links import load_array
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike
from tests.support.watched import OpenedFiles

MADE = make_scan()
NAN_PROBE = np.full_like(MADE.probe[0], np.nan)


def _with(array: np.ndarray[Any, Any], place: tuple[int, ...], value: float) -> np.ndarray[Any, Any]:
    changed = array.copy()
    changed[place] = value
    return changed


def _refused(path: Path, match: str, options: ScanOptions | None = None) -> None:
    with pytest.raises(DataFormatError, match=match) as caught, open_scan(path, options) as scan:
        scan.read_patterns(np.arange(scan.header.n_patterns))
    assert path.name in str(caught.value)


TIKE_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "missing probe": ({"probe": None}, "'probe'.*needs it.*found: data, scan"),
    "not square": ({"data": MADE.counts[:, :, :12]}, r"\(12, 16, 12\); expected square"),
    "no patterns": ({"data": MADE.counts[:0]}, "no patterns"),
    "NaN": ({"data": _with(MADE.counts, (7, 2, 3), np.nan)}, "pattern 7 .* nan"),
    "inf": ({"data": _with(MADE.counts, (7, 2, 3), np.inf)}, "pattern 7 .* inf"),
    "negative": ({"data": _with(MADE.counts, (7, 2, 3), -1)}, "pattern 7 .* -1"),
    "overflow": ({"data": _with(MADE.counts.astype(np.uint32), (7, 2, 3), 2**32 - 1)}, "pattern 7 .* 4294967295"),
    "zeros": ({"data": np.zeros_like(MADE.counts)}, "zero everywhere"),
    "complex": ({"data": MADE.counts.astype(np.complex64)}, "complex64"),
    "lengths": ({"scan": MADE.positions_px[:-1]}, "11 positions for 12 patterns"),
    "position shape": ({"scan": MADE.positions_px[:, :1]}, "positions"),
    "position NaN": ({"scan": _with(MADE.positions_px, (4, 1), np.nan)}, "position 4"),
    "metres": ({"scan": MADE.positions_px * 1e-8}, "look like metres"),
    "nanometres": ({"scan": MADE.positions_px * 1e3}, "more than 12 patches"),
    "probe shape": ({"probe": MADE.probe[:, :, :12]}, "'probe'.*square"),
    "probe NaN": ({"probe": NAN_PROBE}, "'probe'.*nan"),
    "probe zero": ({"probe": MADE.probe * 0}, "'probe'.*zero"),
    "probe too large": ({"probe": np.pad(MADE.probe, ((0, 0), (4, 4), (4, 4)))}, "24 pixels a side"),
    "pickled": ({"scan": np.array([object()], dtype=object)}, "pickled"),
    "psi layers": ({"psi": np.ones((2, 40, 40), np.complex64)}, "'psi'"),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("case", TIKE_CASES)
def test_tike_reader_refuses(tmp_path: Path, case: str) -> None:
    changes, match = TIKE_CASES[case]
    _refused(write_tike(tmp_path / "s.npz", MADE, **changes), match)


PINN_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "missing coordinates": ({"ycoords": None}, "'ycoords'"),
    "missing patterns": ({"diffraction": None}, "a reconstruction .* a result without patterns"),
    "missing probe": ({"probeGuess": None}, "'probeGuess'"),
    "unequal coordinates": ({"ycoords": np.arange(5.0)}, "12 xcoords and 5 ycoords"),
    "lengths": ({"ycoords": np.arange(5.0), "xcoords": np.arange(5.0)}, "5 positions for 12"),
    "pattern axes": ({"diffraction": MADE.counts[:, :, :12]}, "expected square"),
    "metadata": ({"_metadata": "{broken"}, "not JSON"),
    "nphotons": ({"_metadata": '{"physics_parameters": {"nphotons": -4}}'}, "nphotons.*-4"),
}


@pytest.mark.parametrize("case", PINN_CASES)
def test_ptychopinn_reader_refuses(tmp_path: Path, case: str) -> None:
    changes, match = PINN_CASES[case]
    _refused(write_ptychopinn(tmp_path / "s.npz", MADE, **changes), match)


def _outside(file: h5py.File) -> None:
    del file["positions_px"]
    file["positions_px"] = h5py.ExternalLink("../elsewhere.h5", "/positions_px")


def _outside_storage(file: h5py.File) -> None:
    del file["patterns"]
    external = [("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("patterns", (12, 16, 16), np.uint8, external=external)


def _huge(file: h5py.File) -> None:
    del file["patterns"]
    file.create_dataset("patterns", (12, 30_000, 30_000), np.float64, chunks=(1, 64, 64))


def _huge_probe(file: h5py.File) -> None:
    del file["probe"]
    probe = file.create_dataset("probe", (50_000, 16, 16, 16), np.complex64, chunks=(1, 1, 16, 16))
    probe[0] = 1


def _replace(name: str, data: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


H5_CASES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "missing positions": (lambda file: file.__delitem__("positions_px"), "'positions_px'"),
    "link outside": (_outside, "outside the folder"),
    "storage outside": (_outside_storage, "outside the folder"),
    "declared but empty": (_huge, "holds no data"),
    "huge probe": (_huge_probe, "declares shape"),
    "newer": (lambda file: file.attrs.modify("schema_version", 2), "schema_version 2"),
    "lengths": (_replace("positions_px", MADE.positions_px[:5]), r"\(5, 2\)"),
    "group for dataset": (_replace("positions_px", h5py.SoftLink("/nowhere")), "broken link"),
    "NaN": (_replace("patterns", _with(MADE.counts, (7, 2, 3), np.nan)), "pattern 7"),
    "pixel size": (lambda file: file.attrs.modify("pixel_size_m", -1.0), "pixel_size_m"),
}


@pytest.mark.parametrize("case", H5_CASES)
def test_own_reader_refuses(tmp_path: Path, case: str) -> None:
    change, match = H5_CASES[case]
    path = write_own(tmp_path / "s.h5", MADE)
    with h5py.File(path, "r+") as file:
        change(file)
    _refused(path, match)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("name", ["s.npz", "s.h5"])
def test_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = write_own(tmp_path / name, MADE) if name.endswith("h5") else write_tike(tmp_path / name, MADE)
    os.truncate(path, int(path.stat().st_size * share))
    _refused(path, "truncated|damaged")


def test_damaged_member_is_refused(tmp_path: Path) -> None:
    path = write_tike(tmp_path / "s.npz", MADE)
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    _refused(path, "damaged")


def test_huge_declared_shape_is_refused_before_allocation(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2_000_000, 64, 64)})
    path = tmp_path / "s.npz"
    np.savez(path, scan=MADE.positions_px, probe=MADE.probe)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data.npy", header.getvalue() + bytes(4096))
    _refused(path, "declares shape")


def test_pickle_in_a_member_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (marker.touch, ())

    path = tmp_path / "s.npz"
    np.savez(path, data=MADE.counts, scan=MADE.positions_px)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("probe.npy", pickle.dumps(Bomb()))
    _refused(path, "no readable npy header")
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a scan at all", b"PK\x03\x04 broken"])
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.npz"
    path.write_bytes(content)
    _refused(path, "empty|neither|truncated")


def test_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, "is a folder")
    _refused(tmp_path / "absent.h5", "is missing")


def test_unknown_layout_lists_known_formats_and_found_keys(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, apples=np.ones(3))
    _refused(path, "holds apples. Known formats: .*ptycho_dist_h5.*ptychopinn_npz.*tike_npz")


def test_named_format_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write_tike(tmp_path / "s.npz", MADE)
    _refused(path, "'xcoords'", ScanOptions(file_format="ptychopinn_npz"))
    _refused(path, "is npz; ptycho_dist_h5 is hdf5", ScanOptions(file_format="ptycho_dist_h5"))
    with pytest.raises(DataFormatError, match="expected auto or one of"):
        open_scan(path, ScanOptions(file_format="cxy"))


def _outside_file(folder: Path) -> Path:
    folder.mkdir()
    with h5py.File(folder / "o.h5", "w") as file:
        file["S0/data"] = np.ones(3)
    return folder / "o.h5"


@pytest.mark.parametrize("group", ["content", "content/obj", "content/positions"])
def test_a_result_of_ptypy_is_not_followed_out_of_its_folder(tmp_path: Path, group: str) -> None:
    outside = _outside_file(tmp_path / "outside")
    (tmp_path / "scan").mkdir()
    with h5py.File(tmp_path / "scan" / "r.ptyr", "w") as file:
        for name in ("content/obj", "content/probe", "content/positions"):
            file.create_group(f"{name}/S0")
        del file[group]
        file[group] = h5py.ExternalLink(str(outside), "/")
    opened = OpenedFiles(outside.parent)
    with pytest.raises(DataFormatError):
        read_result(tmp_path / "scan" / "r.ptyr")
    assert not opened.names()
    opened.close()


def test_inspect_shows_no_values_that_lie_outside(tmp_path: Path) -> None:
    outside = _outside_file(tmp_path / "outside")
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("energy", (2,), np.float64, external=[(str(outside), 0, h5py.h5f.UNLIMITED)])
    opened = OpenedFiles(outside.parent)
    assert [entry.value for entry in contents(path)[1]] == [""]
    assert not opened.names()
    opened.close()


def test_a_small_array_of_virtual_values_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        layout = h5py.VirtualLayout((120_000_000, 2), np.float32)
        layout[...] = h5py.VirtualSource("absent.h5", "values", layout.shape)
        file.create_virtual_dataset("positions", layout)
    with pytest.raises(DataFormatError, match=r"declares shape \(120000000, 2\)"):
        load_array(tmp_path / "s.h5", "positions")
