"""A draft of a map for a file that is not known: what can be guessed, and what is left to fill in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.contents import Entry, contents
from ptycho_dist.data.formats.hdf5_frames import h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array
from ptycho_dist.data.maps.guesses import SUFFIXES, Frames, Places, frames_of, named, places_of, unit_of
from ptycho_dist.data.maps.units import LENGTH, factor
from ptycho_dist.data.maps.values import expand
from ptycho_dist.errors import DataFormatError

_ENERGY = ("photon_energy", "energy", "mono")
_WAVELENGTH = ("wavelength", "lambda")
_DISTANCE = ("detector_distance", "distance", "det_dist", "camera_length", "z_m", "zo")
_PIXEL = (
    "x_pixel_size",
    "pixel_size",
    "det_pixel",
    "ccd_pixel",
    "detector_pixel",
    "dxd",
    "pixel_m",
    "pixel_um",
    "psize",
)
_ENERGY_SIZES = ((1e-10, "J"), (5e1, "keV"), (4e5, "eV"))
_WAVELENGTH_SIZES = ((1e-5, "m"), (1e-2, "um"), (0.5, "nm"), (1e3, "A"))
_DISTANCE_SIZES = ((2e1, "m"), (5e4, "mm"), (1e9, "um"))
_PIXEL_SIZES = ((1e-2, "m"), (1.0, "mm"), (1e4, "um"))
_POSITION_UNITS = ("m", "mm", "um", "nm")
_USUAL_STEP_M = 5e-7
_MASKS = ("mask", "bad_pixel", "badpixel", "pixel_mask")


@dataclass
class Draft:
    """A draft of a map.

    Parameters
    ----------
    lines
        Its text.
    missing
        What is not in the file, and the flag or key that gives it.
    """

    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The YAML text."""
        return "".join(f"{line}\n" for line in self.lines)


def draft_of(path: Path) -> Draft:
    """Draft a map for an HDF5 file.

    Raises
    ------
    DataFormatError
        If it cannot be read.
    """
    entries = contents(path)[1]
    draft = Draft([f"# Draft of a map for {path.name}. Check every line; what is a guess says so."])
    frames = frames_of(entries)
    if frames is None or frames.sides == (0, 0):
        draft.missing.append(_no_frames(entries))
    if frames is None:
        draft.lines += ["patterns: {path: FILL_IN}", "positions: {y: {path: FILL_IN}, x: {path: FILL_IN}}"]
        return draft
    _patterns(path, draft, frames)
    places = places_of([one for one in entries if one.key != frames.path], frames.count)
    _positions(path, draft, places, frames)
    _mask(path, draft, entries, frames)
    _images(draft, entries, frames)
    _numbers(draft, entries)
    match = [frames.path, *dict.fromkeys([places.y.key, places.x.key] if places is not None else [])]
    draft.lines.insert(1, f"match: [{', '.join(_quoted(one) for one in match)}]")
    return draft


def _no_frames(entries: Sequence[Entry]) -> str:
    broken = [one for one in entries if one.is_missing]
    links = "".join(f"; {one.key} leads to {one.link}, which is not there" for one in broken[:3])
    return f"frames: no array of real numbers with three or more axes{links}. Put the detector's file beside it."


def _quoted(key: str) -> str:
    plain = all(one.isalnum() or one in "_/.-" for one in key)
    return key if plain else '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _patterns(path: Path, draft: Draft, frames: Frames) -> None:
    kind = "amplitude" if "amp" in frames.path.rpartition("/")[2].lower() else "counts"
    said = f"patterns: {{path: {_quoted(frames.path)}, axes: [{', '.join(frames.axes)}], kind: {kind}"
    height, width = frames.sides
    if not height:
        draft.lines.append(f"{said}}}  # a link to a file that is not there")
        return
    where = _zero_frequency(path, frames)
    draft.lines.append(f"{said}, zero_frequency: {where}}}  # {frames.count} frames of {height} x {width}")


