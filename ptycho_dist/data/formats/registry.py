"""Scan formats by name, and detection by content. A format joins with one decorated function, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py

from ptycho_dist.data.formats import hdf5, npz
from ptycho_dist.data.formats.base import RawScan, ScanOptions
from ptycho_dist.data.formats.containers import Container, container_of
from ptycho_dist.data.formats.no_scan import what_it_is
from ptycho_dist.data.formats.other_files import told_kind
from ptycho_dist.data.formats.prepare import reframed
from ptycho_dist.data.formats.text_positions import split_positions_file
from ptycho_dist.errors import DataFormatError
from ptycho_dist.registry import Registry

_OWN_KEYS = ("patterns", "positions_px")
"""Of the project's own format, which needs no map."""
_MOST_NAMED = 20
Opener = Callable[[Path, ScanOptions], RawScan]
GrowingOpener = Callable[[Path, ScanOptions, RawScan | None], RawScan]
Detector = Callable[[Collection[str]], bool]


@dataclass(frozen=True, kw_only=True)
class ScanFormat:
    """A format that is known by name.

    Parameters
    ----------
    name, container
        Name of the reader; kind of file (:mod:`.containers`) such as ``"npz"`` or ``"hdf5"``.
    keys
        Characteristic names in such a file; of HDF5 they may be paths.
    detect
        Tells from the names in a file whether it has this format.
    open_raw
        Opens a scan of this format.
    open_growing
        Opens what there is of a scan that is still measured (:func:`open_growing`); None where that is not known.
    """

    name: str
    container: str
    keys: tuple[str, ...]
    detect: Detector
    open_raw: Opener
    open_growing: GrowingOpener | None = None


_FORMATS: Registry[ScanFormat] = Registry("scan format", "ptycho_dist.data.formats")


