"""Files that appear in a folder are one scan; a DECTRIS master there is followed by its files of frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.live.arrivals import Arrived, Source
from ptycho_dist.live.growing_folder import COMPLETE, GrowingFolder
from ptycho_dist.pipeline import run_live
from tests.torch.live.conftest import LiveCase, object_of

DETECTOR = "entry/instrument/detector"


def write_part(scan: Scan, rows: np.ndarray[Any, Any], path: Path) -> Path:
    content = ScanContent(
        patterns=[scan.read_numbers(rows)],
        positions_px=scan.positions_px[rows],
        probe=scan.probe,
        energy_eV=scan.header.energy_eV,
        detector_distance_m=scan.header.detector_distance_m,
        pixel_size_m=scan.header.pixel_size_m,
    )
    return write_scan_h5(path, content)


@pytest.mark.parametrize("is_electron", [False, True])
def test_recorded_scan_is_of_the_same_radiation(case: LiveCase, tmp_path: Path, is_electron: bool) -> None:
    folder = tmp_path / "scan"
    with open_scan(case.scan) as scan:
        content = ScanContent(
            patterns=[scan.read_numbers(np.arange(60))], positions_px=scan.positions_px[:60], is_electron=is_electron
        )
        write_scan_h5(folder / "part.h5", content)
    (folder / COMPLETE).touch()
    source = GrowingFolder(folder, ScanOptions())
    gather(source, lambda _: source.has_ended)
    recorded = source.finish(tmp_path / "out").path
    source.close()
    with open_scan(recorded) as found:
        assert found.raw.is_electron is is_electron


def gather(source: Source, until: Callable[[list[Arrived]], bool]) -> Arrived:
    """Poll until what came is enough."""
    found: list[Arrived] = []
    limit = time.monotonic() + 30
    while not until(found):
        one = source.poll()
        found += [one] if one is not None else []
        if time.monotonic() > limit:
            msg = f"got {sum(map(len, found))}; waiting for {source.waits_for}"
            raise TimeoutError(msg)
    return Arrived.joined(found)


def test_files_that_appear_end_in_the_object_of_all_of_them(
    case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, out = tmp_path / "scan", tmp_path / "out"
    folder.mkdir()

    def write() -> None:
        with open_scan(case.scan) as scan:
            for number, rows in enumerate(np.array_split(np.arange(len(scan)), 4)):
                write_part(scan, rows, folder / f"part_{number}.h5")
                time.sleep(0.2)
        (folder / "note.h5").write_bytes(b"\x89HDF\r\n\x1a\n is no scan")
        time.sleep(1.5)
        (folder / COMPLETE).touch()

    writer = threading.Thread(target=write)
    writer.start()
    run_live(case.request(out), LiveConfig(follow=str(folder)))
    writer.join()
    assert object_of(out).tobytes() == case.offline.tobytes()
    with open_scan(out / "live" / "scan.h5") as joined, open_scan(case.scan) as scan:
        rows = np.arange(150)
        assert joined.read_numbers(rows).tobytes() == scan.read_numbers(rows).tobytes()
    assert "note.h5 was not read" in caplog.text


def test_late_and_missing_files_are_told(case: LiveCase, tmp_path: Path) -> None:
    source = GrowingFolder(tmp_path, ScanOptions())
    with open_scan(case.scan) as scan:
        for number in (2, 5):
            write_part(scan, np.arange(number * 10, number * 10 + 10), tmp_path / f"p{number}.h5")
        gather(source, lambda found: sum(map(len, found)) == 20)
        write_part(scan, np.arange(10, 20), tmp_path / "p1.h5")
        late = gather(source, lambda found: sum(map(len, found)) == 10)
        np.testing.assert_array_equal(late.counts, scan.read_numbers(np.arange(10, 20)))
        np.testing.assert_array_equal(late.numbers, np.arange(20, 30))
        assert (source.tally().received, source.tally().out_of_order) == (30, 10)
        assert source.missing() == (3, 4)
        with open_scan(source.finish(tmp_path / "end").path) as joined:
            rows = np.concatenate([np.arange(10, 30), np.arange(50, 60)])
            np.testing.assert_array_equal(joined.read_numbers(np.arange(30)), scan.read_numbers(rows))
    source.close()


def test_file_that_is_still_written_is_not_read(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan:
        whole = write_part(scan, np.arange(60), tmp_path / "elsewhere.h5").read_bytes()
    folder = tmp_path / "scan"
    folder.mkdir()
    source = GrowingFolder(folder, ScanOptions())
    with (folder / "p.h5").open("wb") as file:
        for start in range(0, len(whole), len(whole) // 12):
            file.write(whole[start : start + len(whole) // 12])
            file.flush()
            assert source.poll() is None
            time.sleep(0.1)
    assert len(gather(source, lambda found: sum(map(len, found)) == 60)) == 60
    source.close()


def test_frames_of_a_master_come_file_by_file(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan:
        counts, positions = scan.read_numbers(np.arange(150)), scan.positions_px
    table = tmp_path / "p.csv"
    pixel_um = 0.05
    lines = [f"{number},{x * pixel_um},{y * pixel_um}" for number, (y, x) in enumerate(positions)]
    table.write_text("\n".join(["index,x_um,y_um", *lines[:140]]) + "\n", encoding="utf-8")
    with h5py.File(tmp_path / "m_master.h5", "w") as file:
        for number in (1, 2, 3):
            key = f"entry/data/data_{number:06d}"
            file[key] = h5py.ExternalLink(f"m_data_{number:06d}.h5", "/entry/data/data")
        facts = {"x_pixel_size": 75e-6, "y_pixel_size": 75e-6, "detector_distance": 1.0}
        facts |= {"detectorSpecific/photon_energy": 8000.0, "detectorSpecific/nimages": 150}
        for name, value in facts.items():
            file[f"{DETECTOR}/{name}"] = value
    source = GrowingFolder(tmp_path, ScanOptions(positions_file=str(table)))
    write_frames(tmp_path / "m_data_000001.h5", counts[:60], 1)
    first = gather(source, lambda found: sum(map(len, found)) == 60)
    np.testing.assert_array_equal(first.counts, counts[:60])
    write_frames(tmp_path / "m_data_000002.h5", counts[60:120], 61)
    write_frames(tmp_path / "m_data_000003.h5", counts[120:], 121)
    rest = gather(source, lambda found: sum(map(len, found)) == 80)
    np.testing.assert_array_equal(rest.counts, counts[60:140])
    assert (source.tally().received, source.tally().waiting, source.has_ended) == (150, 10, False)
    table.write_text("\n".join(["index,x_um,y_um", *lines]) + "\n", encoding="utf-8")
    last = gather(source, lambda found: sum(map(len, found)) == 10)
    np.testing.assert_array_equal(last.numbers, np.arange(140, 150))
    assert source.has_ended
    assert source.finish(tmp_path / "end").path == tmp_path / "m_master.h5"


def write_frames(path: Path, counts: np.ndarray[Any, Any], first: int) -> None:
    hidden = path.with_suffix(".part")
    with h5py.File(hidden, "w") as file:
        kept = file.create_dataset(
            "entry/data/data", data=counts, chunks=(1, *counts.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        kept.attrs["image_nr_low"], kept.attrs["image_nr_high"] = first, first + len(counts) - 1
    hidden.rename(path)
