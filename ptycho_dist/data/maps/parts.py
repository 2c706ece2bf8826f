"""The frames that a map names: one dataset, or parts that follow each other, some of which may be missing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.base import PatternSource
from ptycho_dist.data.formats.hdf5_frames import JoinedFrames, h5_frames
from ptycho_dist.data.formats.hdf5_links import MissingFileError, load_attributes, locate, shape_of
from ptycho_dist.data.formats.hdf5_numbers import attribute_number
from ptycho_dist.data.maps.schema import Patterns, ScanMap, Where
from ptycho_dist.data.maps.values import Files, expand, is_there, plain_numbers
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

_MOST_NUMBER = 10**12
"""Largest number of a frame that is believed."""

_FRAME_AXES = 3


@dataclass
class Parts:
    """Frames of a scan in one dataset or several.

    Parameters
    ----------
    sources
        Frames of each part.
    starts
        Number in the measurement of the first frame of each.
    labels
        Number in the name of each part; None where there is none.
    within
        int64: number of each frame within its part, from 0; some are left out where frames were dropped.
    absent
        Why parts that are announced are not there.
    """

    sources: list[PatternSource] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    labels: list[int | None] = field(default_factory=list)
    within: list[IntArray] = field(default_factory=list)
    absent: list[MissingFileError] = field(default_factory=list)

    def joined(self) -> PatternSource:
        """All frames as one source."""
        return self.sources[0] if len(self.sources) == 1 else JoinedFrames(self.sources)

    def lengths(self) -> list[int]:
        """Frames in each part."""
        return [one.shape[0] for one in self.sources]

    def numbers(self) -> IntArray:
        """Return the number in the measurement of each frame, from 0."""
        return np.concatenate([first + within for first, within in zip(self.starts, self.within, strict=True)])

    def lines(self) -> list[int]:
        """Return the line of a raster that each part is, from 0: by the numbers in their names, if all have one."""
        told = [one for one in self.labels if one is not None]
        if len(set(told)) < len(self.labels):
            return list(range(len(self.labels)))
        return [one - min(told) for one in told]

    def said(self) -> list[str]:
        """Say what is missing."""
        there = len(self.sources)
        return [f"patterns: {there} of {there + len(self.absent)} announced parts are there"] if self.absent else []


def parts_of(files: Files, scan_map: ScanMap) -> tuple[Patterns, Parts]:
    """Open the frames: one dataset, or several that follow each other.

    Returns
    -------
    Patterns
        The alternative of the map that the file has.
    Parts
        The frames.

    Raises
    ------
    DataFormatError
        If there are none, or parts are missing that may not be.
    """
    chosen = next((one for one in scan_map.patterns if is_there(files, one)), None)
    if chosen is None or chosen.path is None:
        looked = ", ".join(f"{one.path}{f' in {one.file}' if one.file else ''}" for one in scan_map.patterns)
        msg = (
            f"{files.path} has no frames where the map {scan_map.name} expects them ({looked}). Put the file that has "
            "them beside it, or name their place in a map (patterns: path:)."
        )
        raise DataFormatError(msg)
    parts = Parts()
    for path in files.matching(chosen.file):
        for key in _keys(path, chosen.path, join_all=chosen.join_all):
            _add_part(files, chosen, parts, (path, key))
    if parts.absent and (not parts.sources or chosen.missing_parts == "refuse"):
        msg = f"{files.path} is a scan without its frames, by the map {scan_map.name}: {parts.absent[0]}"
        raise DataFormatError(msg)
    return chosen, parts


def _first_frame_said(path: Path, key: str, chosen: Patterns) -> int | None:
    """Return the number of the first frame of a part, from 0, as its attribute says; None where nothing does."""
    name = chosen.number_attribute
    attributes = load_attributes(path, key) if name else {}
    if not name or name not in attributes:
        return None
    number = attribute_number(path, attributes, name)
    if not abs(number) <= _MOST_NUMBER:
        msg = f"{key!r} in {path} says {name} = {number:g}; expected the number of its first frame. Correct the file."
        raise DataFormatError(msg)
    return int(number) - chosen.first_number


def _add_part(files: Files, chosen: Patterns, parts: Parts, place_: tuple[Path, str]) -> None:
    path, key = place_
    try:
        source, others = h5_frames(path, key, chosen.axes)
    except MissingFileError as error:
        parts.absent.append(error)
        return
    said = _first_frame_said(path, key, chosen)
    if said is None and parts.absent:
        msg = f"{parts.absent[0]} Frames follow it in {key!r}, and nothing tells their numbers."
        raise DataFormatError(msg)
    after = parts.starts[-1] + int(parts.within[-1][-1]) + 1 if parts.sources else 0
    parts.starts.append(after if said is None else said)
    parts.within.append(_within(path, chosen, source.shape[0]))
    named = re.findall(r"\d+", path.stem if chosen.file is not None else key)
    parts.labels.append(int(named[-1]) if named else None)
    parts.sources.append(source)
    for one in (path, *others):
        files.use(one)


def _within(path: Path, chosen: Patterns, n_frames: int) -> IntArray:
    """Return numbers of the frames of a part, by the detector's counter where the map names one."""
    if chosen.counter is None or shape_of(path, chosen.counter) is None:
        return np.arange(n_frames)
    counts = plain_numbers(path, Where(path=chosen.counter), "patterns.counter").ravel()
    rises = len(counts) == n_frames and np.isfinite(counts).all() and bool((np.diff(counts) >= 1).all())
    if not rises:
        msg = f"the counter {chosen.counter!r} in {path} does not rise with its {n_frames} frames; expected that. "
        raise DataFormatError(msg + "Leave counter: out of the map.")
    return np.asarray(counts - counts[0], np.int64)


def _keys(path: Path, pattern: str, *, join_all: bool) -> list[str]:
    """List the paths of the parts; a * before the last name fits one dataset of frames only, unless all are joined."""
    found = expand(path, pattern)
    if join_all or "*" not in pattern.rpartition("/")[0]:
        return found
    frames = [key for key in found if _may_be_frames(path, key)]
    if len(frames) > 1:
        msg = f"{pattern!r} fits {len(frames)} datasets in {path} ({', '.join(frames[:4])}); expected one. Name it."
        raise DataFormatError(msg)
    return frames or found[:1]


def _may_be_frames(path: Path, key: str) -> bool:
    """Tell whether a path holds frames, or is a link to a missing file that may."""
    try:
        found = shape_of(path, key)
    except MissingFileError:
        return _leads_somewhere(path, key.rpartition("/")[0])
    return found is not None and len(found[0]) >= _FRAME_AXES


def _leads_somewhere(path: Path, key: str) -> bool:
    try:
        return locate(path, key) is not None
    except MissingFileError:
        return False
