"""What identifies the content of files: checksums, and what tells without reading that a file was changed."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

FileState = tuple[tuple[int, int, int, int], ...]
_BLOCK_BYTES = 1 << 20
_WHOLE_BELOW_BYTES = 1 << 28
_SAMPLED_BLOCKS = 256
_GLANCED_BLOCKS, _GLANCED_BYTES = 32, 1 << 14


def file_state(path: Path, companions: Sequence[Path] = ()) -> FileState:
    """Device, inode, size and time of modification (ns) of the files of a scan."""
    found = [file.stat() for file in (path, *companions)]
    return tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found)


def checksum(path: Path, companions: Sequence[Path] = (), whole_below: int = _WHOLE_BELOW_BYTES) -> str:
    """SHA-256 (hex) that tells scan files apart without reading large ones whole.

    Scans below ``whole_below`` bytes are covered whole. Of larger ones their
    size and 256 blocks of 1 MiB are covered: the first, the last, and others
    spread evenly, so that every rank can afford it. Files that hold a part of
    the patterns count as if they followed the scan file.
    """
    files = (path, *companions)
    size = sum(file.stat().st_size for file in files)
    if size >= whole_below:
        return _digest(files, _SAMPLED_BLOCKS, _BLOCK_BYTES, f"{size} bytes")
    ends, digest = _ends_of(files), hashlib.sha256()
    for start in range(0, size, _BLOCK_BYTES):
        digest.update(_read_across(files, ends, start, min(_BLOCK_BYTES, size - start)))
    return digest.hexdigest()


def sample_checksum(files: Sequence[Path]) -> str:
    """SHA-256 (hex) of 32 small blocks of files: what every rank can afford to compare."""
    return _digest(files, _GLANCED_BLOCKS, _GLANCED_BYTES)


def _ends_of(files: Sequence[Path]) -> list[int]:
    return list(accumulate(file.stat().st_size for file in files))


def _digest(files: Sequence[Path], blocks: int, block_bytes: int, prefix: str = "") -> str:
    """SHA-256 (hex) of blocks spread evenly over files laid end to end: the first, the last, and others between."""
    ends, digest = _ends_of(files), hashlib.sha256(prefix.encode())
    last = max(0, ends[-1] - block_bytes)
    for part in range(blocks):
        digest.update(_read_across(files, ends, round(last * part / (blocks - 1)), min(block_bytes, ends[-1])))
    return digest.hexdigest()


def _read_across(files: Sequence[Path], ends: Sequence[int], start: int, length: int) -> bytes:
    """Read from files laid end to end; ``ends`` are the places where each one ends."""
    found = b""
    number = bisect_right(ends, start)
    while len(found) < length and number < len(files):
        begin = ends[number - 1] if number else 0
        with files[number].open("rb") as stream:
            stream.seek(max(0, start + len(found) - begin))
            found += stream.read(length - len(found))
        number += 1
    return found
