"""Reader of CXI files: cdtools, PyNX, ALS and SHARP, speckle tracking; Ptychodus with its product beside it.

The file stores the translation t of the sample; row and column of a patch's corner are pinv(B) (-t) over the object
pixel, the columns of B being unit vectors of a step by a row and by a column of the detector (``basis_vectors``). With
the default basis (rows along -y, columns along -x) that is (+t_y, +t_x).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.base import NAN, BoolArray, ComplexArray, PatternSource, RawScan, ScanOptions
from ptycho_dist.data.formats.hdf5_frames import h5_frames
from ptycho_dist.data.formats.hdf5_links import load_array, load_attributes, locate, members, shape_of
from ptycho_dist.data.formats.hdf5_numbers import ENERGIES_EV, LENGTHS_M, attribute_text, first_of, load_numbers, number
from ptycho_dist.data.formats.measurement import ELECTRON, XRAY, Geometry, Measurement, Positions
from ptycho_dist.data.formats.object_pixel import energy_of, wavelength_of
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.formats.ptychodus_join import Joined, join_product
from ptycho_dist.data.formats.registry import register_format
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.wavelengths import HC_EV_M
from ptycho_dist.types import FloatArray

NAME = "cxi"
DETECTOR, SOURCE = "entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"
DATA = ("entry_1/data_1/data", f"{DETECTOR}/data")
TRANSLATIONS = ("entry_1/data_1/translation", "entry_1/sample_1/geometry_1/translation", f"{DETECTOR}/translation")
_PROBES = (f"{SOURCE}/data_illumination", f"{SOURCE}/illumination", "entry_1/image_1/data")
_DARKS = (f"{DETECTOR}/data_dark", f"{DETECTOR}/dark")
_GEOMETRIES = ("geometry", "geometry_1")
_SIGNAL = 0x1000
"""Mask of a pixel with signal above the background; such a pixel counts."""
_AGREES = 1e-3
"""Relative difference of a wavelength from that of electrons of the energy, up to which it is theirs."""
_PYNX_ENERGY = HC_EV_M / 1.2384e-6
"""PyNX computes joules with hc = 1.2384e-6 eV m, so its energies are too low by this factor."""


def detect(keys: Collection[str]) -> bool:
    """Tell whether an HDF5 file is CXI with patterns; NXcxi_ptycho, whose photon energy is elsewhere, is not."""
    has_data = any(key in keys for key in DATA)
    return has_data and "entry_1/instrument_1/beam_1/energy" not in keys


@register_format(NAME, container="hdf5", keys=(*DATA, *TRANSLATIONS, f"{SOURCE}/energy"), detect=detect)
def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a CXI scan.

    Raises
    ------
    DataFormatError
        If it has no translations and no product of Ptychodus beside it, or what is there is damaged.
    """
    frames, companions = h5_frames(path, _require(path, DATA, "patterns"))
    notes: list[str] = []
    translation = _translation_key(path)
    if translation is None:
        joined = join_product(path, frames, np.arange(frames.shape[0]), options.positions_file)
    else:
        joined = _own(path, frames, translation)
    found = Measurement(
        format_name=NAME,
        frames=joined.frames,
        positions=joined.positions,
        geometry=_geometry(path, joined, notes),
        mask=_mask(path),
        beam_center_px=_beam_centre(path),
        probe=joined.probe,
        companions=(*companions, *joined.companions),
        conversions=(*joined.conversions, *notes, *_dark_left(path)),
    )
    return raw_scan_of(path, found, options)


def _require(path: Path, keys: tuple[str, ...], what: str) -> str:
    key = first_of(path, keys)
    if key is None:
        msg = f"{path} is CXI without {what}; expected one of {', '.join(keys)}. Export the scan with it."
        raise DataFormatError(msg)
    return key


def _translation_key(path: Path) -> str | None:
    """Find translations: at the usual places, else of a sample with another number."""
    key = first_of(path, TRANSLATIONS)
    if key is not None:
        return key
    samples = [name for name in members(path, "entry_1") if name.startswith("sample")]
    return first_of(path, [f"entry_1/{name}/{group}/translation" for name in samples for group in _GEOMETRIES])


def _own(path: Path, frames: PatternSource, key: str) -> Joined:
    """Take positions and probe from the file itself."""
    count = frames.shape[0]
    translation = _as_rows(path, key, load_array(path, key), count)
    if translation.shape[1] == 2:
        translation = np.concatenate([translation, np.zeros((count, 1))], axis=1)
    steps = _unit_steps(path, count)
    values = np.einsum("brk,bk->br", np.linalg.pinv(np.swapaxes(steps, 1, 2)), -translation[:, :3])
    probe, notes = _probe(path, min(frames.shape[1:]))
    return Joined(frames=frames, positions=Positions(values=values), probe=probe, conversions=notes)


def _as_rows(path: Path, key: str, values: NDArray[np.generic], count: int) -> FloatArray:
    """Return translations as (B, 2 or more), which PyNX stores transposed."""
    is_real = values.ndim == 2 and values.dtype.kind in "fiu"
    by_pynx = is_real and len(values) == 3 and _creator(path) == "PyNX"
    if is_real and not by_pynx and len(values) == count and values.shape[1] >= 2:
        return values.astype(np.float64)
    if is_real and values.shape[1] == count and len(values) in (2, 3):
        return values.T.astype(np.float64)
    found = f"shape {values.shape} and dtype {values.dtype}"
    msg = f"{key!r} in {path} has {found} for {count} patterns; expected ({count}, 3) or (3, {count}) in metres. "
    raise DataFormatError(msg + "Export one translation for each pattern.")


