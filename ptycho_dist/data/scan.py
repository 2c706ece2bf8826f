"""A scan, whatever its file format: header, positions, probe, and patterns by row."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.data.formats.base import BoolArray, ComplexArray, RawScan, ScanOptions
from ptycho_dist.data.formats.intensity import read_counts, read_numbers, sample_index
from ptycho_dist.data.formats.registry import open_raw
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray, ScanHeader

__all__ = ["Scan", "ScanOptions", "checksum", "open_scan", "read_header", "require_made_from"]

FileState = tuple[tuple[int, int, int, int], ...]
_BLOCK_BYTES = 1 << 20
_WHOLE_BELOW_BYTES = 1 << 28
_SAMPLED_BLOCKS = 256
_GLANCED_BLOCKS, _GLANCED_BYTES = 32, 1 << 14


class Scan:
    """An open scan; can be pickled.

    Pattern rows are opened lazily. HDF5 handles belong to one process: a forked or unpickled
    scan opens its own. Memory mappings of NPZ members are read-only and may be inherited.

    Parameters
    ----------
    header
        What is known without reading patterns.
    raw
        What the format's reader found.
    options
        How it was opened.
    state
        What tells without reading whether its files were changed; that of now where not given.
    """

    def __init__(self, header: ScanHeader, raw: RawScan, options: ScanOptions, state: FileState | None = None) -> None:
        self.header, self.options = header, options
        self._raw = raw
        self._state = file_state(header.path, raw.companions) if state is None else state

    def __len__(self) -> int:
        return self.header.n_patterns

    def __repr__(self) -> str:
        header = self.header
        size = f", {header.pixel_size_m * 1e9:.4g} nm per object pixel" if header.units_known else ""
        return (
            f"<Scan {header.path} ({header.format_name}): {header.n_patterns} patterns of {header.N} x {header.N}, "
            f"{header.mean_counts:.4g} counts each, {header.n_modes} probe modes{size}>"
        )

    @property
    def companions(self) -> tuple[Path, ...]:
        """Other files that hold patterns of this scan."""
        return self._raw.companions

    @property
    def positions_px(self) -> FloatArray:
        """Patch corners (y, x) in object pixels, float64, shape (B, 2)."""
        return self._raw.positions_px

    @property
    def probe(self) -> ComplexArray | None:
        """Supplied probe modes in the scale of the file, complex64, shape (P, N, N)."""
        return self._raw.probe

    @property
    def mask(self) -> BoolArray | None:
        """Valid detector pixels, bool, shape (N, N); None where all are."""
        return self._raw.mask

    @property
    def probe_mask(self) -> BoolArray | None:
        """Where the probe may differ from zero, bool, shape (N, N); None where the file does not say."""
        return self._raw.probe_mask

    @property
    def object_(self) -> ComplexArray | None:
        """Object supplied for evaluation, complex64, shape (H, W); read from the file at each access."""
        return None if self._raw.object_source is None else self._raw.object_source.load()

    @property
    def object_origin_px(self) -> FloatArray | None:
        """Position of pixel (0, 0) of the object: ``positions_px - object_origin_px`` indexes it."""
        return self._raw.object_origin_px

    def read_patterns(self, index: IntArray) -> NDArray[np.float32]:
        """Read some patterns, and only those.

        Parameters
        ----------
        index
            Pattern numbers, int64, shape (n,); any order, repeats allowed.

        Returns
        -------
        ndarray, float32, shape (n, N, N)
            Photon counts, DC at the centre; masked pixels are 0.

        Raises
        ------
        DataFormatError
            If a valid pixel is NaN, infinite, negative, or an integer overflow value.
        """
        return self.read_numbers(index).astype(np.float32, copy=False)

    def read_numbers(self, index: IntArray) -> NDArray[Any]:
        """Read some patterns as :meth:`read_patterns` does, but leave integers of up to 2 bytes as they are.

        Returns
        -------
        ndarray, uint8, int8, uint16, int16 or float32, shape (n, N, N)
            Photon counts, DC at the centre; masked pixels are 0.
        """
        rows = np.asarray(index, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= self.header.n_patterns):
            span, held = f"{rows.min()} to {rows.max()}", self.header.n_patterns
            msg = f"pattern numbers {span} asked of {self.header.path}; expected 0 to {held - 1}"
            raise IndexError(msg)
        return read_numbers(self.header.path, self._raw, rows)

    def counts(self, rows: slice | ArrayLike = slice(None)) -> NDArray[np.float32]:  # immutable
        """Read the counts of some patterns, and only those; see :meth:`read_patterns`.

        Parameters
        ----------
        rows
            A slice, a pattern number, or a list of them; negative ones count from the end. All where not given.

        Returns
        -------
        ndarray, float32, shape (n, N, N)
            For a single number, shape (N, N).
        """
        chosen = np.arange(len(self))[rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)]
        patterns = self.read_patterns(np.atleast_1d(chosen))
        return patterns if np.ndim(chosen) else patterns[0]

    @property
    def n_bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in (self.header.path, *self.companions))

    def sample_checksum(self) -> str:
        """SHA-256 (hex) of 32 small blocks of its files: what every rank can afford to compare."""
        return _digest((self.header.path, *self.companions), _GLANCED_BLOCKS, _GLANCED_BYTES)

    def require_unchanged(self) -> None:
        """Refuse files that were replaced or written to since they were opened.

        They are read again only where size, inode or time of modification differ.

        Raises
        ------
        DataFormatError
            Naming both checksums, or the file that is gone.
        """
        path = self.header.path
        try:
            state = file_state(path, self.companions)
            found = self.header.checksum if state == self._state else checksum(path, self.companions)
        except FileNotFoundError as error:
            msg = f"{error.filename} is gone since it was opened; expected it to stay. Put it back, and start again."
            raise DataFormatError(msg) from error
        if found != self.header.checksum:
            msg = (
                f"{path} has SHA-256 {found}, but had {self.header.checksum} when it was opened; expected the scan to "
                "stay as it is, for results may now be of both. Put it back, and start anew with --resume false."
            )
            raise DataFormatError(msg)
        self._state = state

    def close(self) -> None:
        """Release file handles and mappings of this process."""
        self._raw.patterns.close()

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def open_scan(path: Path | str, options: ScanOptions | None = None, *, known_checksum: str | None = None) -> Scan:
    """Open a scan file of any known format.

    Parameters
    ----------
    path
        The file.
    options
        What the file leaves open.
    known_checksum
        Its checksum, where that is known; then the file is not read for it.

    Raises
    ------
    DataFormatError
        If the file is not a whole scan of a known format, or contradicts the options.
    """
    options = options or ScanOptions()
    path = Path(path)
    raw = open_raw(path, options)
    state = file_state(path, raw.companions)
    return Scan(_header(path, raw, options, known_checksum), raw, options, state)


def read_header(path: Path | str, options: ScanOptions | None = None) -> ScanHeader:
    """Return what is known of a scan file before its patterns are read; see :func:`open_scan`."""
    with open_scan(path, options) as scan:
        return scan.header


def _header(path: Path, raw: RawScan, options: ScanOptions, known_checksum: str | None) -> ScanHeader:
    n_patterns, N, _ = raw.patterns.shape
    units: dict[str, Any] = {
        name: _agreed(path, name, getattr(raw, name), getattr(options, name))
        for name in ("pixel_size_m", "energy_eV", "detector_distance_m")
    }
    return ScanHeader(
        path=path,
        format_name=raw.format_name,
        n_patterns=n_patterns,
        N=N,
        n_modes=0 if raw.probe is None else len(raw.probe),
        mean_counts=_mean_counts(path, raw),
        nphotons=raw.nphotons,
        probe_mask_px=None if raw.probe_mask is None else int(raw.probe_mask.sum()),
        checksum=known_checksum or checksum(path, raw.companions),
        conversions=raw.conversions,
        units_known=math.isfinite(units["pixel_size_m"]),
        **units,
    )


def _agreed(path: Path, name: str, in_file: float, given: float | None) -> float:
    if given is None:
        return in_file
    if math.isfinite(in_file) and not math.isclose(in_file, given, rel_tol=1e-6):
        msg = f"{path} says {name} = {in_file}, but data.{name} = {given}; expected one value. Leave data.{name} unset."
        raise DataFormatError(msg)
    return given


def _mean_counts(path: Path, raw: RawScan) -> float:
    if raw.mean_counts is not None:
        return raw.mean_counts
    index = sample_index(raw.patterns.shape[0])
    sums = [float(read_counts(path, raw, index[i : i + 1]).sum(dtype=np.float64)) for i in range(len(index))]
    mean = sum(sums) / len(sums)
    if mean == 0:
        msg = f"{len(sums)} sampled patterns in {path} are zero everywhere; expected photon counts. Check the export."
        raise DataFormatError(msg)
    return mean


def require_made_from(header: ScanHeader, what: str, made_from: str, fix: str) -> None:
    """Refuse a scan whose content is not that from which something was made.

    Parameters
    ----------
    header
        The scan at hand.
    what
        What was made, for the message.
    made_from
        Checksum of the scan that it was made from; empty where that is not known.
    fix
        What to do instead.

    Raises
    ------
    DataFormatError
        Naming both checksums.
    """
    if made_from not in ("", header.checksum):
        msg = (
            f"{what} was made from a scan of SHA-256 {made_from}, but {header.path} has {header.checksum}; expected "
            f"the same scan. {fix}"
        )
        raise DataFormatError(msg)


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
