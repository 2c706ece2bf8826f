"""Prepared scans of ptypy: in one file, and with parts beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import (
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    DX_M,
    ENERGY_EV,
    POSITIONS_PX,
    RAW,
    N,
    require_scan,
    valid,
    write_hdf5,
)

PARTS = {2: slice(0, 5), 9: slice(5, 9), 10: slice(9, 14)}
"""Numbers of chunks, which are not in the order of their names as text."""


def chunk(rows: slice, **changes: Any) -> dict[str, Any]:
    count = len(RAW[rows])
    content: dict[str, Any] = {
        "data": RAW[rows],
        "positions": POSITIONS_PX[rows] * DX_M,
        "weights": np.broadcast_to(valid(), (count, N, N)).astype(np.uint8),
        "indices": np.arange(14)[rows],
    }
    return content | changes


def meta(**changes: Any) -> dict[str, Any]:
    content = {
        "energy": ENERGY_EV / 1e3,
        "distance": DISTANCE_M,
        "psize": np.full(2, DETECTOR_PIXEL_M),
        "center": np.full(2, N / 2),
    } | changes
    return {f"meta/{name}": value for name, value in content.items()} | {"info/energy": 7.2, "info/distance": 7.19}


def ptyd(path: Path, of_meta: dict[str, Any] | None = None, attributes: Any = None, **changes: Any) -> Path:
    chunks = {
        f"chunks/{number}/{name}": value
        for number, rows in PARTS.items()
        for name, value in chunk(rows, **changes).items()
    }
    return write_hdf5(path, chunks | meta(**(of_meta or {})), attributes)


@pytest.mark.parametrize(
    "of_meta",
    [{}, {"psize": DETECTOR_PIXEL_M}, {"weight2d": valid().astype(float)}, {"center": None}],
    ids=["plain", "one psize", "weight2d", "no centre"],
)
def test_chunks_are_joined_in_the_order_of_their_numbers(tmp_path: Path, of_meta: dict[str, Any]) -> None:
    require_scan(ptyd(tmp_path / "s.ptyd", of_meta), "ptyd")


def test_weights_may_be_absent_or_empty_and_a_none_is_no_number(tmp_path: Path) -> None:
    path = ptyd(tmp_path / "s.ptyd", {"center": np.zeros(1)}, {"meta/center@type": "None"}, weights=np.zeros((0,)))
    require_scan(path, "ptyd")


def test_frames_are_in_the_order_in_which_they_were_measured(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(14)
    content = {"data": RAW[order], "positions": POSITIONS_PX[order] * DX_M, "indices": order}
    path = write_hdf5(tmp_path / "s.ptyd", {f"chunks/0/{key}": one for key, one in content.items()} | meta())
    require_scan(path, "ptyd")


@pytest.mark.parametrize("stored", ["{name}", "{folder}/{name}", "/data/visit/prepared/{name}", "prepared/{name}"])
def test_parts_of_link_mode_are_found_beside_the_master(tmp_path: Path, stored: str) -> None:
    links: dict[str, Any] = {}
    for number, rows in PARTS.items():
        name = f"s.part{number:03d}"
        write_hdf5(tmp_path / name, chunk(rows))
        links[f"chunks/{number}"] = h5py.ExternalLink(stored.format(name=name, folder=tmp_path), "/")
    require_scan(write_hdf5(tmp_path / "s.ptyd", links | meta()), "ptyd")


def test_parts_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    write_hdf5(tmp_path / "p.part002", chunk(slice(0, 14)))
    for stored in ("../p.part002", str(tmp_path / "p.part002")):
        path = tmp_path / "inner" / "s.ptyd"
        write_hdf5(path, {"chunks/2": h5py.ExternalLink(stored, "/")} | meta())
        with pytest.raises(DataFormatError, match=r"'p.part002' is not in the folder.*Copy that file beside this one"):
            open_scan(path)


@pytest.mark.parametrize(
    ("of_meta", "changes", "words"),
    [
        ({"energy": None}, {}, "lacks energy_eV"),
        ({"distance": None}, {}, "lacks detector_distance_m"),
        ({}, {"positions": None}, "frames without positions"),
        ({}, {"positions": POSITIONS_PX[:3]}, "3 positions for 5 patterns"),
        ({"energy": ENERGY_EV}, {}, "9.2e\\+06 eV; expected 10 to 300000"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, of_meta: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataFormatError, match=words):
        open_scan(ptyd(tmp_path / "s.ptyd", of_meta, **changes))
