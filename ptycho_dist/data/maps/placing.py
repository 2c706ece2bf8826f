"""Positions that a map names, joined with the frames: (y, x) for each frame, and which frames have one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptycho_dist.data.formats import measurement as core
from ptycho_dist.data.maps.parts import Parts
from ptycho_dist.data.maps.schema import Join, Positions, Quantity, Raster
from ptycho_dist.data.maps.units import LENGTH
from ptycho_dist.data.maps.values import Files, array, first_there, is_there, number, plain_numbers
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import FloatArray, IntArray

_MOST_SURPLUS = 100


@dataclass(frozen=True)
class Placed:
    """Positions of frames.

    Parameters
    ----------
    positions
        One for each of ``rows``.
    rows
        int64, shape (n,): the frames that have a position; None for all, in order.
    said
        What was done, in words.
    """

    positions: core.Positions
    rows: IntArray | None
    said: tuple[str, ...]


def place(files: Files, alternatives: Sequence[Positions], parts: Parts, *, is_growing: bool = False) -> Placed:
    """Find positions and join them with the frames.

    Parameters
    ----------
    files
        Files of the scan.
    alternatives
        The first that is there is taken.
    parts
        The frames.
    is_growing
        Whether the scan is still measured: then the longer one of y and x is cut.

    Raises
    ------
    DataFormatError
        If none is there, or they do not fit the frames.
    """
    chosen = next((one for one in alternatives if _is_there(files, one)), None)
    if chosen is None:
        raise DataFormatError(_missing(files, alternatives))
    found, said = _values(files, chosen, parts, is_growing=is_growing)
    found = replace(found, values=found.values * np.array([chosen.sign_y, chosen.sign_x]))
    if chosen.join.by == "order":
        found, cut = _in_order(files, found, chosen, parts.numbers())
        return Placed(found, None, (*said, *cut))
    return _joined(files, found, chosen.join, parts.numbers())


def _is_there(files: Files, one: Positions) -> bool:
    if one.raster is not None:
        return True
    if one.both is not None:
        return is_there(files, one.both) and _has_axes(files, one)
    return first_there(files, one.y or ()) is not None and first_there(files, one.x or ()) is not None


def _has_axes(files: Files, one: Positions) -> bool:
    """Tell whether the array of both has as many components as its axes name."""
    assert one.both is not None
    path = files.one(one.both)
    if path is None or one.both.column is not None:
        return path is not None
    shape = plain_numbers(path, one.both, "positions").shape
    return len(shape) == 2 and shape[1 - one.axes.index("point")] == len(_components(one))


def _components(one: Positions) -> tuple[str, ...]:
    return next(part for part in one.axes if part != "point")


def _missing(files: Files, alternatives: Sequence[Positions]) -> str:
    names = []
    for one in alternatives:
        places = [one.both] if one.both is not None else [*(one.y or ()), *(one.x or ())]
        names += [f"{p.path or f'column {p.column}'}{f' in {p.file}' if p.file else ''}" for p in places]
    looked = ", ".join(dict.fromkeys(names))
    return (
        f"{files.path} has no positions where the map expects them ({looked}); expected one for each frame. Name their "
        "place in a map (positions: y: and x:), or put that file beside the scan."
    )


def _values(files: Files, chosen: Positions, parts: Parts, *, is_growing: bool) -> tuple[core.Positions, list[str]]:
    n_frames = sum(parts.lengths())
    if chosen.raster is not None:
        return _raster(files, chosen.raster, n_frames)
    if chosen.both is not None:
        both, in_pixels = array(files, chosen.both, LENGTH, "positions")
        both = both.T if chosen.axes.index("point") == 1 else both
        names = _components(chosen)
        return _of(both[:, [names.index("y"), names.index("x")]], chosen, in_pixels=in_pixels), []
    (y, y_px), (x, x_px) = (_axis(files, quantities or ()) for quantities in (chosen.y, chosen.x))
    if y_px != x_px:
        msg = f"positions in {files.path} are in pixels along one axis only; expected one unit. Change the map."
        raise DataFormatError(msg)
    said: list[str] = []
    by_lengths = y.size * x.size == n_frames and not y.size == x.size == n_frames
    if chosen.grid or (chosen.grid is None and by_lengths):
        y, x, said = _grid(files, (y, x), chosen, parts)
    if is_growing:
        y, x = (one.ravel()[: min(y.size, x.size)] for one in (y, x))
    if y.size != x.size:
        msg = (
            f"{files.path} holds {y.size} positions along y (shape {y.shape}) and {x.size} along x (shape {x.shape}); "
            "expected equal numbers, or axes of a raster (grid: true in the map)."
        )
        raise DataFormatError(msg)
    return _of(np.stack([y.ravel(), x.ravel()], axis=1), chosen, in_pixels=y_px), said


def _of(values: FloatArray, chosen: Positions, *, in_pixels: bool) -> core.Positions:
    unit = core.PIXELS if in_pixels else core.METRES
    return core.Positions(values=values, unit=unit, refer_to=chosen.refer_to)


def _axis(files: Files, quantities: Sequence[Quantity]) -> tuple[FloatArray, bool]:
    found = first_there(files, quantities)
    assert found is not None
    return array(files, found, LENGTH, "positions")


def _grid(
    files: Files, axes: tuple[FloatArray, FloatArray], chosen: Positions, parts: Parts
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Positions of a raster from its axes: of the slow axis one value for each line."""
    y, x = (one.ravel() for one in axes)
    slow, fast = (y, x) if chosen.slow == "y" else (x, y)
    if chosen.surplus == "drop_last_of_part":
        line, point, said = _of_lines(files, (len(slow), len(fast)), parts)
    else:
        _require_few(files, len(slow) * len(fast), sum(parts.lengths()))
        line, point = np.divmod(np.arange(len(slow) * len(fast)), len(fast))
        said = []
    return (slow[line], fast[point], said) if chosen.slow == "y" else (fast[point], slow[line], said)


