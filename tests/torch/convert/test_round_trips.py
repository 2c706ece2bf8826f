"""A format holds the same after a way through others, and a refinement starts from results of other programs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import ptycho_dist as ptd
from ptycho_dist.data.formats.results.reading import read_result
from ptycho_dist.data.formats.writers.registry import scan_writer
from tests.support.scans import make_scan, write_own

UNITS = {"pixel_size_m": 2.5e-8, "energy_eV": 8800.0, "detector_distance_m": 1.92}


@pytest.mark.parametrize("order", [("cxi", "ptyd"), ("ptyd", "cxi"), ("cxi",), ("ptyd",), ("ptychodus", "cxi", "ptyd")])
def test_counts_positions_and_lengths_stay(tmp_path: Path, order: tuple[str, ...]) -> None:
    made = make_scan()
    mask = np.ones((16, 16), np.bool_)
    mask[3, 5] = False
    made.counts[:, ~mask] = 0
    path = write_own(tmp_path / "s.h5", made, mask=mask, **UNITS)
    for number, name in enumerate(order):
        path = ptd.convert_scan(path, tmp_path / f"{number}{scan_writer(name).suffixes[0]}", to=name).paths[0]
    with ptd.open_scan(path) as scan:
        np.testing.assert_array_equal(scan.counts(), made.counts)
        np.testing.assert_array_equal(scan.mask, mask)
        moved = scan.positions_px - scan.positions_px.mean(axis=0)
        np.testing.assert_allclose(moved, made.positions_px - made.positions_px.mean(axis=0), atol=1e-6)
        for name, value in UNITS.items():
            assert getattr(scan.header, name) == pytest.approx(value, rel=1e-6)
        if "ptyd" not in order:
            np.testing.assert_array_equal(scan.probe, made.probe)


def test_frames_of_several_chunks_and_widths_are_written_in_pieces(tmp_path: Path) -> None:
    made = make_scan(n_patterns=150)
    made.counts[140, 3, 3] = 70_000
    path = write_own(tmp_path / "s.h5", made, **UNITS)
    for name, file in (("cxi", "c.cxi"), ("ptyd", "c.ptyd"), ("ptychodus", "c.h5"), ("tike_npz", "c.npz")):
        ptd.convert_scan(path, tmp_path / file, to=name)
        with ptd.open_scan(tmp_path / file) as scan:
            np.testing.assert_array_equal(scan.counts(), made.counts)


def test_a_refinement_starts_from_a_result_of_ptypy(tmp_path: Path, tiny_path: Path) -> None:
    first = ptd.refine_object(
        tiny_path, output_dir=tmp_path / "a", iterations=2, pixel_size_m=2e-8, energy_eV=8e3, devices=1
    )
    ptd.convert_scan(first, tmp_path / "r.ptyr", to="ptyr")
    np.testing.assert_array_equal(read_result(tmp_path / "r.ptyr").object_, first.object_)
    more = ptd.refine_object(
        tiny_path,
        output_dir=tmp_path / "b",
        start=tmp_path / "r.ptyr",
        iterations=2,
        pixel_size_m=2e-8,
        energy_eV=8e3,
        devices=1,
    )
    assert more.losses[-1] < first.losses[-1]


def test_the_unit_of_a_foreign_probe_does_not_count(tmp_path: Path, tiny_path: Path) -> None:
    given = {"pixel_size_m": 2e-8, "energy_eV": 8e3, "devices": 1, "iterations": 1}
    first = ptd.refine_object(tiny_path, output_dir=tmp_path / "a", **{**given, "iterations": 4})
    ptd.convert_scan(first, tmp_path / "r.ptyr", to="ptyr")
    with h5py.File(tmp_path / "r.ptyr", "r+") as file:
        probe = next(iter(file["content/probe"].values()))["data"]
        probe[...] = 1e-3 * probe[()]
    more = ptd.refine_object(tiny_path, output_dir=tmp_path / "b", start=tmp_path / "r.ptyr", **given)
    assert more.losses[-1] < 1.01 * first.losses[-1]
