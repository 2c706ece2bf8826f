"""A scan that a detector sends as a ZeroMQ stream."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.adjust import adjust
from ptycho_dist.data.formats import measurement as core
from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.formats.intensity import read_numbers
from ptycho_dist.data.formats.object_pixel import energy_of
from ptycho_dist.data.formats.prepare import grown, raw_scan_of
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.live.arrivals import AT_ONCE, FIRST, Arrived, Recorded, Tally
from ptycho_dist.live.ledger import Ledger
from ptycho_dist.live.positions_file import PositionsFile
from ptycho_dist.live.recording import NAME, record
from ptycho_dist.live.spool import NAME as SPOOL
from ptycho_dist.live.spool import Spool, SpooledFrames
from ptycho_dist.live.stream_cbor import is_cbor, read_cbor
from ptycho_dist.live.stream_messages import METRES, End, Header, Image, Message, PositionsOf, read_message
from ptycho_dist.types import IntArray

if TYPE_CHECKING:
    import zmq

logger = logging.getLogger(__name__)

_WAIT_MS = 20
_MOST_WAITING = 4096
"""Messages that wait in memory; then the sender waits, for a PUSH socket drops none."""


class Stream:
    """A series of frames that a PUSH socket sends.

    Parameters
    ----------
    address
        Where that socket is bound.
    options
        What the stream leaves open.
    folder
        Where frames are kept.
    """

    def __init__(self, address: str, options: ScanOptions, folder: Path) -> None:
        self._address, self._options, self._folder = address, options, folder
        self._socket = _connected(address)
        self._header: Header | None = None
        self._series: int | None = None
        self._ledger = Ledger()
        self._spool: Spool | None = None
        self._opened: RawScan | None = None
        self._known: RawScan | None = None
        self._unit: str | None = None
        self._has_end = False
        self._strangers = 0
        name = options.positions_file
        self._file = None if name is None else PositionsFile(name)

    @property
    def name(self) -> str:
        """The address."""
        return self._address

    @property
    def waits_for(self) -> str:
        """What is to come next, in words."""
        if self._series is None:
            return f"a series of frames from {self._address}"
        if self._file is not None and self._file.trouble and self._ledger.n_waiting:
            return self._file.trouble
        if self._ledger.n_waiting:
            return f"positions of {self._ledger.n_waiting} frames, in the appendix, a dposition-1.0 or a positions_file"
        return f"more frames from {self._address}, or the end of the series"

    @property
    def scan(self) -> RawScan | None:
        """The scan as it was begun."""
        return self._known

    @property
    def has_ended(self) -> bool:
        """Whether the series has ended, and every frame has been delivered."""
        return self._has_end and not self._ledger.n_waiting and not self._ledger.n_ready

    def poll(self) -> Arrived | None:
        """Receive what is there, and deliver frames that have their position."""
        self._receive()
        if self._file is not None and self._ledger.n_waiting:
            self._place_from(self._file)
        if self._known is None and self._ledger.n_ready < FIRST and not self._has_end:
            return None
        rows = self._ledger.next_ready(AT_ONCE)
        return self._deliver(rows) if len(rows) else None

    def tally(self) -> Tally:
        """Count what has come."""
        return self._ledger.tally()

    def missing(self) -> tuple[int, ...]:
        """Return numbers of frames that did not come."""
        return self._ledger.missing(0 if self._header is None else self._header.announced)

    def finish(self, folder: Path) -> Recorded:
        """Write the frames that have a position as a scan, in the order of their numbers; the spool goes."""
        spool = self._spooled()
        if self._strangers:
            logger.warning("%d messages of other series were passed over", self._strangers)
        rows = self._ledger.in_order()
        raw = adjust(spool.path, raw_scan_of(spool.path, self._measurement(rows), self._options), self._options)
        written = record(folder / NAME, [raw])
        if not self._ledger.n_waiting:
            spool.close()
            spool.path.unlink()
        return Recorded(written, is_ours=True)

    def close(self) -> None:
        """Close socket and spool."""
        self._socket.close(linger=0)
        if self._spool is not None:
            self._spool.close()

    def _receive(self) -> None:
        images: list[Image] = []
        timeout = 0 if self._ledger.n_ready else _WAIT_MS
        while len(images) < AT_ONCE and self._socket.poll(timeout):
            message = _read([bytes(part) for part in self._socket.recv_multipart()])
            timeout = 0
            if isinstance(message, PositionsOf):
                self._place(message)
            elif self._is_own(message) and isinstance(message, Image):
                images.append(message)
        self._keep(images)

    def _is_own(self, message: Header | Image | End) -> bool:
        """Tell whether a message is of the series that is followed, which is the first that is seen."""
        if self._series is None and not isinstance(message, End):
            self._series = message.series
        if message.series != self._series:
            self._strangers += 1
            return False
        if isinstance(message, Header):
            self._header = message
        if isinstance(message, End):
            self._has_end = True
        return True

    def _keep(self, images: list[Image]) -> None:
        new = self._ledger.take(images)
        for image in new:
            if image.position is not None:
                self._place(image.position)
        if not new:
            return
        if self._spool is None:
            self._spool = Spool(self._folder / SPOOL, new[0])
        self._spool.append(new)
        self._spool.flush()

    def _place(self, found: PositionsOf) -> None:
        if self._unit is None:
            self._unit = found.unit
        if found.unit != self._unit:
            msg = f"positions of {self._address} come as {self._unit} and as {found.unit}; expected one unit."
            raise DataFormatError(f"{msg} Correct the sender.")
        self._ledger.place(found)

    def _place_from(self, file: PositionsFile) -> None:
        found = file.read(self._ledger.numbers)
        if found is not None:
            self._place(found)

    def _deliver(self, rows: IntArray) -> Arrived:
        spool, measured = self._spooled(), self._measurement(rows)
        positions_m = measured.positions.values
        spool.note_positions(rows, positions_m)
        if self._opened is None:
            self._opened = opened = raw_scan_of(spool.path, measured, self._options)
        else:
            opened = grown(spool.path, self._opened, measured.frames, measured.positions)
        raw = adjust(spool.path, opened, self._options, is_part=self._known is not None)
        self._known = self._known or raw
        counts = read_numbers(spool.path, raw, np.arange(len(rows)))
        numbers = np.array(self._ledger.numbers, np.int64)[rows]
        return Arrived(numbers, counts, raw.positions_px)

    def _spooled(self) -> Spool:
        assert self._spool is not None
        return self._spool

    def _measurement(self, rows: IntArray) -> core.Measurement:
        """Describe frames as the header of the series does."""
        header = self._header or Header(0)
        energy, wavelength_m = header.number("photon_energy"), header.number("wavelength") * 1e-10
        if math.isnan(energy) and wavelength_m > 0:
            energy = energy_of(wavelength_m)
        y, x = (header.number(f"beam_center_{axis}") for axis in "yx")
        sizes = [header.number(f"{axis}_pixel_size") for axis in "yx"]
        return core.Measurement(
            format_name="dectris_stream",
            frames=SpooledFrames(self._spooled(), rows),
            positions=core.Positions(
                values=self._ledger.positions_of(rows), unit=core.METRES if self._unit == METRES else core.PIXELS
            ),
            geometry=core.Geometry(
                energy_eV=energy,
                detector_distance_m=header.number("detector_distance"),
                detector_pixel_m=(sizes[0], sizes[1]),
            ),
            mask=header.mask,
            beam_center_px=(y, x) if y > 0 and x > 0 else None,
            conversions=(f"received from {self._address}",),
        )


def _read(parts: list[bytes]) -> Message:
    """Read a message of either version of the stream."""
    return read_cbor(parts[0]) if is_cbor(parts) else read_message(parts)


def _connected(address: str) -> zmq.Socket[bytes]:
    """Connect to a PUSH socket.

    Raises
    ------
    ConfigError
        If pyzmq is not installed, or the address cannot be used.
    """
    try:
        import zmq
    except ImportError as error:
        msg = "--zmq needs pyzmq, which is not installed; expected the extra live. Run pip install 'ptycho-dist[live]'."
        raise ConfigError(msg) from error
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    socket = context.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, _MOST_WAITING)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        msg = f"live.zmq = {address!r} cannot be connected to ({error}); expected an address. Change it."
        raise ConfigError(msg) from error
    return socket
