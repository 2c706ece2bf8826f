"""Guesses from names, shapes and sizes of numbers: what in an unknown file may be frames, positions, energy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ptycho_dist.data.formats.contents import Entry
from ptycho_dist.data.maps.units import is_unit

_LEAST_SIDE = 8
_SHORT = 3
_FRAME_WORDS = ("frame", "data", "image", "detector")
_NO_FRAMES = ("probe", "object", "mask", "dark", "flat", "weight", "image_1", "image_2", "background")
_AN_X = (r"(?i)x(?=[^a-z]*$)", r"(?i)(?<![a-z])x", r"(?i)x")
"""Where the x of a name may be: at its end, at the start of a word, anywhere."""
_POSITION_WORDS = ("pos", "translation", "encoder", "points", "scan", "coord", "motor", "stage", "sample", "pseudo")
_NO_POSITIONS = ("pixel", "center", "centre", "offset", "range", "origin", "size", "max", "index", "flux")
SUFFIXES = ("_um", "_mm", "_nm", "_m", "_kev", "_ev", "_pm")


@dataclass(frozen=True)
class Frames:
    """What may be the frames.

    Parameters
    ----------
    path
        In the file; may have a * for parts.
    axes
        Names of the axes.
    count
        Number of frames.
    sides
        (H, W).
    """

    path: str
    axes: tuple[str, ...]
    count: int
    sides: tuple[int, int]


def frames_of(entries: Sequence[Entry]) -> Frames | None:
    """Guess the frames: the largest array of real numbers with three or more axes; parts of one name are joined."""
    fitting = [one for one in entries if _may_be_frames(one)]
    if not fitting:
        return _missing_frames(entries)
    parts: dict[str, list[Entry]] = {}
    for one in fitting:
        parts.setdefault(re.sub(r"\d+$", "*", one.key), []).append(one)
    path, chosen = max(parts.items(), key=lambda item: sum(one.n_bytes for one in item[1]))
    shape = chosen[0].shape or ()
    lengths = {one.size for one in entries if one.shape is not None and len(one.shape) == 1}
    axes = _axes(shape, lengths)
    per_frame = [n for n, axis in zip(shape, axes, strict=True) if axis != "frame"]
    count = sum(one.size for one in chosen) // (per_frame[0] * per_frame[1])
    sides = (shape[axes.index("y")], shape[axes.index("x")])
    return Frames(path if len(chosen) > 1 else chosen[0].key, axes, count, sides)


def _missing_frames(entries: Sequence[Entry]) -> Frames | None:
    """Guess the frames behind a link to a file that is not there: as many as most of the arrays have values."""
    broken = [one for one in entries if one.is_missing and any(word in one.name.lower() for word in _FRAME_WORDS)]
    lengths = Counter(one.size for one in entries if one.shape is not None and one.size > 1)
    if not broken or not lengths:
        return None
    return Frames(broken[0].key, ("frame", "y", "x"), lengths.most_common(1)[0][0], (0, 0))


def _may_be_frames(one: Entry) -> bool:
    shape = one.shape or ()
    is_named_otherwise = any(word in one.name.lower() for word in _NO_FRAMES)
    is_real = one.dtype is not None and one.dtype.kind in "iufb"
    return len(shape) >= 3 and is_real and sum(n >= _LEAST_SIDE for n in shape) >= 2 and not is_named_otherwise


def _axes(shape: tuple[int, ...], lengths: set[int]) -> tuple[str, ...]:
    """Name the axes: frames first, unless only the last one has the length of other arrays."""
    is_last = len(shape) == 3 and shape[0] == shape[1] != shape[2] and shape[0] not in lengths and shape[2] in lengths
    return ("y", "x", "frame") if is_last else (*("frame",) * (len(shape) - 2), "y", "x")


@dataclass(frozen=True)
class Places:
    """What may be the positions: y and x, or one array of both.

    Parameters
    ----------
    y, x
        Entries; the same one where it holds both.
    axes
        Of an array of both; empty where there are two.
    """

    y: Entry
    x: Entry
    axes: tuple[str, ...] = ()


def places_of(entries: Sequence[Entry], n_frames: int) -> Places | None:
    """Guess the positions: two arrays of one group whose names differ by x and y, or one array of both."""
    arrays = [one for one in entries if _may_be_position(one)]
    found = [*_pairs(arrays, n_frames), *_joint(arrays, n_frames)]
    return max(found, key=lambda one: _score(one, n_frames), default=None)


def _may_be_position(one: Entry) -> bool:
    is_real = one.dtype is not None and one.dtype.kind in "iuf" and one.shape is not None and one.size > 1
    return is_real and not any(word in one.name.lower() for word in _NO_POSITIONS)


def _pairs(arrays: Sequence[Entry], n_frames: int) -> Iterable[Places]:
    by_key = {one.key: one for one in arrays}
    for one in arrays:
        for pattern in _AN_X:
            name = re.sub(pattern, _as_y, one.name, count=1)
            partner = by_key.get(f"{one.parent}/{name}".lstrip("/"))
            if partner is not None and partner is not one and _belong(partner, one, n_frames):
                yield Places(partner, one)
                break


def _as_y(found: re.Match[str]) -> str:
    return "Y" if found[0].isupper() else "y"


def _belong(y: Entry, x: Entry, n_frames: int) -> bool:
    return y.size == x.size >= n_frames or (y.size * x.size == n_frames and y.size > 1 and x.size > 1)


def _joint(arrays: Sequence[Entry], n_frames: int) -> Iterable[Places]:
    for one in arrays:
        shape = one.shape or ()
        is_named = any(word in one.name.lower() for word in _POSITION_WORDS)
        if len(shape) == 2 and is_named and n_frames in shape and min(shape) in (2, 3):
            names = "[x, y]" if min(shape) == 2 else "[x, y, z]"
            yield Places(one, one, ("point", names) if shape[0] == n_frames else (names, "point"))


def _score(one: Places, n_frames: int) -> tuple[int, int, int]:
    fits = 2 if one.y.size == n_frames or one.axes else 1 if one.y.size * one.x.size == n_frames else 0
    words = sum(word in one.x.key.lower() for word in _POSITION_WORDS)
    return fits, words, -len(one.x.key)


def named(entries: Sequence[Entry], words: Sequence[str], without: Sequence[str] = ()) -> Entry | None:
    """Guess a number by its name: the first of ``words`` that a name has, the shortest path of those."""
    for word in words:
        fitting = [
            one
            for one in entries
            if _has_word(one.name.lower(), word)
            and not any(other in one.key.lower() for other in without)
            and one.dtype is not None
            and one.dtype.kind in "iuf"
            and one.numbers is not None
            and one.numbers[0] != 0
        ]
        if fitting:
            return min(fitting, key=lambda one: len(one.key))
    return None


def _has_word(name: str, word: str) -> bool:
    """Tell whether a name has a word in it; a short word has to be the whole name."""
    return word in name if len(word) > _SHORT else word == name


def unit_of(entry: Entry, by_size: Sequence[tuple[float, str]]) -> tuple[str, str]:
    """Guess the unit of an entry, and say how.

    Parameters
    ----------
    entry
        What has a unit.
    by_size
        Upper limits of the absolute value and the unit below each.
    """
    if entry.units and is_unit(entry.units):
        return "from_attribute", f"the file says {entry.units}"
    name = entry.name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            unit = {"_kev": "keV", "_ev": "eV"}.get(suffix, suffix[1:])
            return unit, "by its name"
    size = abs(entry.numbers[0]) if entry.numbers else 1.0
    return next((unit for limit, unit in by_size if size < limit), by_size[-1][1]), "a guess by its size"
