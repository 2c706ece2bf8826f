"""A DECTRIS stream is received from another process; the end is the prediction of what was received."""

from __future__ import annotations

import json
import logging
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.arrivals import Arrived
from ptycho_dist.live.spool import Spool
from ptycho_dist.live.stream import Stream
from ptycho_dist.live.stream_messages import Header, Image, PositionsOf, read_message
from ptycho_dist.pipeline import run_infer, run_live
from tests.support.live_writers import image_parts, numbers_to_send, running
from tests.torch.live.conftest import LiveCase, object_of, request

zmq = pytest.importorskip("zmq", reason="pyzmq is not installed: the extra live brings it")


def free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{one.getsockname()[1]}"


def metrics_of(output_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    return found


def without(scan: Scan, lost: list[int], path: Path) -> Path:
    """Write a scan without some of its patterns."""
    kept = np.setdiff1d(np.arange(len(scan)), lost)
    content = ScanContent(
        patterns=[scan.read_numbers(kept)],
        positions_px=scan.positions_px[kept],
        probe=scan.probe,
        energy_eV=scan.header.energy_eV,
        detector_distance_m=scan.header.detector_distance_m,
    )
    return write_scan_h5(path, content)


def test_300_frames_per_s_of_128_squared_late_twice_and_lost_end_in_the_object_of_what_came(
    large_case: LiveCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address, out = free_address(), tmp_path / "out"
    faults = ("--late", 70, "--twice", 90, "--lost", 120, 121, "--encoding", "bs16-lz4<")
    with caplog.at_level(logging.INFO), running("zmq", large_case.scan, address, *faults):
        asked = large_case.request(out, **{"data.probe": str(large_case.scan)})
        run_live(asked, LiveConfig(zmq=address, write_every_s=0.2))
    found = metrics_of(out)
    assert (found["live_received"], found["live_patterns"], found["live_duplicates"]) == (238, 238, 1)
    assert found["live_missing"] == [120, 121]
    assert found["live_out_of_order"] >= 1
    assert "2 of the scan did not come: numbers 120, 121" in caplog.text
    with open_scan(large_case.scan) as scan, open_scan(out / "live" / "scan.h5") as received:
        kept = np.delete(np.arange(240), [120, 121])
        np.testing.assert_array_equal(received.positions_px, scan.positions_px[kept])
        assert received.read_numbers(np.arange(238)).tobytes() == scan.read_numbers(kept).tobytes()
        part = without(scan, [120, 121], tmp_path / "part.h5")
    run_infer(request(large_case.bundle, tmp_path / "offline", part))
    assert object_of(out).tobytes() == object_of(tmp_path / "offline").tobytes()
    assert not (out / "live" / "frames.h5").exists()


@contextmanager
def receiving(folder: Path, options: ScanOptions | None = None) -> Iterator[tuple[Stream, zmq.Socket[bytes]]]:
    """Open a stream, and a sender of this process."""
    address = free_address()
    with zmq.Context.instance().socket(zmq.PUSH) as sender:
        sender.setsockopt(zmq.LINGER, 0)
        sender.bind(address)
        stream = Stream(address, options or ScanOptions(), folder)
        try:
            yield stream, sender
        finally:
            stream.close()


def all_of(stream: Stream, polls: int = 400) -> Arrived:
    """Poll until the series has ended."""
    found: list[Arrived] = []
    for _ in range(polls):
        one = stream.poll()
        found += [one] if one is not None else []
        if stream.has_ended:
            return Arrived.joined(found)
    msg = f"not ended: {stream.tally()}; waiting for {stream.waits_for}"
    raise TimeoutError(msg)


HEADER = [b'{"htype": "dheader-1.0", "series": 7, "header_detail": "none"}']
END = [b'{"htype": "dseries_end-1.0", "series": 7}']


@pytest.mark.parametrize("encoding", ["<", "lz4<", "bs16-lz4<"])
def test_frames_are_decoded_and_given_out_once_each(case: LiveCase, tmp_path: Path, encoding: str) -> None:
    order = numbers_to_send(150, Namespace(lost=[], late=[60], twice=[80]))
    with open_scan(case.scan) as scan, receiving(tmp_path) as (stream, sender):
        counts = scan.read_numbers(np.arange(150))
        sender.send_multipart(HEADER)
        for number in order:
            sender.send_multipart(image_parts(counts[number], number, scan.positions_px[number], encoding))
        sender.send_multipart(END)
        arrived = all_of(stream)
        tally = stream.tally()
        np.testing.assert_array_equal(np.sort(arrived.numbers), np.arange(150))
        np.testing.assert_array_equal(arrived.counts, counts[arrived.numbers])
        np.testing.assert_array_equal(arrived.positions_px, scan.positions_px[arrived.numbers])
    assert (tally.received, tally.duplicates, tally.out_of_order, tally.waiting) == (150, 1, 1, 0)


def test_frames_wait_for_positions_that_come_apart(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan, receiving(tmp_path) as (stream, sender):
        counts = scan.read_numbers(np.arange(60))
        sender.send_multipart(HEADER)
        for number in range(60):
            sender.send_multipart(image_parts(counts[number], number, scan.positions_px[number])[:4])
        sender.send_multipart(END)
        for _ in range(30):
            assert stream.poll() is None
        assert stream.tally().waiting == 60
        assert not stream.has_ended
        places = {"htype": "dposition-1.0", "frame": list(range(60)), "position_px": scan.positions_px[:60].tolist()}
        sender.send_multipart([json.dumps(places).encode()])
        arrived = all_of(stream)
        np.testing.assert_array_equal(arrived.counts, counts)
        np.testing.assert_array_equal(arrived.positions_px, scan.positions_px[:60])


def test_positions_come_from_a_text_file_that_grows(case: LiveCase, tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    header = {"photon_energy": 8000.0, "detector_distance": 2.0, "x_pixel_size": 75e-6, "y_pixel_size": 75e-6}
    with (
        open_scan(case.scan) as scan,
        receiving(tmp_path, ScanOptions(positions_file=str(table))) as (stream, sender),
    ):
        counts = scan.read_numbers(np.arange(80))
        sender.send_multipart([*HEADER, json.dumps(header).encode()])
        for number in range(80):
            sender.send_multipart(image_parts(counts[number], number, scan.positions_px[number])[:4])
        sender.send_multipart(END)
        for _ in range(20):
            assert stream.poll() is None
        assert str(table) in stream.waits_for
        lines = [f"{number},{x},{y}" for number, (y, x) in enumerate(scan.positions_px[:80])]
        table.write_text("\n".join(["index,x_um,y_um", *lines[:55]]) + "\n", encoding="utf-8")
        first = next(found for found in iter(stream.poll, ...) if found is not None)
        assert len(first) == 55
        table.write_text("\n".join(["index,x_um,y_um", *lines]) + "\n", encoding="utf-8")
        rest = all_of(stream)
        pixel_m = 12.39841984e3 / 8000 * 1e-10 * 2.0 / (32 * 75e-6)
        np.testing.assert_array_equal(rest.numbers, np.arange(55, 80))
        step = np.diff(scan.positions_px[55:80], axis=0) * 1e-6 / pixel_m
        np.testing.assert_allclose(np.diff(rest.positions_px, axis=0), step, rtol=1e-4, atol=1e-3)


def test_a_few_frames_may_lie_far_from_each_other(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan, receiving(tmp_path) as (stream, sender):
        counts = scan.read_numbers(np.arange(62))
        sender.send_multipart(HEADER)
        for number in range(60):
            sender.send_multipart(image_parts(counts[number], number, scan.positions_px[number]))
        assert len(next(found for found in iter(stream.poll, ...) if found is not None)) >= 50
        far = np.array([[0.0, 0.0], [900.0, 900.0]])
        for number in (60, 61):
            sender.send_multipart(image_parts(counts[number], number, far[number - 60]))
        sender.send_multipart(END)
        np.testing.assert_array_equal(all_of(stream).positions_px[-2:], far)


def test_frames_of_another_series_are_passed_over(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan, receiving(tmp_path) as (stream, sender):
        counts = scan.read_numbers(np.arange(60))
        sender.send_multipart(HEADER)
        other = image_parts(counts[9], 3, scan.positions_px[9])
        sender.send_multipart([b'{"htype": "dimage-1.0", "series": 6, "frame": 3}', *other[1:]])
        for number in range(60):
            sender.send_multipart(image_parts(counts[number], number, scan.positions_px[number]))
        sender.send_multipart(END)
        np.testing.assert_array_equal(all_of(stream).counts, counts)


def test_damaged_frame_is_named(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan:
        parts = image_parts(scan.read_numbers(np.arange(1))[0], 5, scan.positions_px[0], "bs16-lz4<")
    parts[2] = parts[2][:40]
    image = read_message(parts)
    assert isinstance(image, Image)
    spool = Spool(tmp_path / "frames.h5", image)
    spool.append([image])
    with pytest.raises(DataFormatError, match="frame 5 of the stream cannot be decompressed"):
        spool.read(np.array([0]))
    spool.close()


def test_mask_and_configuration_come_from_the_header() -> None:
    bad: NDArray[np.uint32] = np.zeros((4, 6), "<u4")
    bad[1, 2] = 1
    told = {"htype": "dpixelmask-1.0", "shape": [6, 4], "type": "uint32"}
    flat = {"htype": "dflatfield-1.0", "shape": [6, 4], "type": "float32"}
    config = {"photon_energy": 8000, "nimages": 3, "ntrigger": 4, "wavelength": 0}
    parts = [HEADER[0], json.dumps(config).encode(), json.dumps(flat).encode(), bytes(96)]
    header = read_message([*parts, json.dumps(told).encode(), bad.tobytes()])
    assert isinstance(header, Header)
    assert header.mask is not None
    np.testing.assert_array_equal(np.argwhere(~header.mask), [[1, 2]])
    assert (header.announced, header.number("photon_energy")) == (12, 8000.0)
    assert np.isnan(header.number("wavelength"))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([b"\xd9\xd9\xf7\xa1"], "expected JSON, as version 1"),
        ([b'{"htype": "other"}'], "has htype 'other'"),
        ([b'{"htype": "dimage-1.0", "series": 1, "frame": -1}', b"{}"], "'frame' in dimage-1.0"),
        ([b'{"htype": "dimage-1.0", "series": 1, "frame": 1}'], "has 1 parts"),
        ([b'{"htype": "dimage-1.0", "series": 1, "frame": 1}', b'{"encoding": "gzip"}'], "encoded as 'gzip'"),
        ([b'{"htype": "dposition-1.0", "frame": [1, 2], "position_m": [0, 1]}'], "for 2 frames"),
        ([b'{"htype": "dposition-1.0", "frame": "1", "position_m": [0, 1]}'], "names frame '1'"),
    ],
)
def test_message_of_another_form_is_refused_with_what_is_wrong(parts: list[bytes], told: str) -> None:
    with pytest.raises(DataFormatError, match=told.replace("[", r"\[")):
        read_message(parts)


def test_position_names_its_frame_and_unit() -> None:
    found = read_message([b'{"htype": "dposition-1.0", "frame": 4, "position_m": [1e-6, 2e-6]}'])
    assert isinstance(found, PositionsOf)
    assert (found.frames, found.unit, found.values.tolist()) == ((4,), "position_m", [[1e-6, 2e-6]])