def _of_lines(files: Files, shape: tuple[int, int], parts: Parts) -> tuple[IntArray, IntArray, list[str]]:
    """Line and point of each frame, where each file of frames is a line, from which frames may be missing."""
    lines, longest = parts.lines(), max(int(one[-1]) + 1 for one in parts.within)
    if max(lines) >= shape[0] or longest > shape[1]:
        msg = (
            f"{files.path} has a raster of {shape[0]} lines of {shape[1]} positions, and files of frames for "
            f"{max(lines) + 1} lines of up to {longest}; expected no more lines or frames. Leave files out."
        )
        raise DataFormatError(msg)
    dropped = shape[0] * shape[1] - sum(parts.lengths())
    said = [f"positions: {dropped} of the raster left out, which have no frame"] if dropped else []
    line = np.repeat(lines, parts.lengths())
    return line, np.concatenate(parts.within), said


def _raster(files: Files, raster: Raster, n_frames: int) -> tuple[core.Positions, list[str]]:
    """Positions of a raster from its steps, rotated about its first point."""
    rows, columns = _sides(files, raster, n_frames)
    _require_few(files, rows * columns, n_frames)
    lines, points = (rows, columns) if raster.slow == "y" else (columns, rows)
    line, point = np.divmod(np.arange(lines * points), points)
    if raster.snake:
        point = np.where(line % 2 == 1, points - 1 - point, point)
    y, x = (line, point) if raster.slow == "y" else (point, line)
    steps = [first_there(files, one) for one in (raster.step_y, raster.step_x)]
    step_y, step_x = (
        number(files, one, LENGTH, name)
        for one, name in ((raster.step_y, "raster.step_y"), (raster.step_x, "raster.step_x"))
    )
    angle = math.radians(raster.rotation_deg)
    turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    in_pixels = all(one is not None and one.unit is not None and one.unit.default == "px" for one in steps)
    values = np.stack([y * step_y, x * step_x], axis=1) @ turned.T
    unit = core.PIXELS if in_pixels else core.METRES
    said = [f"positions: raster of {rows} x {columns}, steps {step_y:.4g} and {step_x:.4g} {unit}"]
    return core.Positions(values=values, unit=unit), said


def _require_few(files: Files, n_positions: int, n_frames: int) -> None:
    """Refuse a raster far larger than the scan, before memory is taken for it."""
    if n_positions > _MOST_SURPLUS * n_frames + _MOST_SURPLUS:
        msg = (
            f"{files.path} has a raster of {n_positions} positions for {n_frames} frames; expected as many. Change it."
        )
        raise DataFormatError(msg)


