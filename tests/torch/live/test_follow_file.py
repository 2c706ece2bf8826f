"""A file in SWMR form is followed while another process writes it; the end is the prediction of the whole file."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.arrivals import Arrived
from ptycho_dist.live.growing_file import GrowingFile
from ptycho_dist.pipeline import run_live
from tests.support.live_writers import running
from tests.torch.live.conftest import LiveCase, object_of

_OPENS = """
import sys
import time
from pathlib import Path
from ptycho_dist.hdf5_files import describe_refusal, open_for_following
try:
    open_for_following(Path(sys.argv[1]))
except OSError as error:
    sys.exit(describe_refusal(error) + str(error))
"""


def follow(case: LiveCase, target: Path, output_dir: Path, **overrides: Any) -> dict[str, Any]:
    return run_live(case.request(output_dir, **overrides), LiveConfig(follow=str(target), write_every_s=0.2))


def metrics_of(output_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    return found


def test_300_patterns_per_s_of_128_squared_end_in_the_object_of_the_whole_file(
    large_case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with caplog.at_level(logging.INFO), running("swmr", large_case.scan, target, "--lag", 7):
        follow(large_case, target, out)
    assert object_of(out).tobytes() == large_case.offline.tobytes()
    found = metrics_of(out)
    assert (found["live_received"], found["live_patterns"], found["live_without_position"]) == (240, 240, 0)
    assert found["live_pictures"] >= 2
    assert (out / "preview.png").read_bytes().startswith(b"\x89PNG")
    interim = read_product(out / "interim.h5")
    assert interim.object_.shape == large_case.offline.shape
    assert len(interim.positions_px) == 240
    assert not (out / "live").exists()
    assert "240 patterns on" in caplog.text


def test_rows_are_delivered_once_each_with_their_own_position(case: LiveCase, tmp_path: Path) -> None:
    target = tmp_path / "running.h5"
    source = GrowingFile(target, ScanOptions())
    arrived: list[Arrived] = []
    with running("swmr", case.scan, target, "--lag", 11, "--per_s", 150):
        while not source.has_ended:
            found = source.poll()
            arrived += [found] if found is not None else []
    assert len(arrived) > 1
    whole = Arrived.joined(arrived)
    with open_scan(case.scan) as scan:
        np.testing.assert_array_equal(whole.numbers, np.arange(len(scan)))
        np.testing.assert_array_equal(whole.counts, scan.read_numbers(whole.numbers))
        np.testing.assert_array_equal(whole.positions_px, scan.positions_px)


def test_file_that_is_never_closed_is_copied_after_the_time_limit(
    case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with running("swmr", case.scan, target, "--per_s", 2000, "--stays_open_s", 600):
        wait_for(target)
        follow(case, target, out, **{"execution.timeout_s": 3.0})
    assert "is taken as ended" in caplog.text
    assert "still open in its writer" in caplog.text
    assert object_of(out).tobytes() == case.offline.tobytes()
    with open_scan(out / "live" / "scan.h5") as copied, open_scan(case.scan) as scan:
        rows = np.arange(len(scan))
        assert copied.read_numbers(rows).tobytes() == scan.read_numbers(rows).tobytes()


def test_frames_whose_positions_never_come_are_told_and_left_out(
    case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target, out = tmp_path / "running.h5", tmp_path / "out"
    with running("swmr", case.scan, target, "--per_s", 2000, "--stays_open_s", 600, "--last_lag", 9):
        wait_for(target)
        follow(case, target, out, **{"execution.timeout_s": 3.0})
    found = metrics_of(out)
    assert (found["live_received"], found["live_without_position"]) == (150, 9)
    assert "9 frames have no position" in caplog.text
    assert len(read_product(out / "reconstruction.h5").positions_px) == 141


def test_scan_that_was_closed_before_is_predicted_at_once(case: LiveCase, tmp_path: Path) -> None:
    follow(case, case.scan, tmp_path)
    assert object_of(tmp_path).tobytes() == case.offline.tobytes()


def test_file_that_never_appears_is_refused_after_the_time_limit(case: LiveCase, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"nothing could be predicted of none\.h5 within 0\.3 s.*to appear"):
        follow(case, tmp_path / "none.h5", tmp_path / "out", **{"execution.timeout_s": 0.3})


def test_file_that_is_written_in_another_form_is_refused_with_what_hdf5_says(case: LiveCase, tmp_path: Path) -> None:
    target = tmp_path / "plain.h5"
    with h5py.File(target, "w", libver="latest", locking=False) as file:
        file["patterns"] = np.ones((60, 32, 32), np.uint16)
        file["positions_px"] = np.ones((60, 2))
        file.flush()
        done = subprocess.run([sys.executable, "-c", _OPENS, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "not in SWMR form" in done.stderr


def test_growing_file_by_a_map_waits_for_both_axes_of_its_positions(case: LiveCase, tmp_path: Path) -> None:
    target, m = tmp_path / "mapped.h5", tmp_path / "m.yaml"
    m.write_text(
        "name: mine\npatterns: {path: det/frames}\n"
        "positions:\n  y: {path: motor/y, unit: um}\n  x: {path: motor/x, unit: um}\n"
        "pixel_size: {value: 1.0e-8, unit: m}\n",
        encoding="utf-8",
    )
    with open_scan(case.scan) as scan:
        counts, positions = scan.read_numbers(np.arange(90)), scan.positions_px[:90] * 1e-2 + 1
    with h5py.File(target, "w", libver="latest", locking=False) as file:
        frames = file.create_dataset("det/frames", data=counts, maxshape=(None, 32, 32), chunks=(1, 32, 32))
        y = file.create_dataset("motor/y", data=positions[:80, 0], maxshape=(None,), chunks=(64,))
        x = file.create_dataset("motor/x", data=positions[:70, 1], maxshape=(None,), chunks=(64,))
        file.swmr_mode = True
        source = GrowingFile(target, ScanOptions(map=str(m)))
        first = source.poll()
        assert first is not None, source.waits_for
        np.testing.assert_array_equal(first.numbers, np.arange(70))
        assert source.poll() is None
        for dataset, column in ((y, 0), (x, 1)):
            dataset.resize(90, 0)
            dataset[:] = positions[:, column]
            dataset.flush()
        frames.flush()
        second = source.poll()
    assert second is not None
    np.testing.assert_array_equal(second.numbers, np.arange(70, 90))
    np.testing.assert_array_equal(second.counts, counts[70:])
    step = np.diff(np.concatenate([first.positions_px, second.positions_px]), axis=0)
    np.testing.assert_allclose(step, np.diff(positions, axis=0) * 100, atol=1e-6)


def test_rows_at_the_end_without_any_count_wait_for_theirs(case: LiveCase, tmp_path: Path) -> None:
    target = tmp_path / "slow.h5"
    source = GrowingFile(target, ScanOptions())
    with running("two_steps", case.scan, target, "--stays_open_s", 60), open_scan(case.scan) as scan:
        first = next_of(source)
        np.testing.assert_array_equal(first.numbers, np.arange(65))
        assert source.poll() is None
        target.with_name(f"{target.name}.go").touch()
        parts = [next_of(source)]
        while sum(len(one) for one in parts) < 85:
            parts.append(next_of(source))
        second = Arrived.joined(parts)
        np.testing.assert_array_equal(second.numbers, np.arange(65, 150))
        np.testing.assert_array_equal(second.counts, scan.read_numbers(second.numbers))


def wait_for(path: Path) -> None:
    """Wait until another process has made a file."""
    limit = time.monotonic() + 60
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.05)


def next_of(source: GrowingFile) -> Arrived:
    """Wait for what a source delivers next."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        found = source.poll()
        if found is not None:
            return found
    msg = f"nothing came; waiting for {source.waits_for}"
    raise TimeoutError(msg)
