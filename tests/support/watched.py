"""Work in a process of its own, which is watched: crashes, hangs, memory, and files that it opens in a folder."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_IN_OPEN, _IN_ISDIR = 0x20, 0x40000000
_EVENT = struct.Struct("iIII")
_NONBLOCK = 0o4000
_OPENING_AN_ATTRIBUTE = "h5py/_hl/attrs.py"
"""HDF5 2.0.0 loops for ever in H5Aopen on some damaged headers of objects; nothing in the process can stop that."""


class OpenedFiles:
    """Tells which files of a folder have been opened, by this process or another (inotify of Linux).

    A listing of the folder is none; whoever looks around in it does not fail a test.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(_NONBLOCK)
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), f"cannot watch {folder}")

    def names(self) -> set[str]:
        """Names of the files that were opened since the last call."""
        try:
            told = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return set()
        found, place = set(), 0
        while place < len(told):
            _, kind, _, length = _EVENT.unpack_from(told, place)
            name = told[place + _EVENT.size : place + _EVENT.size + length].rstrip(b"\0")
            found |= set() if kind & _IN_ISDIR else {os.fsdecode(name)}
            place += _EVENT.size + length
        return found

    def close(self) -> None:
        """End the watch."""
        os.close(self._descriptor)


@dataclass
class Outcome:
    """What became of many inputs.

    Parameters
    ----------
    read, refused
        Numbers of inputs that were read, and that were refused in words.
    wrong
        What else happened, one line each.
    library_hangs
        Number of inputs on which HDF5 itself did not return from opening an attribute.
    grown_bytes
        By how much the memory of the process rose at most.
    """

    read: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    library_hangs: int = 0
    grown_bytes: int = 0


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def watched(number: int, one: Callable[[int], tuple[str, bool]], notes: Path, limit_s: float) -> Outcome:
    """Try inputs in a forked process; one that crashes or hangs is noted, and the next ones are tried in another.

    Parameters
    ----------
    number
        How many.
    one
        Tries input ``n``; returns what it was, and whether it was read (False: refused in words).
    notes
        File for what happened.
    limit_s
        Time for one input.

    Returns
    -------
    Outcome
    """
    outcome, first = Outcome(), 0
    while first < number:
        notes.write_text("")
        child = os.fork()
        if child == 0:
            _try_all(range(first, number), one, notes, limit_s)
        _, status = os.waitpid(child, 0)
        lines = notes.read_text().splitlines()
        for line in lines:
            kind, _, rest = line.partition(" ")
            outcome.read += kind == "read"
            outcome.refused += kind == "refused"
            if kind == "wrong":
                outcome.wrong.append(rest)
            elif kind == "grown":
                outcome.grown_bytes = max(outcome.grown_bytes, int(rest))
        first += sum(line.startswith(("read", "refused", "wrong")) for line in lines)
        if status != 0:
            hung = _frames(notes)
            if hung and _OPENING_AN_ATTRIBUTE in hung[0]:
                outcome.library_hangs += 1
            else:
                told = " | ".join(hung)
                outcome.wrong.append(f"input {first}: ended with {os.waitstatus_to_exitcode(status)}: {told}")
            first += 1
    return outcome


def _frames(notes: Path) -> list[str]:
    """Lines of code at which a process was that took too long, the innermost first; none of one that crashed."""
    text = notes.with_suffix(".hung").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.startswith("  File")][:12]


def _try_all(inputs: range, one: Callable[[int], tuple[str, bool]], notes: Path, limit_s: float) -> None:
    """Try inputs, then end the process: with 0 if none crashed or hung."""
    started = _peak_bytes()
    hung = notes.with_suffix(".hung").open("w", encoding="utf-8")
    with hung, notes.open("a", buffering=1, encoding="utf-8") as written:
        for number in inputs:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=hung)
            try:
                _, was_read = one(number)
                written.write("read\n" if was_read else "refused\n")
            except BaseException:  # noqa: BLE001 - whatever is raised is what the test is to tell
                told = " | ".join(traceback.format_exc().strip().splitlines()[-24:])
                written.write(f"wrong input {number}: {told}\n")
            faulthandler.cancel_dump_traceback_later()
            written.write(f"grown {_peak_bytes() - started}\n")
    os._exit(0)
