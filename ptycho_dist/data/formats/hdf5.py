"""Safe access to HDF5 files: no links or storage outside the file's folder, no inherited handles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters of detector files)
import numpy as np
from numpy.typing import NDArray

from ptycho_dist.errors import DataFormatError
from ptycho_dist.hdf5_files import describe_refusal, open_for_reading

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises where HDF5 meets damage, or a type that has no counterpart in NumPy."""
_LEAST_MAPPED_BYTES = 2**26
_DEFLATE_RATIO = 1100
_UNCOMPRESSED_BYTES = 1 << 20


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises
    ------
    DataFormatError
        If it is not a whole HDF5 file, or another program still writes it.
    OSError
        If the system refuses to open it.
    """
    if not path.is_file():
        msg = f"{path} is {'a folder' if path.is_dir() else 'missing'}; expected an HDF5 file. Check the path."
        raise DataFormatError(msg)
    try:
        return open_for_reading(path)
    except OSError as error:
        if error.filename is not None:
            raise
        msg = f"{path} is {describe_refusal(error)}."
        raise DataFormatError(msg) from error


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file; failing reads inside become DataFormatError."""
    with open_file(path) as file:
        try:
            yield file
        except DAMAGE as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            msg = f"{path} cannot be read ({error}); it is damaged or truncated. Copy or export it again."
            raise DataFormatError(msg) from error


def require_dataset(file: h5py.File, path: Path, key: str) -> h5py.Dataset:
    """Return a dataset whose values lie in the file's own folder.

    Raises
    ------
    DataFormatError
        If it is missing, not a dataset, or stored outside the folder.
    """
    links, name = file.id.links, key.encode()
    if not links.exists(name):
        msg = f"{path} has no dataset {key!r} (found: {', '.join(file) or 'nothing'}). Re-export the file with it."
        raise DataFormatError(msg)
    if links.get_info(name).type == h5py.h5l.TYPE_EXTERNAL:
        _require_inside(path, key, links.get_val(name)[0].decode())
    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):
        msg = f"{key!r} in {path} is no dataset or a broken link; expected a dataset. Re-export the file."
        raise DataFormatError(msg)
    stored = [entry[0] for entry in dataset.external or ()]
    for target in (*stored, *(file_of(source) for source in other_sources(dataset))):
        _require_inside(path, key, target)
    return dataset


def read_or_map(path: Path, dataset: h5py.Dataset) -> NDArray[Any]:
    """Read a dataset; a large one that lies in the file as in memory is mapped, so that only what is used is read.

    Parameters
    ----------
    path, dataset
        A file of this program, which are replaced as a whole and never written to, and a dataset of it.

    Returns
    -------
    ndarray
        Not to be written to.

    Raises
    ------
    DataFormatError
        If it is declared to be larger than what is stored of it can be.
    """
    require_stored(path, dataset)
    offset = dataset.id.get_offset()
    plain = offset is not None and not dataset.external and dataset.file.userblock_size == 0
    if not plain or dataset.nbytes < _LEAST_MAPPED_BYTES or dataset.dtype.kind not in "biufc":
        return np.asarray(dataset[()])
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)


def require_stored(path: Path, dataset: h5py.Dataset, most_bytes: int | None = None) -> None:
    """Refuse a dataset that holds nothing, or is declared to be larger than its storage, or a limit, allows.

    Raises
    ------
    DataFormatError
        Says which.
    """
    key = str(dataset.name).strip("/")
    if dataset.shape is None:
        msg = f"{key!r} in {path} is declared and holds nothing; expected numbers. Write it, or remove it."
        raise DataFormatError(msg)
    stored = _stored_bytes(path, dataset)
    possible = dataset.nbytes <= max(_UNCOMPRESSED_BYTES, _DEFLATE_RATIO * stored)
    if possible and (most_bytes is None or dataset.nbytes <= most_bytes):
        return
    limit = "no more" if most_bytes is None else f"at most {most_bytes} bytes"
    msg = (
        f"{key!r} in {path} declares shape {dataset.shape}, {dataset.nbytes} bytes, and holds {stored}; expected "
        f"{limit} than what is there. The file is damaged, or another array is meant."
    )
    raise DataFormatError(msg)


