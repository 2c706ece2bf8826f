"""What a user says of a scan, applied to what its reader found: turns, masks, units and signs of positions, rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.scan_options import POSITION_UNITS
from ptycho_dist.data.formats.array_file import file_of
from ptycho_dist.data.formats.base import BoolArray, PatternSource, RawScan, ScanOptions, Turn
from ptycho_dist.data.formats.checks import require_pixels
from ptycho_dist.data.mask_file import read_mask
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray


class SelectedRows:
    """Some rows of another source of patterns; can be pickled.

    Parameters
    ----------
    source
        All rows.
    rows
        int64, shape (n,): those that are kept, ascending.
    """

    def __init__(self, source: PatternSource, rows: IntArray) -> None:
        self._source, self._rows = source, rows

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, N, N)."""
        return (len(self._rows), *self._source.shape[1:])

    @property
    def rows(self) -> IntArray:
        """Numbers of the kept rows in the source, int64, shape (n,)."""
        return self._rows

    @property
    def n_all(self) -> int:
        """Rows there are in the source."""
        return self._source.shape[0]

    def read(self, index: IntArray) -> NDArray[Any]:
        """Return the raw rows ``index`` of those kept, shape (len(index), N, N)."""
        return self._source.read(self._rows[index])

    def unwritten(self) -> IntArray:
        """Return which of the kept rows were never written."""
        return np.flatnonzero(np.isin(self._rows, self._source.unwritten()))

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()


def adjust(path: Path, raw: RawScan, options: ScanOptions, *, is_part: bool = False) -> RawScan:
    """Apply what a user says and no pattern need be read for.

    Parameters
    ----------
    path
        The scan file, for messages.
    raw
        What its reader found.
    options
        What the user says.
    is_part
        Whether these are some patterns of a scan, whose positions do not tell whether their unit can be right.

    Raises
    ------
    DataFormatError
        If the mask cannot be used, or the positions are not in the unit that is said.
    """
    turned = _turned(raw, options)
    masked = _masked(turned, options)
    placed = _placed(path, masked, options)
    if not is_part:
        require_pixels(path, placed.positions_px, raw.patterns.shape[1])
    return replace(
        placed,
        counts_per_photon=options.counts_per_photon or 1.0,
        clips_negative=options.intensity_kind == "counts",
        mean_counts=None if masked.mask is not raw.mask or options.counts_per_photon else raw.mean_counts,
    )


def kept_rows(path: Path, n_patterns: int, options: ScanOptions, found: IntArray) -> IntArray:
    """Return the rows that stay: all but those named, or those found where the user leaves it to the program.

    Raises
    ------
    DataFormatError
        If a number is beyond the last pattern, or no pattern is left.
    """
    named = np.array(options.frames_to_drop(), np.int64)
    dropped = found if options.drop_frames == "auto" else named
    if dropped.size and dropped.max() >= n_patterns:
        msg = (
            f"data.drop_frames names pattern {dropped.max()}, but {path} holds {n_patterns}; expected numbers "
            f"from 0 to {n_patterns - 1}. Change it."
        )
        raise DataFormatError(msg)
    kept = np.setdiff1d(np.arange(n_patterns), dropped)
    if not kept.size:
        msg = f"data.drop_frames leaves none of the {n_patterns} patterns in {path}; expected some. Change it."
        raise DataFormatError(msg)
    return kept


def select(raw: RawScan, rows: IntArray, bad_pixels: BoolArray) -> RawScan:
    """Keep some rows, and leave some pixels out besides those of the mask.

    Parameters
    ----------
    raw
        The scan.
    rows
        int64, shape (n,): what is kept, ascending.
    bad_pixels
        bool, shape (N, N): pixels to leave out.

    Raises
    ------
    DataFormatError
        If no pixel is left.
    """
    mask, conversions, left_out = raw.mask, list(raw.conversions), raw.left_out
    count, total = len(rows), raw.patterns.shape[0]
    if bad_pixels.any():
        new = bad_pixels if mask is None else mask & bad_pixels
        mask = ~bad_pixels if mask is None else mask & ~bad_pixels
        conversions.append(f"mask: {int(bad_pixels.sum())} saturated or dead pixels left out")
        left_out = (*left_out, ("saturated or without counts", new))
    if mask is not None and not mask.any():
        msg = "every detector pixel is saturated in some pattern, or masked; expected valid ones. Drop such patterns."
        raise DataFormatError(msg)
    patterns, positions = raw.patterns, raw.positions_px
    if count < total:
        patterns, positions = SelectedRows(patterns, rows), positions[rows]
        conversions.append(f"patterns: {total - count} of {total} dropped; {count} are numbered anew from 0")
    is_same = count == total and not bad_pixels.any()
    return replace(
        raw,
        patterns=patterns,
        positions_px=positions,
        mask=mask,
        left_out=left_out,
        conversions=tuple(conversions),
        mean_counts=raw.mean_counts if is_same else None,
    )


def _turned(raw: RawScan, options: ScanOptions) -> RawScan:
    turn = Turn.of(options)
    if turn == Turn():
        return raw
    said = ", ".join(name for name in ("transpose", "flip_rows", "flip_columns") if getattr(options, name))
    mask = None if raw.mask is None else np.array(turn(raw.mask))
    left_out = tuple((name, np.array(turn(bad))) for name, bad in raw.left_out)
    words = (*raw.conversions, f"patterns: turned ({said})")
    return replace(raw, turn=turn, mask=mask, left_out=left_out, conversions=words)


def _masked(raw: RawScan, options: ScanOptions) -> RawScan:
    if options.mask is None:
        return raw
    path = Path(options.mask)
    detector = raw.detector
    shapes = [] if detector is None else [detector.shape]
    valid, said = read_mask(path, options.mask_polarity, [raw.patterns.shape[1:], *shapes])
    if detector is not None and valid.shape == detector.shape:
        valid = detector.place(valid)
    valid = np.array(raw.turn(valid))
    return replace(
        raw,
        mask=valid if raw.mask is None else raw.mask & valid,
        left_out=(*raw.left_out, ("mask given by --mask", ~valid if raw.mask is None else raw.mask & ~valid)),
        companions=(*raw.companions, file_of(path)),
        conversions=(*raw.conversions, said),
    )


def _placed(path: Path, raw: RawScan, options: ScanOptions) -> RawScan:
    """Positions as the user says; the place of a stored object is unknown where they change."""
    moved = _positions(path, raw, options)
    if moved is raw.positions_px:
        return raw
    said = [name for name in ("swap_positions", "negate_y", "negate_x") if getattr(options, name)]
    said += [f"from {options.position_unit}"] if options.position_unit != "px" else []
    return replace(
        raw,
        positions_px=moved,
        object_origin_px=None,
        conversions=(*raw.conversions, f"positions: {', '.join(said)}"),
    )


def _positions(path: Path, raw: RawScan, options: ScanOptions) -> FloatArray:
    positions = raw.positions_px
    unit_m = POSITION_UNITS[options.position_unit]
    if unit_m is not None:
        pixel_m = raw.pixel_size_m if raw.pixel_size_m > 0 else options.pixel_size_m
        if pixel_m is None:
            msg = (
                f"data.position_unit = {options.position_unit!r}, but {path} does not say the size of an object "
                "pixel; expected it. Give --pixel_size_m."
            )
            raise DataFormatError(msg)
        positions = positions * (unit_m / pixel_m)
    if options.swap_positions:
        positions = positions[:, ::-1]
    signs = np.array([-1.0 if options.negate_y else 1.0, -1.0 if options.negate_x else 1.0])
    return positions if (signs > 0).all() else positions * signs
