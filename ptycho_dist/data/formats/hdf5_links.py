"""Where an HDF5 path really leads: soft and external links are followed by hand, and never out of the file's folder.

An external link is looked for under its stored name, then under the last component of it beside the file, because
programs store the path that they were given. Nothing outside the folder is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.hdf5 import reading, require_dataset, require_stored, source_files
from ptycho_dist.errors import DataFormatError

MOST_HOPS = 16
"""Links that one path may lead through."""
MOST_SMALL_BYTES = 1 << 30
"""Largest array that is loaded whole, such as positions, a dark or a mask."""


class MissingFileError(DataFormatError):
    """A link leads to a file that is not there."""


@dataclass(frozen=True)
class Place:
    """A dataset or group: the file that holds it, and its path there, free of links.

    Parameters
    ----------
    path
        The file.
    key
        Path in the file, without a leading slash; empty for the root.
    """

    path: Path
    key: str


def locate(path: Path, key: str) -> Place | None:
    """Find where a path of an HDF5 file leads; None where there is nothing of that name.

    Parameters
    ----------
    path
        The file.
    key
        Path in it, such as ``entry/data/data``.

    Raises
    ------
    MissingFileError
        If a link leads to a file that is missing or outside the folder.
    DataFormatError
        If a link leads to nothing, or in a circle.
    """
    return _walk(path, [part for part in key.split("/") if part not in ("", ".")], path, MOST_HOPS)


def require_place(path: Path, key: str) -> Place:
    """Find where a path of an HDF5 file leads; see :func:`locate`.

    Raises
    ------
    DataFormatError
        If there is nothing of that name.
    """
    place = locate(path, key)
    if place is None:
        with reading(path) as file:
            found = ", ".join(names_in(file)[:20])
        msg = f"{path} has no {key!r}; it holds {found or 'nothing'}. Name the path that holds it."
        raise DataFormatError(msg)
    return place


def _walk(path: Path, parts: list[str], first: Path, hops: int) -> Place | None:
    with reading(path) as file:
        group: Any = file
        for number, part in enumerate(parts):
            name = part.encode()
            if not isinstance(group, h5py.Group) or not group.id.links.exists(name):
                return None
            kind = group.id.links.get_info(name).type
            if kind == h5py.h5l.TYPE_HARD:
                group = group[part]
                continue
            if hops == 0:
                msg = f"{'/'.join(parts)!r} in {first} leads through more than {MOST_HOPS} links. Mend the file."
                raise DataFormatError(msg)
            rest, here = parts[number + 1 :], "/".join(parts[: number + 1])
            return _follow(path, here, group, part, rest, hops)
        return Place(path, group.name.strip("/"))


def _follow(path: Path, here: str, group: h5py.Group, part: str, rest: list[str], hops: int) -> Place | None:
    link = group.get(part, getlink=True)
    if isinstance(link, h5py.SoftLink):
        base = "" if link.path.startswith("/") else group.name
        target, inner = path, f"{base}/{link.path}"
    else:
        target, inner = _inside(path, here, link.filename), link.path
    steps = [step for step in inner.split("/") if step not in ("", ".")]
    place = _walk(target, [*steps, *rest], path, hops - 1)
    if place is None and (not rest or _walk(target, steps, path, hops - 1) is None):
        msg = f"{here!r} in {path} is a link to {inner!r} in {target.name}, which holds no such thing. Write it anew."
        raise DataFormatError(msg)
    return place


def _inside(path: Path, key: str, stored: str) -> Path:
    """Find the file of an external link, in the folder of the file that has the link."""
    folder = path.resolve().parent
    name = PurePosixPath(stored)
    for candidate in dict.fromkeys((folder / name, folder / name.name)):
        resolved = candidate.resolve()
        if resolved.is_relative_to(folder) and resolved.is_file():
            return resolved
    msg = (
        f"{key!r} in {path} is a link to {stored!r}, and {name.name!r} is not in the folder of the file; expected it "
        "there, for links out of the folder are not followed. Copy that file beside this one."
    )
    raise MissingFileError(msg)


def load_array(path: Path, key: str) -> NDArray[Any]:
    """Load a small dataset of an HDF5 file through its links, such as positions or a mask.

    Raises
    ------
    DataFormatError
        If it is missing, no numbers, or larger than its storage or 1 GiB allow.
    """
    place = require_place(path, key)
    with reading(place.path) as file:
        dataset = require_dataset(file, place.path, place.key)
        require_stored(place.path, dataset, MOST_SMALL_BYTES)
        return np.asarray(dataset[()])


def load_attributes(path: Path, key: str) -> dict[str, Any]:
    """Load the attributes of a dataset or group of an HDF5 file through its links; empty ``key`` is the root."""
    place = require_place(path, key)
    with reading(place.path) as file:
        return dict(file[place.key or "/"].attrs)


def shape_of(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and dtype of a dataset of an HDF5 file; None where there is none, or a group."""
    place = locate(path, key)
    if place is None:
        return None
    with reading(place.path) as file:
        found = file[place.key or "/"]
        return (found.shape, found.dtype) if isinstance(found, h5py.Dataset) and found.shape is not None else None


def members(path: Path, key: str) -> tuple[str, ...]:
    """Names in a group of an HDF5 file, through its links; empty where there is no such group."""
    place = locate(path, key)
    if place is None:
        return ()
    with reading(place.path) as file:
        found = file[place.key or "/"]
        return names_in(found) if isinstance(found, h5py.Group) else ()


def names_in(group: h5py.Group) -> tuple[str, ...]:
    """Names in a group; those that are no text are left out, for no path leads there."""
    return tuple(name for name in group if isinstance(name, str))


def files_of(path: Path, place: Place) -> tuple[Path, ...]:
    """List the files besides ``path`` that hold a dataset's values: by links, external storage or virtual sources."""
    with reading(place.path) as file:
        found: Iterator[Path] = iter((place.path, *source_files(file, place.path, [place.key])))
        return tuple(one for one in dict.fromkeys(found) if one.resolve() != path.resolve())