def _sides(files: Files, raster: Raster, n_frames: int) -> tuple[int, int]:
    rows, columns = (
        number(files, one or (), LENGTH, name) for one, name in ((raster.rows, "rows"), (raster.columns, "columns"))
    )
    if math.isnan(rows) and math.isnan(columns):
        side = math.isqrt(n_frames)
        rows = columns = side if side * side == n_frames else math.nan
    rows = n_frames / columns if math.isnan(rows) else rows
    columns = n_frames / rows if math.isnan(columns) else columns
    if not (rows == int(rows) and columns == int(columns)) if math.isfinite(rows * columns) else True:
        msg = f"{files.path} holds {n_frames} frames; expected whole rows. Give raster: rows: and columns: in the map."
        raise DataFormatError(msg)
    return int(rows), int(columns)


def _in_order(
    files: Files, found: core.Positions, chosen: Positions, numbers: IntArray
) -> tuple[core.Positions, tuple[str, ...]]:
    """Give each frame the position of its number in the measurement."""
    n_frames = len(numbers)
    if numbers.max() >= n_frames and len(found.values) != n_frames:
        if numbers.max() >= len(found.values):
            msg = (
                f"{files.path} holds frames up to number {numbers.max()} (some are missing) and {len(found.values)} "
                "positions; expected a position for each number. Put the missing parts beside it."
            )
            raise DataFormatError(msg)
        return replace(found, values=found.values[numbers]), ("positions: those without a frame left out",)
    surplus = len(found.values) - n_frames
    if surplus <= 0 or chosen.surplus != "drop_last":
        return found, ()
    said = f"positions: the last {surplus} of {len(found.values)} left out, for there are {n_frames} frames"
    return replace(found, values=found.values[:n_frames]), (said,)


def _joined(files: Files, found: core.Positions, join: Join, in_file: IntArray) -> Placed:
    """Join by number; positions of one number are averaged, frames and positions without the other are left out."""
    assert join.positions is not None
    numbers = _numbers(files, join.positions, "join.positions", len(found.values))
    n_frames = len(in_file)
    first = _first(numbers, in_file) if join.first is None else join.first
    frames = in_file + first if join.frames is None else _numbers(files, join.frames, "join.frames", n_frames)
    unique, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    if join.by == "index" and len(unique) < len(numbers):
        msg = (
            f"{len(numbers) - len(unique)} position numbers in {files.path} occur twice; expected each once. Where "
            "they are triggers that are averaged, say by: trigger in the map."
        )
        raise DataFormatError(msg)
    sums = np.stack([np.bincount(which, found.values[:, axis], len(unique)) for axis in (0, 1)], axis=1)
    means = sums / counts[:, None]
    at = np.searchsorted(unique, frames).clip(0, len(unique) - 1)
    has = unique[at] == frames
    if not has.any():
        msg = (
            f"none of the {n_frames} frames in {files.path} (numbers {frames.min()} to {frames.max()}) has a position "
            f"(numbers {unique.min()} to {unique.max()}); expected the same numbers. Change first: of the join."
        )
        raise DataFormatError(msg)
    rows = np.flatnonzero(has)
    said = [f"positions: joined by {join.by}{f', frames counted from {first}' * (join.frames is None)}"]
    if join.by == "trigger" and counts.max() > 1:
        said.append(f"positions: {len(numbers)} readings averaged to {len(unique)}")
    unused = len(unique) - len(np.unique(frames[has]))
    said += [f"positions: {unused} without a frame left out"] if unused else []
    said += [f"patterns: {n_frames - len(rows)} of {n_frames} without a position left out"] * (len(rows) < n_frames)
    return Placed(replace(found, values=means[at[has]]), None if has.all() else rows, tuple(said))


def _first(numbers: IntArray, in_file: IntArray) -> int:
    """Return 1 where the positions have just the numbers from 1 to that of the last frame, else 0."""
    return int(numbers.min() == 1 and numbers.max() == in_file.max() + 1)


def _numbers(files: Files, place_: Quantity, name: str, length: int) -> IntArray:
    parts = [plain_numbers(files.use(path), place_, name).ravel() for path in files.matching(place_.file)]
    values = np.concatenate(parts) if parts else np.empty(0)
    if len(values) != length or not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        msg = f"{name} in {files.path} has {len(values)} numbers; expected {length} whole ones. Change the map."
        raise DataFormatError(msg)
    return values.astype(np.int64)
