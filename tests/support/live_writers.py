"""Writers of a running scan, each a process of its own: ``python -m tests.support.live_writers KIND ...``."""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.scan import open_scan

REPOSITORY = Path(__file__).resolve().parents[2]


@contextmanager
def running(kind: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a writer as a process of its own; it is ended with the block."""
    command = [sys.executable, "-m", __name__, kind, *map(str, arguments)]
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def paced(count: int, per_s: float) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows at a pace, some at once."""
    began, done = time.monotonic(), 0
    while done < count:
        time.sleep(0.01)
        due = min(count, int((time.monotonic() - began) * per_s) + 1)
        if due > done:
            yield done, due
            done = due


def tell(before: int, done: int, count: int) -> None:
    """Print the time (s since 1970) at which the first 50 patterns, and all of them, were written."""
    for name, number in (("fifty", 50), ("all", count)):
        if before < number <= done:
            sys.stdout.write(f"{name} {time.time()}\n")
            sys.stdout.flush()


def write_swmr(given: argparse.Namespace) -> None:
    """Write a scan of our own layout row by row, positions some rows behind."""
    with open_scan(given.scan) as opened:
        patterns, positions = opened.read_numbers(np.arange(len(opened))), opened.positions_px
    with h5py.File(given.scan, "r") as scan:
        probe, attributes = scan["probe"][:], dict(scan.attrs)
    count, N, _ = patterns.shape
    with h5py.File(given.target, "w", libver="latest", locking=False) as file:
        frames = file.create_dataset(
            "patterns", (0, N, N), patterns.dtype, maxshape=(None, N, N), chunks=(8, N, N), **hdf5plugin.LZ4()
        )
        places = file.create_dataset("positions_px", (0, 2), np.float64, maxshape=(None, 2), chunks=(256, 2))
        file["probe"] = probe
        file.attrs.update(attributes)
        file.swmr_mode = True
        for start_, stop in paced(count, given.per_s):
            frames.resize(stop, 0)
            frames[start_:stop] = patterns[start_:stop]
            frames.flush()
            known = stop - given.last_lag if stop == count else max(len(places), stop - given.lag)
            before = len(places)
            places.resize(known, 0)
            places[before:] = positions[before:known]
            places.flush()
            tell(start_, stop, count)
        time.sleep(given.stays_open_s)


def write_in_two_steps(given: argparse.Namespace) -> None:
    """Fill a dataset that has room for all: 65 rows, and the rest when a file ``.go`` is there."""
    with open_scan(given.scan) as scan:
        counts, positions = scan.read_numbers(np.arange(len(scan))), scan.positions_px
    N = counts.shape[-1]
    with h5py.File(given.target, "w", libver="latest", locking=False) as file:
        frames = file.create_dataset("patterns", counts.shape, counts.dtype, maxshape=(None, N, N), chunks=(10, N, N))
        file["positions_px"] = positions
        file.attrs.update({"format": "ptycho_dist_scan", "schema_version": 1})
        file.swmr_mode = True
        frames[:65] = counts[:65]
        frames.flush()
        while not Path(f"{given.target}.go").exists():
            time.sleep(0.02)
        frames[65:] = counts[65:]
        frames.flush()
        time.sleep(given.stays_open_s)


def send(given: argparse.Namespace) -> None:
    """Send a scan as a detector does; some frames late, twice or not at all."""
    import zmq

    with open_scan(given.scan) as scan:
        patterns, positions, header = scan.read_numbers(np.arange(len(scan))), scan.positions_px, scan.header
    config = {
        "photon_energy": header.energy_eV,
        "nimages": len(patterns),
        "ntrigger": 1,
        "detector_distance": header.detector_distance_m,
    }
    socket = zmq.Context.instance().socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, 100_000)
    socket.bind(given.target)
    socket.send_multipart([_json(htype="dheader-1.0", series=7, header_detail="basic"), json.dumps(config).encode()])
    order = numbers_to_send(len(patterns), given)
    began = time.monotonic()
    for place, number in enumerate(order):
        wait = began + place / given.per_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        socket.send_multipart(image_parts(patterns[number], int(number), positions[number], given.encoding))
        if given.apart:
            place_ = _json(htype="dposition-1.0", frame=int(number), position_px=positions[number].tolist())
            socket.send_multipart([place_])
        tell(place, place + 1, len(order))
    socket.send_multipart([_json(htype="dseries_end-1.0", series=7)])
    socket.close(linger=60_000)