def _zero_frequency(path: Path, frames: Frames) -> str:
    """Tell from a few frames whether the light is around the corners or around the middle."""
    keys = expand(path, frames.path)
    source, _ = h5_frames(path, keys[0], frames.axes)
    rows = np.unique(np.linspace(0, source.shape[0] - 1, 8).round().astype(np.int64))
    mean = np.zeros(source.shape[1:])
    for row in rows:
        frame = source.read(np.array([row]))[0].astype(np.float64)
        mean += np.where(np.isfinite(frame) & (frame < 2**31), np.maximum(frame, 0), 0)
    source.close()
    quarter = (max(1, mean.shape[0] // 8), max(1, mean.shape[1] // 8))
    middle = np.fft.fftshift(mean)
    edge = float(mean[: quarter[0], : quarter[1]].sum() + mean[-quarter[0] :, -quarter[1] :].sum())
    centre = float(middle[: quarter[0], : quarter[1]].sum() + middle[-quarter[0] :, -quarter[1] :].sum())
    return "corner" if edge > 2 * centre else "centre"


def _positions(path: Path, draft: Draft, places: Places | None, frames: Frames) -> None:
    if places is None:
        draft.missing.append(
            f"positions: no arrays of {frames.count} values whose names differ by x and y. Give keys positions: y: and "
            'x: (path:, or file: "{stem}..." and column: of a text file), or positions: raster: of a raster scan.'
        )
        draft.lines.append("positions: {y: {path: FILL_IN, unit: um}, x: {path: FILL_IN, unit: um}}")
        return
    unit, how = _position_unit(path, places.x, frames.count)
    draft.lines.append("positions:")
    if places.axes:
        draft.lines.append(f"  both: {{path: {_quoted(places.x.key)}, unit: {unit}}}  # unit: {how}")
        draft.lines.append(f"  axes: [{', '.join(places.axes)}]  # order of x and y: a guess")
    else:
        for axis, one in (("y", places.y), ("x", places.x)):
            draft.lines.append(f"  {axis}: {{path: {_quoted(one.key)}, unit: {unit}}}  # unit: {how}")
    count = places.y.size // (min(places.y.shape or (1,)) if places.axes else 1)
    if count > frames.count and not places.axes:
        draft.lines.append(f"  # {count} positions for {frames.count} frames: name how they belong together, such as")
        draft.lines.append("  # join: {by: trigger, positions: {path: FILL_IN}}   or   surplus: drop_last")
    draft.lines.append("  # signs are not stored: sign: -1 (sign_y: -1 of both:) turns an axis round")


def _position_unit(path: Path, entry: Entry, n_frames: int) -> tuple[str, str]:
    """Guess the unit of positions: that which makes steps of about half a micrometre, where the file does not say."""
    if entry.units or entry.name.lower().endswith(SUFFIXES):
        return unit_of(entry, ((math.inf, "um"),))
    values = load_array(path, entry.key)
    span = float(np.ptp(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
    step = span / math.sqrt(n_frames)
    if not step > 0:
        return "um", "a guess; they do not differ"
    unit = min(_POSITION_UNITS, key=lambda one: abs(math.log10(step * factor(one, LENGTH, entry.key) / _USUAL_STEP_M)))
    return unit, f"a guess by the steps, of about {step * factor(unit, LENGTH, entry.key) * 1e6:.2g} um"


def _mask(path: Path, draft: Draft, entries: Sequence[Entry], frames: Frames) -> None:
    fitting = [one for one in entries if one.shape == frames.sides and any(word in one.name.lower() for word in _MASKS)]
    if not fitting:
        return
    share = float(np.mean(load_array(path, fitting[0].key) != 0))
    meaning = "bad" if share <= 0.5 else "good"
    key = _quoted(fitting[0].key)
    draft.lines.append(f"mask: {{path: {key}, nonzero: {meaning}}}  # {share:.2%} are not zero; the meaning is a guess")


def _images(draft: Draft, entries: Sequence[Entry], frames: Frames) -> None:
    for name in ("dark", "flat"):
        fitting = [one for one in entries if name in one.name.lower() and (one.shape or ())[-2:] == frames.sides]
        if fitting:
            draft.lines.append(f"# {name}: {{path: {_quoted(fitting[0].key)}}}  # take the # away to use it")


def _numbers(draft: Draft, entries: Sequence[Entry]) -> None:
    energy = named(entries, _ENERGY, without=("source_", "threshold", "resolution", "spread"))
    wavelength = None if energy is not None else named(entries, _WAVELENGTH)
    if wavelength is not None:
        _number(draft, "wavelength", wavelength, _WAVELENGTH_SIZES)
    else:
        _number(draft, "energy", energy, _ENERGY_SIZES)
    if wavelength is None and energy is None:
        draft.missing.append("energy: --energy_eV, or energy: {value: ..., unit: keV} in the map")
    for key, words, sizes in (("distance", _DISTANCE, _DISTANCE_SIZES), ("detector_pixel", _PIXEL, _PIXEL_SIZES)):
        found = named(entries, words, without=("object",))
        _number(draft, key, found, sizes)
        if found is None:
            flag = {"distance": "detector_distance_m", "detector_pixel": "detector_pixel_m"}[key]
            draft.missing.append(f"{key}: --{flag}, or {key}: {{value: ..., unit: ...}} in the map")


def _number(draft: Draft, key: str, found: Entry | None, sizes: Sequence[tuple[float, str]]) -> None:
    if found is None:
        unit = {"energy": "keV", "distance": "m"}.get(key, "um")
        draft.lines.append(f"# {key}: {{value: FILL_IN, unit: {unit}}}  # not found in the file")
        return
    unit, how = unit_of(found, sizes)
    draft.lines.append(f"{key}: {{path: {_quoted(found.key)}, unit: {unit}}}  # {found.value}; unit: {how}")


def require_hdf5(path: Path) -> None:
    """Refuse a draft for a file of another kind.

    Raises
    ------
    DataFormatError
        If it is not HDF5.
    """
    kind = contents(path)[0]
    if kind != "hdf5":
        msg = f"{path} is {kind}; a map reads HDF5, so there is no draft. Leave --write_map out."
        raise DataFormatError(msg)
