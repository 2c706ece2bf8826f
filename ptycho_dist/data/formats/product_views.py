"""Groups of a product by which NeXus viewers (silx, h5web, NeXpy) open object and probe as images.

``/entry`` (NXentry) has ``object`` and ``probe`` (NXdata), each with amplitude and phase as real numbers, for few
viewers draw complex ones, over axes in metres. Of an object above 2048 pixels every so many rows and columns are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.types import FloatArray

ENTRY = "entry"
SIDE_PX = 2048
"""Pixels along a side of the shown object at most."""
_NUMBERS = {2: "second", 3: "third"}
_METRES, _PIXELS = "m", "object pixel"


def write_views(file: h5py.File) -> None:
    """Add the groups to a product whose object and probe are written; no more than a shown object is in memory.

    Parameters
    ----------
    file
        The product, open for writing; groups that are there already are replaced.
    """
    if ENTRY in file:
        del file[ENTRY]
    units = _METRES if file.attrs["units_known"] else _PIXELS
    file.attrs.update({"NX_class": "NXroot", "default": ENTRY})
    entry = file.create_group(ENTRY)
    entry.attrs.update({"NX_class": "NXentry", "default": "object"})
    entry["title"] = str(file.attrs.get("name", ""))
    _write_object(entry, file["object"], units)
    _write_probe(entry, file["probe"], units)


def _write_object(entry: h5py.Group, whole: h5py.Dataset, units: str) -> None:
    step = -(-max(whole.shape[-2:]) // SIDE_PX)
    shown = np.stack([whole[0, row, :][::step] for row in range(0, whole.shape[-2], step)])
    every = "" if step == 1 else f", preview: every {_NUMBERS.get(step, f'{step}th')} row and column"
    held = {"phase": (np.angle(shown), "rad"), "amplitude": (np.abs(shown), "1")}
    group = _write_data(entry, "object", f"object{every}", held, ("y", "x"))
    group.attrs["preview_step_px"] = step
    for name, side in zip(("y", "x"), whole.shape[-2:], strict=True):
        pixel, centre = whole.attrs[f"pixel_{'height' if name == 'y' else 'width'}_m"], whole.attrs[f"center_{name}_m"]
        _write_axis(group, name, (np.arange(0, side, step) - (side - 1) / 2) * pixel + centre, units)


def _write_probe(entry: h5py.Group, whole: h5py.Dataset, units: str) -> None:
    modes = whole[0]
    held = {"amplitude": (np.abs(modes), "sqrt(photons)"), "phase": (np.angle(modes), "rad")}
    group = _write_data(entry, "probe", "probe modes", held, ("mode", "y", "x"))
    N, pixel = modes.shape[-1], whole.attrs["pixel_width_m"]
    for name in ("y", "x"):
        _write_axis(group, name, (np.arange(N) - (N - 1) / 2) * pixel, units)
    _write_axis(group, "mode", np.arange(1.0, len(modes) + 1), "")


def _write_data(
    entry: h5py.Group, name: str, title: str, held: Mapping[str, tuple[NDArray[Any], str]], axes: tuple[str, ...]
) -> h5py.Group:
    """Write an NXdata group; the first of what it holds is plotted, the others may be chosen."""
    signal, *others = held
    group = entry.create_group(name)
    group["title"] = title
    words = h5py.string_dtype()
    group.attrs.update({"NX_class": "NXdata", "signal": signal, "interpretation": "image"})
    group.attrs["axes"] = np.array(axes, words)
    group.attrs["auxiliary_signals"] = np.array(others, words)
    for key, (values, units) in held.items():
        dataset = group.create_dataset(key, data=np.asarray(values, np.float32))
        dataset.attrs.update({"units": units, "interpretation": "image", "long_name": f"{title}, {key} ({units})"})
    return group


def _write_axis(group: h5py.Group, name: str, places: FloatArray, units: str) -> None:
    axis = group.create_dataset(name, data=np.asarray(places, np.float64))
    axis.attrs["long_name"] = f"{name} ({units})" if units else name
    if units:
        axis.attrs["units"] = units