def numbers_to_send(count: int, given: argparse.Namespace) -> list[int]:
    """Return the numbers of frames in the order of sending."""
    order = [number for number in range(count) if number not in given.lost]
    for number in given.late:
        order.remove(number)
        order.insert(order.index(number + 3), number)
    for number in given.twice:
        order.insert(order.index(number) + 2, number)
    return order


def image_parts(frame: NDArray[Any], number: int, position: NDArray[Any], encoding: str | None = None) -> list[bytes]:
    """Make the parts of an image of version 1; the appendix holds the position unless it is sent apart."""
    chosen = encoding or "<"
    told = {"type": str(frame.dtype), "shape": [frame.shape[1], frame.shape[0]], "encoding": chosen}
    data = encoded(frame, chosen)
    return [
        _json(htype="dimage-1.0", series=7, frame=number, hash=""),
        _json(htype="dimage_d-1.0", size=len(data), **told),
        data,
        _json(htype="dconfig-1.0", start_time=0, stop_time=1, real_time=1),
        _json(position_px=position.tolist()),
    ]


def start_map(**more: Any) -> bytes:
    """Make the begin of a series of version 2."""
    import cbor2

    return cbor2.dumps({"type": "start", "series_id": 7, "series_unique_id": "x", "channels": ["threshold_1"], **more})


def image_map(frame: NDArray[Any], number: int, position: NDArray[Any], encoding: str = "<") -> bytes:
    """Make an image of version 2, its position in what the sender may add."""
    import cbor2

    data = encoded(frame, encoding)
    if encoding == "lz4<":
        data = struct.pack(">QII", frame.nbytes, frame.nbytes, len(data)) + data
    name = {"lz4<": "lz4"}.get(encoding, "bslz4")
    value = data if encoding == "<" else cbor2.CBORTag(56500, [name, frame.itemsize, data])
    array = cbor2.CBORTag(40, [list(frame.shape), cbor2.CBORTag({1: 64, 2: 69, 4: 70}[frame.itemsize], value)])
    told = {"type": "image", "series_id": 7, "image_id": number, "data": {"threshold_1": array}}
    return cbor2.dumps({**told, "user_data": {"position_px": position.tolist()}})


def encoded(frame: NDArray[Any], encoding: str) -> bytes:
    """Encode counts as a detector does, by the filters of HDF5, which have the same form."""
    if encoding == "<":
        return frame.tobytes()
    filters = dict(hdf5plugin.LZ4() if encoding == "lz4<" else hdf5plugin.Bitshuffle(cname="lz4"))
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("x", data=frame[None], chunks=(1, *frame.shape), **filters)
        file.flush()
        chunk = dataset.id.read_direct_chunk((0, 0, 0))[1]
    return bytes(chunk[16:] if encoding == "lz4<" else chunk)


def _json(**values: Any) -> bytes:
    return json.dumps(values).encode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("scan", type=Path)
    parser.add_argument("target")
    parser.add_argument("--per_s", type=float, default=300.0)
    parser.add_argument("--lag", type=int, default=0)
    parser.add_argument("--last_lag", type=int, default=0)
    parser.add_argument("--stays_open_s", type=float, default=0.0)
    parser.add_argument("--encoding", default="<")
    parser.add_argument("--apart", action="store_true")
    for name in ("lost", "late", "twice"):
        parser.add_argument(f"--{name}", type=int, nargs="*", default=[])
    return parser.parse_args()


KINDS = {"swmr": write_swmr, "two_steps": write_in_two_steps, "zmq": send}

if __name__ == "__main__":
    arguments = _arguments()
    KINDS[arguments.kind](arguments)