def _unit_steps(path: Path, count: int) -> FloatArray:
    """Directions of a step by a row and by a column, float64 (B or 1, 2, 3)."""
    default = np.array([[[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]])
    key = f"{DETECTOR}/basis_vectors"
    if locate(path, key) is None:
        return np.broadcast_to(default, (count, 2, 3))
    basis = load_numbers(path, key)
    if basis.shape[-2:] == (3, 2):
        basis = np.swapaxes(basis, -2, -1)
    if basis.shape not in ((2, 3), (1, 2, 3), (count, 2, 3)):
        msg = f"{key!r} in {path} has shape {basis.shape}; expected (2, 3), (3, 2) or ({count}, 2, 3). Rewrite it."
        raise DataFormatError(msg)
    lengths = np.linalg.norm(basis, axis=-1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        msg = f"{key!r} in {path} holds a step of length {lengths.min():.4g} m; expected lengths > 0. Rewrite it."
        raise DataFormatError(msg)
    return np.broadcast_to((basis / lengths).reshape(-1, 2, 3), (count, 2, 3))


def _geometry(path: Path, joined: Joined, notes: list[str]) -> Geometry:
    energy = number(path, f"{SOURCE}/energy", ENERGIES_EV, "j")
    wavelength = number(path, f"{SOURCE}/wavelength", LENGTHS_M, "m")
    of_electrons = wavelength_of(energy, ELECTRON) if energy > 0 else NAN
    radiation = ELECTRON if math.isclose(wavelength, of_electrons, rel_tol=_AGREES) else XRAY
    if not energy > 0:
        energy = energy_of(wavelength) if wavelength > 0 else joined.energy_eV
    elif _creator(path) == "PyNX" and locate(path, f"{SOURCE}/wavelength") is None:
        energy *= _PYNX_ENERGY
        notes.append("energy: raised by 0.12 %, for PyNX computes it with a wrong constant")
    sizes = [number(path, f"{DETECTOR}/{axis}_pixel_size", LENGTHS_M, "m") for axis in "yx"]
    if not min(sizes) > 0 and locate(path, f"{DETECTOR}/basis_vectors") is not None:
        basis = load_numbers(path, f"{DETECTOR}/basis_vectors")
        basis = np.swapaxes(basis, -2, -1) if basis.shape[-2:] == (3, 2) else basis
        sizes = np.linalg.norm(basis.reshape(-1, 2, 3)[0], axis=1).tolist()
    distance = number(path, f"{DETECTOR}/distance", LENGTHS_M, "m")
    return Geometry(
        radiation=radiation,
        energy_eV=energy,
        detector_distance_m=distance if distance > 0 else joined.distance_m,
        detector_pixel_m=(sizes[0], sizes[1]),
    )


def _creator(path: Path) -> str:
    return attribute_text(load_attributes(path, ""), "creator")


def _mask(path: Path) -> BoolArray | None:
    """Return the valid pixels; of a mask for each frame those that are valid in all."""
    key = f"{DETECTOR}/mask"
    found = shape_of(path, key)
    if found is None or 0 in found[0]:
        return None
    values = load_numbers(path, key)
    if values.ndim < 2:
        msg = f"{key!r} in {path} has shape {values.shape}; expected (H, W), as the patterns. Export it again."
        raise DataFormatError(msg)
    valid = values != 0 if _is_speckle_tracking(path) else (values == 0) | (values == _SIGNAL)
    return np.asarray(valid.all(axis=tuple(range(valid.ndim - 2))))


def _is_speckle_tracking(path: Path) -> bool:
    """Tell the files of the package speckle-tracking, whose masks are True where a pixel counts."""
    found = shape_of(path, f"{DETECTOR}/basis_vectors")
    return found is not None and len(found[0]) == 3 and first_of(path, TRANSLATIONS) is None


def _beam_centre(path: Path) -> tuple[float, float] | None:
    """Return the pixel that the beam meets, as ``corner_position`` says (position of the centre of pixel (0, 0))."""
    corner, basis = f"{DETECTOR}/corner_position", f"{DETECTOR}/basis_vectors"
    if locate(path, corner) is None or locate(path, basis) is None:
        return None
    place, steps = load_numbers(path, corner).ravel(), load_numbers(path, basis)
    steps = steps if steps.shape[-2:] == (3, 2) else np.swapaxes(steps, -2, -1)
    if place.shape != (3,) or steps.shape != (3, 2):
        return None
    y, x = np.linalg.pinv(steps[:2]) @ -place[:2]
    return float(y), float(x)


def _probe(path: Path, N: int) -> tuple[ComplexArray | None, tuple[str, ...]]:
    key = first_of(path, _PROBES)
    found = None if key is None else shape_of(path, key)
    if key is None or found is None:
        return None, ()
    shape, kind = found
    if kind.kind != "c" or len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] > N:
        return None, (f"probe: {key} left out, for it is {kind} {shape}, not complex and square",)
    return checks.checked_probe(path, key, load_array(path, key)), ()


def _dark_left(path: Path) -> tuple[str, ...]:
    key = first_of(path, _DARKS)
    return () if key is None else (f"patterns: {key} was not subtracted; name it as dark in a map if it is to be",)