def register_format(
    name: str,
    *,
    container: str,
    keys: tuple[str, ...],
    detect: Detector,
    open_growing: GrowingOpener | None = None,
) -> Callable[[Opener], Opener]:
    """Register a function that opens a scan of one format; see :class:`ScanFormat`.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _FORMATS.register_as(
        name,
        lambda open_raw: ScanFormat(
            name=name, container=container, keys=keys, detect=detect, open_raw=open_raw, open_growing=open_growing
        ),
    )


def formats() -> Mapping[str, ScanFormat]:
    """Return all formats by name."""
    return _FORMATS.entries()


def open_raw(path: Path, options: ScanOptions, *, unpack: bool = False) -> RawScan:
    """Open a scan with the reader that the user names, or that fits the content.

    Parameters
    ----------
    path
        The file.
    options
        What it leaves open.
    unpack
        Whether a compressed archive may be unpacked, however large it is then.

    Raises
    ------
    DataFormatError
        If the path is no scan of a known format, or a large compressed archive.
    """
    # Readers look into the file again and again; while it is open, each shares what HDF5 has read of it.
    with hdf5.open_file(path) if h5py.is_hdf5(path) else nullcontext():
        raw = _opener(path, options, unpack=unpack)(path, options)
    _require_used(path, raw, options)
    return reframed(path, raw, options) if options.frame_settings() and not raw.frame_key else raw


def _require_used(path: Path, raw: RawScan, options: ScanOptions) -> None:
    """Refuse a file of positions that the reader had no use for."""
    if options.positions_file is None:
        return
    file = split_positions_file(options.positions_file)[0]
    if file.resolve() not in {one.resolve() for one in raw.companions}:
        msg = (
            f"data.positions_file = {options.positions_file!r}, but {path} has positions of its own "
            f"({raw.format_name}); expected one of both. Leave --positions_file out, or say in a "
            "map where positions are (--map)."
        )
        raise DataFormatError(msg)


def open_growing(path: Path, options: ScanOptions, known: RawScan | None = None) -> RawScan:
    """Open what there is of a scan that is still measured: rows, from the first on, whose frame and position are there.

    Parameters
    ----------
    path
        An HDF5 file that this process holds open (:func:`~ptycho_dist.hdf5_files.open_for_following`).
    options
        What it leaves open.
    known
        The same scan as it was opened before: its frames are made as they were then.

    Raises
    ------
    DataFormatError
        If it is no such scan, or holds no whole row yet.
    """
    container = _container(path)
    if container.name != "hdf5":
        msg = f"{path} is {container.name}; a scan that is still written is read from HDF5. Wait, and infer the file."
        raise DataFormatError(msg)
    opened: RawScan = _growing_opener(path, container, options)(path, options, known)
    return opened


def _growing_opener(path: Path, container: Container, options: ScanOptions) -> GrowingOpener:
    from ptycho_dist.data.maps.opening import matching, open_growing_mapped, open_growing_named

    if options.map is not None:
        return open_growing_named
    keys = container.names(path)
    if options.file_format == "auto" and not all(key in keys for key in _OWN_KEYS):
        found = matching(path)
        if found is not None:
            return partial(open_growing_mapped, found)
    named = _FORMATS.entries().values()
    fitting = [one for one in named if one.open_growing is not None and _fits(one, keys, options.file_format)]
    if not fitting:
        able = ", ".join(one.name for one in named if one.open_growing is not None)
        msg = (
            f"{path} holds {_some(keys)}; expected a scan of a form that is read while it is written: {able}, or HDF5 "
            "that a map fits. Give --map m.yaml (ptycho-dist inspect FILE --write_map m.yaml drafts one), or wait "
            "for the end of the scan, and infer the file."
        )
        raise DataFormatError(msg)
    chosen = max(fitting, key=lambda one: sum(key in keys for key in one.keys)).open_growing
    assert chosen is not None
    return chosen


def _fits(one: ScanFormat, keys: Collection[str], wanted: str) -> bool:
    return one.container == "hdf5" and one.detect(keys) and wanted in ("auto", one.name)


def _opener(path: Path, options: ScanOptions, *, unpack: bool) -> Opener:
    container = _container(path)
    if options.map is not None:
        return _mapped(path, container, options)
    if container.name == "npz" and not unpack:
        npz.require_in_place(path)
    if options.file_format == "auto":
        return _detect(path, container)
    named = _FORMATS.entries()
    chosen = named.get(options.file_format)
    if chosen is None:
        msg = f"data.file_format = {options.file_format!r}; expected auto or one of {', '.join(named)}. Change it."
        raise DataFormatError(msg)
    if chosen.container != container.name:
        msg = f"{path} is {container.name}; {chosen.name} is {chosen.container}. Use data.file_format = 'auto'."
        raise DataFormatError(msg)
    return chosen.open_raw


def _container(path: Path) -> Container:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "missing" if not path.exists() else "no regular file"
        msg = f"{path} is {kind}; expected a scan file. Give the path of the file."
        raise DataFormatError(msg)
    container = container_of(path)
    if container is not None:
        return container
    told = told_kind(path)
    if told is not None:
        msg = f"{path} is {told}"
        raise DataFormatError(msg)
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        msg = f"{path} is empty; expected a scan file. Copy or export it again."
        raise DataFormatError(msg)
    msg = (
        f"{path} is neither NPZ nor HDF5 (it starts with {head!r}); expected a scan file ({_known()}). Export the scan "
        "again."
    )
    raise DataFormatError(msg)


def _mapped(path: Path, container: Container, options: ScanOptions) -> Opener:
    if container.name != "hdf5":
        msg = f"{path} is {container.name}; a map reads HDF5. Leave --map out."
        raise DataFormatError(msg)
    if options.file_format != "auto":
        msg = (
            f"data.map and data.file_format = {options.file_format!r} both name a reader; expected one. Leave one out."
        )
        raise DataFormatError(msg)
    from ptycho_dist.data.maps.opening import open_named

    return open_named


def _detect(path: Path, container: Container) -> Opener:
    keys = container.names(path)
    fitting = [one for one in _FORMATS.entries().values() if one.container == container.name and one.detect(keys)]
    if container.name == "hdf5" and not all(key in keys for key in _OWN_KEYS):
        from ptycho_dist.data.maps.opening import matching, open_mapped

        found = matching(path)
        if found is not None:
            return lambda path, options: open_mapped(path, found, options)
    if fitting:
        return max(fitting, key=lambda one: sum(key in keys for key in one.keys)).open_raw
    told = what_it_is(path, container.name, keys)
    if told is not None:
        raise DataFormatError(told)
    msg = (
        f"{path} has no known scan format; it holds {_some(keys)}. Known formats: {_known()}, and "
        f"HDF5 files of the shipped maps. See what is in it: ptycho-dist inspect {path}. Where it is a scan, write a "
        "draft map with --write_map m.yaml, complete it, and give --map m.yaml."
    )
    raise DataFormatError(msg)


def _some(keys: Collection[str]) -> str:
    names = list(keys)
    return ", ".join(names[:_MOST_NAMED]) + (", ..." * (len(names) > _MOST_NAMED)) or "nothing"


def _known() -> str:
    return ", ".join(f"{one.name} ({one.container})" for one in _FORMATS.entries().values())