def _stored_bytes(path: Path, dataset: h5py.Dataset) -> int:
    """Bytes that the values take at most; those of a virtual dataset as many as the datasets of its sources."""
    if dataset.external:
        files = {path.parent / entry[0] for entry in dataset.external}
        return sum(one.stat().st_size for one in files if one.is_file())
    if not dataset.is_virtual:
        return int(dataset.id.get_storage_size())
    sources = {(source.file_name, source.dset_name): source for source in dataset.virtual_sources()}
    return sum(_source_bytes(path, dataset, source) for source in sources.values())


def _source_bytes(path: Path, dataset: h5py.Dataset, source: Any) -> int:
    """Bytes that the source of a virtual dataset takes; of one that joins others itself, those of its file."""
    if source.file_name != ".":
        part = path.parent / file_of(source)
        return part.stat().st_size if part.is_file() else 0
    found = _by_hard_links(dataset.file, source.dset_name)
    if found is None or found == dataset:
        return 0
    is_joined = found.is_virtual or found.external
    return path.stat().st_size if is_joined else int(found.id.get_storage_size())


def _by_hard_links(file: h5py.File, key: str) -> h5py.Dataset | None:
    """Find a dataset of a file where no link leads elsewhere on the way; None otherwise."""
    found: Any = file
    for part in key.strip("/").split("/"):
        links = found.id.links if isinstance(found, h5py.Group) else None
        name = part.encode()
        if links is None or not links.exists(name) or links.get_info(name).type != h5py.h5l.TYPE_HARD:
            return None
        found = found[part]
    return found if isinstance(found, h5py.Dataset) else None


def source_files(file: h5py.File, path: Path, keys: Iterable[str]) -> tuple[Path, ...]:
    """Other files that hold values of some datasets: by external links, external storage or virtual sources.

    Parameters
    ----------
    file, path
        The open file.
    keys
        Datasets of it.

    Returns
    -------
    tuple of Path
        Each file once, in order, also those that are reached through another; empty where all values lie here.

    Raises
    ------
    DataFormatError
        If one is missing, damaged, or holds fewer rows than a virtual dataset takes from it
        (HDF5 itself would give zeros in their place).
    """
    found: dict[Path, None] = {}
    for key in keys:
        found |= dict.fromkeys(_files_behind(file, path, key))
    return tuple(one for one in found if one != path.resolve())


def _files_behind(file: h5py.File, path: Path, key: str) -> Iterator[Path]:
    dataset, folder, links = require_dataset(file, path, key), path.resolve().parent, file.id.links
    if links.get_info(key.encode()).type == h5py.h5l.TYPE_EXTERNAL:
        name, inner = (part.decode() for part in links.get_val(key.encode()))
        target = (folder / name).resolve()
        yield target
        with reading(target) as other:
            yield from _files_behind(other, target, inner.lstrip("/"))
        return
    yield from ((folder / entry[0]).resolve() for entry in dataset.external or ())
    for source in other_sources(dataset):
        part, inner = folder / file_of(source), source.dset_name.lstrip("/")
        yield part
        with reading(part) as other:
            held = require_dataset(other, part, inner).shape
            yield from _files_behind(other, part, inner)
        if not _holds(source, held):
            msg = f"{source.dset_name!r} in {part} has shape {held}; {path} takes more from it. Write {path} again."
            raise DataFormatError(msg)


def _holds(source: Any, held: tuple[int, ...]) -> bool:
    """Tell whether a dataset of shape ``held`` has all values that a virtual dataset takes from it."""
    if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        return math.prod(held) >= int(source.vspace.get_select_npoints())
    last = source.src_space.get_select_bounds()[1]
    return len(last) == len(held) and all(index < size for index, size in zip(last, held, strict=True))


def other_sources(dataset: h5py.Dataset) -> list[Any]:
    """List the sources of a virtual dataset that lie in other files."""
    sources = dataset.virtual_sources() if dataset.is_virtual else ()
    return [source for source in sources if source.file_name != "."]


def as_source_name(name: str) -> str:
    """Write the name of a file as the source of a virtual dataset, where HDF5 takes ``%`` for a pattern."""
    return name.replace("%", "%%")


def file_of(source: Any) -> str:
    """Name of the file of a virtual source; undoes :func:`as_source_name`."""
    return str(source.file_name).replace("%%", "%")


def _require_inside(path: Path, key: str, target: str) -> None:
    folder = path.resolve().parent
    if not (folder / target).resolve().is_relative_to(folder):
        msg = (
            f"{key!r} in {path} is stored in {target}, outside the folder of the file; such links are not followed. "
            "Copy the data next to the file and link it there."
        )
        raise DataFormatError(msg)
