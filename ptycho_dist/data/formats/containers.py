"""Kinds of files that scans come in, known by their first bytes; each joins with one decorated function.

The function lists the names in such a file, by which formats are told apart.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.data.formats import npz
from ptycho_dist.data.formats.hdf5 import reading
from ptycho_dist.data.formats.hdf5_links import locate, names_in
from ptycho_dist.errors import DataFormatError
from ptycho_dist.registry import Registry

HEAD_BYTES = 4104
"""How much of the start of a file is looked at."""
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512, 1024, 2048, 4096)
"""Where the signature may be: behind a user block, as of MATLAB 7.3."""
_ZIP_SIGNATURE = b"PK"
_LAST = "npz"
"""Asked last, for an archive may have anything before it."""
Holds = Callable[[Path, bytes], bool]
Names = Callable[[Path], Collection[str]]


@dataclass(frozen=True, kw_only=True)
class Container:
    """A kind of file.

    Parameters
    ----------
    name
        Such as ``"hdf5"``.
    holds
        Tells from the path and the first ``HEAD_BYTES`` bytes of a file whether it is one.
    names
        Lists the names in such a file; the collection may know more names (``in``) than it lists.
    """

    name: str
    holds: Holds
    names: Names


_CONTAINERS: Registry[Container] = Registry("container", "ptycho_dist.data.formats")


def register_container(name: str, *, holds: Holds) -> Callable[[Names], Names]:
    """Register a function that lists the names in one kind of file; see :class:`Container`.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _CONTAINERS.register_as(name, lambda names: Container(name=name, holds=holds, names=names))


def container_of(path: Path) -> Container | None:
    """Find what kind of file it is; None where it is none that is known."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    found = [one for one in _CONTAINERS.entries().values() if one.name != _LAST and one.holds(path, head)]
    if found:
        return found[0]
    last = _CONTAINERS.entries()[_LAST]
    return last if last.holds(path, head) else None


def _is_hdf5(path: Path, head: bytes) -> bool:
    return any(head[place : place + len(_HDF5_SIGNATURE)] == _HDF5_SIGNATURE for place in _HDF5_PLACES)


def _is_npz(path: Path, head: bytes) -> bool:
    return head.startswith(_ZIP_SIGNATURE) or zipfile.is_zipfile(path)


class Hdf5Names(Collection[str]):
    """The names at the root of an HDF5 file; of any path it tells (``in``) whether it is there.

    A path that ends in a link counts as there, also if the link leads to a file that is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path) as file:
            self._roots = names_in(file)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if "/" not in key:
            return key in self._roots
        try:
            return locate(self._path, key) is not None
        except DataFormatError:
            return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._roots)

    def __len__(self) -> int:
        return len(self._roots)


@register_container("hdf5", holds=_is_hdf5)
def _hdf5_names(path: Path) -> Collection[str]:
    return Hdf5Names(path)


@register_container(_LAST, holds=_is_npz)
def _npz_names(path: Path) -> Collection[str]:
    return npz.member_names(path)
