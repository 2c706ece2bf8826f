"""Scans stored in another order than they were measured in: numbers, patterns and files stay right."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.convert.run import convert
from ptycho_dist.data.formats.recent_chunks import RecentChunks
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan, ScanOptions, open_looked_at, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.simulate.run import simulate
from tests.support.threads import on_ranks

COUNT = 150


def simulated(path: Path, order: str, world: int = 1) -> Scan:
    config = SimulateConfig(output_file=path, n_patterns=COUNT, N=32, defocus_m=2e-5, order=order)
    on_ranks(world, lambda ranks: simulate(config, ranks))
    return open_scan(path)


def same(found: Scan, expected: Scan, rows: np.ndarray) -> None:
    np.testing.assert_array_equal(found.read_numbers(rows), expected.read_numbers(rows))
    np.testing.assert_array_equal(found.positions_px, expected.positions_px)
    assert found.header.mean_counts == expected.header.mean_counts


@pytest.mark.parametrize("world", [1, 3])
def test_order_of_storage_changes_neither_patterns_nor_numbers(tmp_path: Path, world: int) -> None:
    measured = simulated(tmp_path / "measured.h5", "as_measured")
    spatial = simulated(tmp_path / "spatial.h5", "spatial", world)
    rows = np.random.default_rng(0).integers(0, COUNT, 400)
    same(spatial, measured, rows)
    same(pickle.loads(pickle.dumps(spatial)), measured, rows)  # made here
    assert not list(tmp_path.glob(".*"))


def test_stored_patterns_are_neighbours_and_know_their_numbers(tmp_path: Path) -> None:
    scan = simulated(tmp_path / "s.h5", "spatial")
    with h5py.File(tmp_path / "s.h5") as file:
        index, positions, patterns = (file[name][()] for name in ("measured_index", "positions_px", "patterns"))
        assert file["patterns"].chunks[0] > 1
    np.testing.assert_array_equal(index, canonical_order(scan.positions_px))
    np.testing.assert_array_equal(positions, scan.positions_px[index])
    np.testing.assert_array_equal(patterns, scan.read_numbers(index))
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert np.median(steps) < np.median(np.linalg.norm(np.diff(scan.positions_px, axis=0), axis=1)) / 2


@pytest.mark.parametrize("order", ["spatial", "as_measured"])
@pytest.mark.parametrize("world", [1, 2])
def test_converted_scan_keeps_numbers_in_either_order(tmp_path: Path, order: str, world: int) -> None:
    source = simulated(tmp_path / "s.h5", "spatial")
    on_ranks(world, lambda ranks: convert(source, tmp_path / "c.h5", ranks, order))
    same(open_scan(tmp_path / "c.h5"), source, np.arange(COUNT)[::-1])
    with h5py.File(tmp_path / "c.h5") as file:
        assert ("measured_index" in file) == (order == "spatial")


def test_dropped_frames_and_survey_go_by_numbers_of_the_measurement(tmp_path: Path) -> None:
    measured = simulated(tmp_path / "measured.h5", "as_measured")
    simulated(tmp_path / "spatial.h5", "spatial")
    found = open_looked_at(tmp_path / "spatial.h5", ScanOptions(drop_frames="3,40-60"))
    expected = open_looked_at(measured.header.path, ScanOptions(drop_frames="3,40-60"))
    same(found, expected, np.arange(len(expected)))
    np.testing.assert_array_equal(found.file_numbers, expected.file_numbers)
    assert found.survey is not None
    assert expected.survey is not None
    np.testing.assert_array_equal(found.survey.totals, expected.survey.totals)
    np.testing.assert_array_equal(found.survey.sums, expected.survey.sums)


def test_index_that_names_a_pattern_twice_is_refused(tmp_path: Path) -> None:
    simulated(tmp_path / "s.h5", "spatial").close()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file["measured_index"][3] = file["measured_index"][4]
    with pytest.raises(DataFormatError, match="expected each number from 0 to 149 once"):
        open_scan(tmp_path / "s.h5")


def test_file_with_a_chunk_for_each_pattern_still_opens(tmp_path: Path) -> None:
    scan = simulated(tmp_path / "s.h5", "as_measured")
    counts = scan.read_numbers(np.arange(COUNT))
    scan.close()
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["patterns"]
        file.create_dataset("patterns", data=counts, chunks=(1, 32, 32), compression="gzip", shuffle=True)
    np.testing.assert_array_equal(open_scan(tmp_path / "s.h5").read_numbers(np.arange(COUNT)[::-7]), counts[::-7])


def test_convert_command_takes_the_order(tmp_path: Path) -> None:
    simulated(tmp_path / "s.h5", "spatial")
    names = [str(tmp_path / name) for name in ("s.h5", "c.h5")]
    assert main(["convert", *names, "--order", "as_measured", "--quiet"]) == 0
    with h5py.File(tmp_path / "c.h5") as file:
        assert "measured_index" not in file


def test_kept_chunks_give_the_rows_and_load_no_more_than_fits() -> None:
    values = np.arange(50 * 2 * 2, dtype=np.uint16).reshape(50, 2, 2)
    loaded: list[int] = []

    def load(first: int, last: int, into: np.ndarray) -> None:
        loaded.append(first)
        into[:] = values[first:last]

    recent = RecentChunks((50, 2, 2), 4, values.dtype, load, most_bytes=3 * 4 * 4 * 2)
    rng = np.random.default_rng(1)
    for _ in range(40):
        first = rng.choice(13, 3, replace=False) * 4
        rows = np.minimum(rng.choice(first, 9) + rng.integers(0, 4, 9), 49)
        np.testing.assert_array_equal(recent.read(rows), values[rows])
    assert recent.read(np.array([0, 4, 8, 12])) is None
    before = len(loaded)
    recent.read(np.array([1, 5]))
    recent.read(np.array([5, 2, 0]))
    assert len(loaded) <= before + 2
