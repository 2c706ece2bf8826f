"""Ptychodus product files (HDF5): the reconstruction that other programs open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.atomic import publish, temporary_name
from ptycho_dist.data.formats import checks, hdf5
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.hdf5_links import load_array, members
from ptycho_dist.data.formats.hdf5_numbers import attribute_number, load_numbers
from ptycho_dist.data.formats.product import (
    BACKGROUND,
    COVERAGE,
    DISAGREEMENT,
    FIRST_POSITIONS,
    FLUX,
    NORMALISED,
    UNCERTAINTY,
    Product,
    ProductGeometry,
)
from ptycho_dist.data.formats.product_notes import EXTRAS, VERDICT, note_origin
from ptycho_dist.data.formats.product_tiles import OBJECT, UnfinishedProduct, create_in_place, place_of
from ptycho_dist.data.formats.product_views import write_views
from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import OutputFile, writing
from ptycho_dist.types import FAR_FIELD, FloatArray, IntArray, ProductMetadata, Propagation

__all__ = [
    "BACKGROUND",
    "COVERAGE",
    "DISAGREEMENT",
    "FIRST_POSITIONS",
    "FLUX",
    "NORMALISED",
    "UNCERTAINTY",
    "Product",
    "ProductGeometry",
    "ProductWriter",
    "read_product",
    "read_product_metadata",
]

_UNITS_NOTE = "Pixel size unknown: attributes and positions named in metres hold object pixels."
_METADATA = {
    "detector_object_distance_m": "detector_object_distance_m",
    "probe_energy_eV": "probe_energy_eV",
    "photon_energy_eV": "probe_energy_eV",
    "exposure_time_s": "exposure_time_s",
}


class ProductWriter:
    """Write a product piece by piece; a context manager.

    The file appears under its name when the block ends without an error; else a
    file that was there stays as it was, and nothing is left behind.

    Parameters
    ----------
    path
        Product file.
    metadata
        Name, comments, energies, provenance (kept as JSON).
    object_shape
        Object rows and columns (H, W).
    geometry
        Pixel size, patch side, origin of the object.

    Raises
    ------
    DataFormatError
        At the end of the block, if the object, the probe or the positions were not written.
    OSError
        While tiles are written or at the end of the block, if the disk is full.
    """

    def __init__(
        self, path: Path | str, metadata: ProductMetadata, object_shape: tuple[int, int], geometry: ProductGeometry
    ) -> None:
        self._path = Path(path)
        self._metadata = metadata
        self._shape = object_shape
        self._geometry = geometry
        self._temporary = temporary_name(self._path)
        self._file: OutputFile | None = None
        self._stack = ExitStack()
        self._tiles = 0
        self._is_left_open = False

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._stack.enter_context(writing(self._temporary))
        self._write_metadata(self._file)
        self._create_object(self._file)
        self.write_losses(np.empty(0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._open()
        missing = [key for key in ("probe", "probe_position_x_m") if key not in file]
        if kind is None and not missing and self._tiles and not self._is_left_open:
            write_views(file)
        self._file = None
        try:
            self._stack.close()
            if kind is None:
                self._require_complete(missing)
                if self._is_left_open:
                    return
                publish(self._temporary, self._path)
        finally:
            if kind is not None or not self._is_left_open:
                self._temporary.unlink(missing_ok=True)

    def leave_tiles_open(self, extras: Mapping[str, str]) -> UnfinishedProduct:
        """Leave the object, and arrays of our own of its shape and of some types, to be written after this block.

        The file then does not appear under its name at the end of the block, but when what is returned is published.
        """
        file = self._open()
        group = file.require_group(EXTRAS)
        arrays = {name: create_in_place(group, name, self._shape, dtype) for name, dtype in extras.items()}
        places = {name: place_of(dataset) for name, dataset in {OBJECT: file["object"], **arrays}.items()}
        self._tiles, self._is_left_open = 1, True
        return UnfinishedProduct(self._path, self._temporary, places)

    def write_object_tile(self, corner: tuple[int, int], tile: ComplexArray) -> None:
        """Write a tile (h, w) of the object, its first pixel at ``corner`` (row, column)."""
        stop = (corner[0] + tile.shape[0], corner[1] + tile.shape[1])
        if min(corner) < 0 or stop[0] > self._shape[0] or stop[1] > self._shape[1]:
            msg = f"tile {corner} to {stop} leaves the object {self._shape} of {self._path}; expected it inside."
            raise DataFormatError(msg)
        file = self._open()
        file["object"][0, corner[0] : stop[0], corner[1] : stop[1]] = tile
        file.require_written()
        self._tiles += 1

    def write_probe(self, probe_PNN: ComplexArray) -> None:
        """Write the probe modes, complex, shape (P, N, N)."""
        N = self._geometry.N
        if probe_PNN.ndim != 3 or probe_PNN.shape[1:] != (N, N):
            msg = f"probe for {self._path} has shape {probe_PNN.shape}; expected (P, {N}, {N}) as in its geometry."
            raise DataFormatError(msg)
        probe = self._open().create_dataset("probe", data=probe_PNN.astype(np.complex64)[None])
        probe.attrs["pixel_width_m"] = probe.attrs["pixel_height_m"] = self._geometry.scale

    def write_positions(self, positions_px: FloatArray, indexes: IntArray | None = None) -> None:
        """Write patch corners (B, 2) in pixels; ``indexes`` are pattern numbers, else 0 to B - 1."""
        centres = self._geometry.centres_of_patches(positions_px)
        numbers = np.arange(len(centres)) if indexes is None else np.asarray(indexes, dtype=np.int64)
        if numbers.shape != (len(centres),):
            msg = f"{len(numbers)} indexes for {len(centres)} positions of {self._path}; expected equal numbers."
            raise DataFormatError(msg)
        file = self._open()
        file.create_dataset("probe_position_indexes", data=numbers)
        file.create_dataset("probe_position_y_m", data=centres[:, 0])
        file.create_dataset("probe_position_x_m", data=centres[:, 1])

    def write_losses(self, values: ArrayLike, epochs: ArrayLike | None = None) -> None:
        """Write a loss curve; ``epochs`` are numbers of equal length, else 0 to n - 1."""
        losses = np.asarray(values, dtype=np.float64)
        numbers = np.arange(len(losses)) if epochs is None else np.asarray(epochs, dtype=np.int64)
        if losses.ndim != 1 or numbers.shape != losses.shape:
            msg = f"losses {losses.shape} and epochs {numbers.shape} of {self._path}; expected two lists of one length."
            raise DataFormatError(msg)
        file = self._open()
        for name, data in (("loss_values", losses), ("loss_epochs", numbers)):
            if name in file:
                del file[name]
            file.create_dataset(name, data=data)

    def write_extra(self, name: str, array: NDArray[Any]) -> None:
        """Write an array of our own into the group ``ptycho_dist``, which other programs ignore."""
        self._open().require_group(EXTRAS).create_dataset(name, data=array)

    def _open(self) -> OutputFile:
        if self._file is None:
            msg = f"the writer of {self._path} is not open; use it in a with block"
            raise DataFormatError(msg)
        return self._file

    def _require_complete(self, missing: list[str]) -> None:
        if not self._tiles:
            missing = [*missing, "object"]
        if missing:
            msg = f"{self._path} was not written: {', '.join(missing)} missing; expected object, probe and positions."
            raise DataFormatError(msg)

    def _write_metadata(self, file: h5py.File) -> None:
        known = self._geometry.units_known
        file.attrs["name"] = self._metadata.name
        note = "" if known else _UNITS_NOTE
        file.attrs["comments"] = f"{self._metadata.comments} {note}".strip()
        file.attrs["units_known"] = known
        file.attrs["length_unit"] = "m" if known else "object pixel"
        note_origin(file)
        for attribute, name in _METADATA.items():
            file.attrs[attribute] = getattr(self._metadata, name)
        finite = {name: value for name, value in asdict(self._metadata.propagation).items() if value == value}
        file.attrs["ptycho_dist_propagation"] = json.dumps(finite)
        file.attrs["far_field"] = self._metadata.propagation.kind == FAR_FIELD.kind
        file.attrs["ptycho_dist_provenance"] = json.dumps(self._metadata.provenance, sort_keys=True, default=str)

    def _create_object(self, file: h5py.File) -> None:
        dataset = create_in_place(file, "object", (1, *self._shape), "complex64")
        dataset.attrs["center_y_m"], dataset.attrs["center_x_m"] = self._geometry.centre_of_object(self._shape)
        dataset.attrs["pixel_width_m"] = dataset.attrs["pixel_height_m"] = self._geometry.scale
        file.create_dataset("object_layer_spacing_m", data=np.empty(0))


def read_product(path: Path | str) -> Product:
    """Read a product of one object layer and one probe; what is large in it is mapped, and read where it is used.

    Raises
    ------
    DataFormatError
        If it is no product, damaged, or has several layers, probes or unequal pixel sides.
    """
    path = Path(path)
    with hdf5.reading(path) as file:
        object_ = _single(path, "object", hdf5.require_dataset(file, path, "object"), 3)
        probe = _single(path, "probe", hdf5.require_dataset(file, path, "probe"), 4)
        geometry = _geometry(path, file, object_.shape, probe.shape[-1])
        centres = _centres(path)
        losses, epochs = _losses(path, file)
        return Product(
            object_=object_,
            probe=probe,
            positions_px=centres / geometry.scale - (geometry.N - 1) / 2,
            indexes=_indexes(path, len(centres)),
            geometry=geometry,
            metadata=_metadata(path, file),
            losses=losses,
            loss_epochs=epochs,
            extras={name: _extra(path, file, name) for name in members(path, EXTRAS)},
            verdict=str(file.attrs.get(VERDICT, "")),
        )


def read_product_metadata(path: Path | str) -> ProductMetadata:
    """Read what a product says of itself, without its arrays.

    Raises
    ------
    DataFormatError
        If it is damaged.
    """
    path = Path(path)
    with hdf5.reading(path) as file:
        return _metadata(path, file)


def _centres(path: Path) -> FloatArray:
    """Centres of patches (y, x) in written lengths, float64 (B, 2)."""
    y, x = (load_array(path, f"probe_position_{axis}_m") for axis in "yx")
    checks.require_equal_lengths(path, ("probe_position_y_m", y), ("probe_position_x_m", x))
    return checks.checked_positions(path, np.stack([y.ravel(), x.ravel()], axis=1), y.size)


def _indexes(path: Path, count: int) -> IntArray:
    values = load_array(path, "probe_position_indexes")
    if values.shape != (count,) or values.dtype.kind not in "iuf":
        found = f"{values.dtype} {values.shape}"
        msg = f"'probe_position_indexes' in {path} is {found}; expected {count} numbers. Export it again."
        raise DataFormatError(msg)
    return values.astype(np.int64)


def _single(path: Path, key: str, dataset: h5py.Dataset, ndim: int) -> ComplexArray:
    shape: tuple[int, ...] = dataset.shape or ()
    if len(shape) == ndim and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != ndim - 1 or dataset.dtype.kind != "c":
        msg = (
            f"{key!r} in {path} is {dataset.dtype} {dataset.shape}; expected complex with {ndim} axes, the first of "
            "length 1. Export a single layer and probe."
        )
        raise DataFormatError(msg)
    return hdf5.read_or_map(path, dataset).astype(np.complex64, copy=False).reshape(shape)


def _extra(path: Path, file: h5py.File, name: str) -> NDArray[Any]:
    return hdf5.read_or_map(path, hdf5.require_dataset(file, path, f"{EXTRAS}/{name}"))


def _geometry(path: Path, file: h5py.File, shape: tuple[int, ...], N: int) -> ProductGeometry:
    names = ("pixel_height_m", "pixel_width_m", "center_y_m", "center_x_m")
    attributes = file["object"].attrs
    missing = [name for name in names if name not in attributes]
    if missing:
        msg = f"'object' in {path} lacks the attributes {', '.join(missing)}; expected a Ptychodus product. Export it."
        raise DataFormatError(msg)
    height, width, y, x = (attribute_number(path, attributes, name) for name in names)
    if not np.isclose(height, width, rtol=1e-6, atol=0) or not height > 0 or not np.isfinite([y, x]).all():
        msg = (
            f"'object' in {path} has pixels of {height} by {width} m, centre ({y}, {x}); expected squares. Correct it."
        )
        raise DataFormatError(msg)
    origin = (y / height - (shape[0] - 1) / 2, x / width - (shape[1] - 1) / 2)
    known = bool(np.all(file.attrs.get("units_known", True)))
    return ProductGeometry(N=N, pixel_size_m=height if known else float("nan"), object_origin_px=origin)


def _losses(path: Path, file: h5py.File) -> tuple[FloatArray, IntArray]:
    key = "loss_values" if "loss_values" in file else "costs"
    values = load_numbers(path, key).ravel() if key in file else np.empty(0)
    epochs = load_numbers(path, "loss_epochs").ravel() if "loss_epochs" in file else np.arange(len(values))
    return values, np.asarray(epochs, dtype=np.int64)


def _metadata(path: Path, file: h5py.File) -> ProductMetadata:
    try:
        provenance = dict(json.loads(str(file.attrs.get("ptycho_dist_provenance", "{}"))))
    except (TypeError, ValueError) as error:
        msg = f"'ptycho_dist_provenance' of {path} is not JSON ({error}); the file is damaged. Write it again."
        raise DataFormatError(msg) from error
    held = dict(file.attrs)
    energy = attribute_number(path, held, "probe_energy_eV" if "probe_energy_eV" in held else "photon_energy_eV")
    return ProductMetadata(
        name=str(file.attrs.get("name", "")),
        comments=str(file.attrs.get("comments", "")),
        detector_object_distance_m=attribute_number(path, held, "detector_object_distance_m"),
        probe_energy_eV=energy,
        exposure_time_s=attribute_number(path, held, "exposure_time_s"),
        propagation=_propagation(path, file, provenance),
        provenance=provenance,
    )


def _propagation(path: Path, file: h5py.File, provenance: Mapping[str, Any]) -> Propagation:
    """Read how waves travel; version 0.1 kept that among the settings of its refinement only."""
    if "ptycho_dist_propagation" in file.attrs:
        try:
            return Propagation(**json.loads(str(file.attrs["ptycho_dist_propagation"])))
        except (TypeError, ValueError) as error:
            msg = f"'ptycho_dist_propagation' of {path} cannot be read ({error}); the file is damaged. Write it again."
            raise DataFormatError(msg) from error
    settings = provenance.get("payload", {}).get("refine", {})
    if settings.get("propagation", "far_field") == "far_field":
        return FAR_FIELD
    distance, source = float(file.attrs["detector_object_distance_m"]), settings.get("source_distance_m")
    return Propagation(
        kind=settings["propagation"],
        pixel_size_m=float(file["object"].attrs["pixel_height_m"]),
        energy_eV=float(file.attrs["probe_energy_eV"]),
        distance_m=distance / (1 + distance / source) if source else distance,
    )
