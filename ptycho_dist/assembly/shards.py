"""Shard files: what one rank predicted, and the manifest that ties them together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.assembly.accumulate import NAMES
from ptycho_dist.atomic import atomic_path
from ptycho_dist.errors import ShardError
from ptycho_dist.hdf5_files import open_for_reading, writing
from ptycho_dist.types import Canvas, FloatArray, IntArray, Shard

ShardFile: TypeAlias = h5py.File
"""An open shard file or manifest."""

SCHEMA = 2
SUMS = (*NAMES, "count")
_MANIFEST = "manifest.h5"
_PHASES = "phases.h5"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What stitching needs beside the sums; written by rank 0 before prediction.

    Parameters
    ----------
    fingerprint
        Result fingerprint of the payload; every shard must carry it.
    world
        Number of shards.
    indexes
        int64, shape (B,): numbers of the patterns that are predicted, ascending.
    N
        Side of a frame in pixels.
    canvas
        Origin and shape of the object.
    bits
        Binary digits after the point in the sums.
    probe_PNN
        complex64, shape (P, N, N), in the scale of the scan file.
    positions_px
        float64, shape (B, 2), corners of their frames.
    facts
        JSON-able facts for the product: name, units, losses, payload.
    background_NN
        float32, shape (N, N): counts that do not come from the object, zero frequency at the corner; None without.
    """

    fingerprint: str
    world: int
    indexes: IntArray
    N: int
    canvas: Canvas
    bits: int
    probe_PNN: NDArray[np.complex64]
    positions_px: FloatArray
    facts: dict[str, Any]
    background_NN: NDArray[np.float32] | None = None

    @property
    def n_patterns(self) -> int:
        """Patterns in the canonical list that shards are cut from."""
        return len(self.indexes)


def shard_path(folder: Path, rank: int, world: int) -> Path:
    """Name of a rank's shard file."""
    return folder / f"shard-{rank:05d}-of-{world:05d}.h5"


def is_shard_folder(path: Path) -> bool:
    """Tell whether a folder holds the manifest of a prediction."""
    return (path / _MANIFEST).is_file()


def write_shard(folder: Path, shard: Shard, fingerprint: str, tile: Canvas, sums: Mapping[str, NDArray[Any]]) -> Path:
    """Write a rank's sums under a temporary name, sync, and rename."""
    path = shard_path(folder, shard.rank, shard.world)
    attributes = {
        "fingerprint": fingerprint,
        "rank": shard.rank,
        "world": shard.world,
        "start": shard.start,
        "stop": shard.stop,
        "origin_px": tile.corner,
    }
    _write(path, {name: sums[name] for name in SUMS}, attributes)
    return path


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write the manifest of a prediction under a temporary name, sync, and rename."""
    path = folder / _MANIFEST
    arrays: dict[str, NDArray[Any]] = {
        "probe": manifest.probe_PNN,
        "positions_px": manifest.positions_px,
        "indexes": manifest.indexes,
    }
    if manifest.background_NN is not None:
        arrays["background"] = manifest.background_NN
    attributes = {
        "fingerprint": manifest.fingerprint,
        "world": manifest.world,
        "N": manifest.N,
        "origin_px": manifest.canvas.corner,
        "shape": manifest.canvas.shape,
        "bits": manifest.bits,
        "facts": json.dumps(manifest.facts, sort_keys=True),
    }
    _write(path, arrays, attributes)
    return path


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a shard folder.

    Raises
    ------
    ShardError
        If there is none, or it is damaged or of a newer schema.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        msg = f"{folder} holds no {_MANIFEST}; expected a folder that 'ptycho-dist infer' wrote. Check the path."
        raise ShardError(msg)
    with open_checked(path) as file:
        attributes = dict(file.attrs)
        return Manifest(
            fingerprint=str(attributes["fingerprint"]),
            world=int(attributes["world"]),
            indexes=file["indexes"][()],
            N=int(attributes["N"]),
            canvas=Canvas(_pair(attributes["origin_px"]), _pair(attributes["shape"])),
            bits=int(attributes["bits"]),
            probe_PNN=file["probe"][()],
            positions_px=file["positions_px"][()],
            facts=json.loads(attributes["facts"]),
            background_NN=file["background"][()] if "background" in file else None,
        )


def write_phases(folder: Path, fingerprint: str, phases: FloatArray) -> Path:
    """Keep the phases (B,) of all patches, so that a missing shard can be made alone."""
    path = folder / _PHASES
    _write(path, {"phases": phases}, {"fingerprint": fingerprint})
    return path


def read_phases(folder: Path, fingerprint: str) -> FloatArray | None:
    """Read the phases (B,) that an earlier run of this prediction has found; None where there are none."""
    path = folder / _PHASES
    if not path.is_file():
        return None
    with open_checked(path) as file:
        if str(file.attrs["fingerprint"]) != fingerprint:
            return None
        phases: FloatArray = file["phases"][()]
        return phases


def damage_of(folder: Path, part: Shard, fingerprint: str) -> str:
    """Read a shard file through; say what is wrong with it, empty if it is whole and of this prediction."""
    path = shard_path(folder, part.rank, part.world)
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        with open_checked(path) as file:
            own = str(file.attrs["fingerprint"]) == fingerprint and shard_range(file) == part
            for name in SUMS:
                file[name][()]
    except (OSError, KeyError, ShardError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        return f"{path.name} is damaged ({error})"
    return "" if own else f"{path.name} is of another prediction"


def open_checked(path: Path) -> ShardFile:
    """Open a file of ours for reading.

    Raises
    ------
    ShardError
        If it is damaged, or of a newer schema.
    OSError
        If the system refuses to open it, for example over too many open files.
    """
    try:
        file = open_for_reading(path)
    except OSError as error:
        if error.filename is not None:
            raise
        msg = f"{path} cannot be read ({error}); expected a whole HDF5 file. Predict this shard again."
        raise ShardError(msg) from error
    schema = int(file.attrs.get("schema", 0))
    if schema != SCHEMA:
        file.close()
        msg = f"{path} has schema {schema}; expected {SCHEMA}. Predict again with this version of ptycho_dist."
        raise ShardError(msg)
    return file


def shard_origin(file: ShardFile) -> tuple[int, int]:
    """Position of a shard's first pixel."""
    return _pair(file.attrs["origin_px"])


def shard_range(file: ShardFile) -> Shard:
    """Which part of the canonical list a shard holds."""
    return Shard(*(int(file.attrs[name]) for name in ("rank", "world", "start", "stop")))


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary, writing(temporary) as file:
        file.attrs["schema"] = SCHEMA
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, array in arrays.items():
            file.create_dataset(name, data=array, fletcher32=array.size > 0)
