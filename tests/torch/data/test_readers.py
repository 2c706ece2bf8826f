"""Readers: every format delivers the same scan, and only the rows asked for."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.data.content import checksum
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan, read_header
from ptycho_dist.errors import DataFormatError
from tests.support.scans import MadeScan, make_scan, write_own, write_ptychopinn, write_tike

WRITERS: dict[str, tuple[Callable[..., Path], str]] = {
    "tike_npz": (write_tike, "scan.npz"),
    "ptychopinn_npz": (write_ptychopinn, "scan.npz"),
    "ptycho_dist_h5": (write_own, "scan.h5"),
}


def _write(tmp_path: Path, name: str, scan: MadeScan, **changes: Any) -> Path:
    writer, file_name = WRITERS[name]
    return writer(tmp_path / file_name, scan, **changes)


@pytest.mark.parametrize("name", WRITERS)
def test_reader_delivers_the_made_scan(tmp_path: Path, name: str) -> None:
    made = make_scan()
    with open_scan(_write(tmp_path, name, made)) as scan:
        rows = np.array([7, 0, 7, 3])
        np.testing.assert_allclose(scan.read_patterns(rows), made.counts[rows], rtol=1e-5)
        assert scan.read_patterns(rows).dtype == np.float32
        np.testing.assert_allclose(scan.positions_px, made.positions_px, atol=1e-5)
        np.testing.assert_array_equal(scan.probe, made.probe)
        assert scan.header.format_name == name
        assert (scan.header.n_patterns, scan.header.N, scan.header.n_modes) == (12, 16, 1)
        assert scan.header.mean_counts == pytest.approx(made.counts.sum((1, 2)).mean(), rel=1e-5)
        assert not scan.header.units_known


def _sum_of_row(scan: Scan) -> float:
    return float(scan.read_patterns(np.array([5])).sum())


@pytest.mark.parametrize("method", ["fork", "pickle"])
@pytest.mark.parametrize("name", WRITERS)
def test_scan_reads_in_another_process_when_already_open_here(tmp_path: Path, name: str, method: str) -> None:
    made = make_scan()
    scan = open_scan(_write(tmp_path, name, made))
    expected = _sum_of_row(scan)
    if method == "fork":
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=lambda: queue.put(_sum_of_row(scan)))
        process.start()
        process.join(20)
        assert process.exitcode == 0
        assert queue.get() == expected
    else:
        assert _sum_of_row(pickle.loads(pickle.dumps(scan))) == expected


def test_object_is_indexed_by_positions_minus_origin(tmp_path: Path) -> None:
    made = make_scan()
    moved = write_own(
        tmp_path / "s.h5", made, positions_px=made.positions_px + np.array([100, -7]), object_origin_px=(100.0, -7.0)
    )
    for path in (
        moved,
        write_ptychopinn(tmp_path / "p.npz", made),
        write_tike(tmp_path / "t.npz", made, psi=made.object_),
    ):
        scan = open_scan(path)
        assert scan.object_ is not None
        assert scan.object_origin_px is not None
        np.testing.assert_array_equal(scan.object_, made.object_)
        np.testing.assert_allclose(scan.positions_px - scan.object_origin_px, made.positions_px, atol=1e-5)


def test_tike_two_modes_follow_the_forward_model(data_dir: Path) -> None:
    scan = open_scan(data_dir / "two_mode_simulated_tike.npz")
    assert scan.probe is not None
    assert scan.object_ is not None
    assert scan.object_origin_px is not None
    assert scan.probe.shape == (2, 32, 32)
    padded = np.pad(scan.object_, 16)
    corners = (scan.positions_px - scan.object_origin_px).astype(int) + 16
    for row in (0, 77, 168):
        y, x = corners[row]
        waves = np.fft.fftshift(np.fft.fft2(scan.probe * padded[y : y + 32, x : x + 32], norm="ortho"), axes=(1, 2))
        np.testing.assert_allclose((np.abs(waves) ** 2).sum(0), scan.read_patterns(np.array([row]))[0], atol=1e-6)


def test_siemens_star_header_is_as_described(data_dir: Path) -> None:
    scan = open_scan(data_dir / "siemens_star_tike.npz")
    assert (scan.header.n_patterns, scan.header.N, scan.header.n_modes) == (516, 128, 1)
    assert scan.header.mean_counts == pytest.approx(461_000, rel=0.01)
    brightest = np.unravel_index(scan.read_patterns(np.arange(0, 516, 40)).sum(0).argmax(), (128, 128))
    assert max(abs(int(i) - 64) for i in brightest) < 20, "zero frequency is not near the centre"


def test_checksum_of_a_large_file_covers_size_ends_and_samples(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    content = bytearray(np.random.default_rng(0).bytes(3 << 20))
    path.write_bytes(content)
    whole, sampled = checksum(path), checksum(path, whole_below=1)
    assert whole == hashlib.sha256(content).hexdigest()
    for changed in (0, len(content) // 2, len(content) - 1):
        content[changed] ^= 1
        path.write_bytes(content)
        assert checksum(path, whole_below=1) != sampled
        content[changed] ^= 1
    path.write_bytes(content + b"0")
    assert checksum(path, whole_below=1) != sampled


def test_checksum_changes_with_any_byte_and_only_then(tmp_path: Path) -> None:
    path = write_tike(tmp_path / "s.npz", make_scan())
    first = read_header(path).checksum
    assert read_header(path).checksum == first
    assert read_header(write_tike(path, make_scan(seed=1))).checksum != first


def test_ptychopinn_whole_numbers_are_counts(tmp_path: Path) -> None:
    made = make_scan()
    scan = open_scan(write_ptychopinn(tmp_path / "s.npz", made, diffraction=made.counts))
    np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), made.counts)
    assert any("counts" in sentence for sentence in scan.header.conversions)


@pytest.mark.parametrize(("said", "whole"), [("amplitude", True), ("counts", False)])
def test_ptychopinn_obeys_the_intensity_kind_that_is_said(tmp_path: Path, said: str, whole: bool) -> None:
    made = make_scan()
    patterns = made.counts if whole else np.sqrt(made.counts)
    path = write_ptychopinn(tmp_path / "s.npz", made, diffraction=patterns)
    scan = open_scan(path, ScanOptions(intensity_kind=said))
    expected = np.square(patterns) if said == "amplitude" else patterns
    np.testing.assert_allclose(scan.counts(), expected, rtol=1e-6)
    assert any(f"{said}, as intensity_kind says" in sentence for sentence in scan.header.conversions)


@pytest.mark.parametrize("name", ["tike_npz", "ptycho_dist_h5"])
def test_count_formats_obey_amplitude(tmp_path: Path, name: str) -> None:
    made = make_scan()
    scan = open_scan(_write(tmp_path, name, made), ScanOptions(intensity_kind="amplitude"))
    np.testing.assert_allclose(scan.counts(), np.square(made.counts), rtol=1e-6)
    assert scan.header.mean_counts == pytest.approx(np.square(made.counts).sum(axis=(1, 2)).mean(), rel=1e-6)


def test_ptychopinn_pattern_axis_last_is_recognised(tmp_path: Path) -> None:
    made = make_scan()
    patterns = np.ascontiguousarray(np.moveaxis(made.counts, 0, -1))
    scan = open_scan(write_ptychopinn(tmp_path / "s.npz", made, diffraction=None, diff3d=patterns))
    np.testing.assert_array_equal(scan.read_patterns(np.array([11, 2])), made.counts[[11, 2]])
    assert any("last to first" in sentence for sentence in scan.header.conversions)


def test_ptychopinn_metadata_gives_nphotons(tmp_path: Path) -> None:
    metadata = json.dumps({"physics_parameters": {"nphotons": 1e9}})
    assert read_header(write_ptychopinn(tmp_path / "s.npz", make_scan(), _metadata=metadata)).nphotons == 1e9


def test_ptychopinn_object_is_left_out_when_positions_do_not_index_it(tmp_path: Path) -> None:
    made = make_scan()
    scan = open_scan(write_ptychopinn(tmp_path / "s.npz", made, objectGuess=made.object_[:20, :20]))
    assert scan.object_ is None
    assert any("objectGuess: left out" in sentence for sentence in scan.header.conversions)


def test_units_come_from_file_or_options_and_must_agree(tmp_path: Path) -> None:
    path = write_own(tmp_path / "s.h5", make_scan(), pixel_size_m=2e-8, energy_eV=8000.0)
    header = read_header(path, ScanOptions(detector_distance_m=2.0))
    assert (header.pixel_size_m, header.energy_eV, header.detector_distance_m) == (2e-8, 8000.0, 2.0)
    assert header.units_known
    with pytest.raises(DataFormatError, match="pixel_size_m"):
        read_header(path, ScanOptions(pixel_size_m=3e-8))
    bare = read_header(write_own(tmp_path / "t.h5", make_scan()))
    assert not bare.units_known
    assert math.isnan(bare.energy_eV)


def test_masked_pixels_read_as_zero_when_dead(tmp_path: Path) -> None:
    made = make_scan()
    mask = np.ones((16, 16), dtype=bool)
    mask[3, 4] = False
    path = write_own(tmp_path / "s.h5", made, mask=mask)
    with h5py.File(path, "r+") as file:
        dead = made.counts.astype(np.uint32)
        dead[:, 3, 4] = 2**32 - 1
        del file["patterns"]
        file["patterns"] = dead
    scan = open_scan(path)
    expected = made.counts * mask
    np.testing.assert_array_equal(scan.read_patterns(np.arange(12)), expected)
    assert scan.header.mean_counts == pytest.approx(expected.sum((1, 2)).mean())


@pytest.mark.parametrize("compress", [True, False])
def test_npz_patterns_do_not_fill_memory(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "big.npz"
    (np.savez_compressed if compress else np.savez)(path, data=np.zeros((4000, 64, 64), np.float32))
    program = (
        "import resource, sys, pathlib, numpy as np\n"
        "from ptycho_dist.data.formats.npz import map_member\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "assert map_member(pathlib.Path(sys.argv[1]), 'data')[[0, 3999]].sum() == 0\n"
        "sys.exit(peak() - before > 20_000)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False, timeout=60)
    assert done.returncode == 0, "peak memory grew by more than 20 MB for a member of 64 MB"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compress", [True, False])
def test_npz_storage_makes_no_difference(tmp_path: Path, compress: bool, order: Any) -> None:
    made = make_scan()
    data = np.asarray(np.fft.ifftshift(made.counts, axes=(1, 2))[None].astype(np.uint16), order=order)
    scan = open_scan(write_tike(tmp_path / "s.npz", made, compress=compress, data=data))
    np.testing.assert_array_equal(scan.read_patterns(np.array([4, 4, 11])), made.counts[[4, 4, 11]])


def test_read_patterns_refuses_numbers_outside_the_scan(tmp_path: Path) -> None:
    scan = open_scan(write_own(tmp_path / "s.h5", make_scan()))
    assert scan.read_patterns(np.array([], dtype=np.int64)).shape == (0, 16, 16)
    for wrong in (-1, 12):
        with pytest.raises(IndexError, match="expected 0 to 11"):
            scan.read_patterns(np.array([0, wrong]))
