"""Files that hold no scan, but are known: each kind joins with one decorated function that says what to do.

Where a file fits no scan format, the first of these that knows it gives the error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.registry import Registry

Tell = Callable[[Path, Collection[str]], str | None]


@dataclass(frozen=True)
class NoScan:
    """A known kind of file that holds no scan.

    Parameters
    ----------
    container
        Kind of file (:mod:`.containers`).
    tell
        Says of a file and the names in it what it is, and what to do (to follow ``PATH is``); None of other files.
    """

    container: str
    tell: Tell


_KINDS: Registry[NoScan] = Registry("kind of file without a scan", "ptycho_dist.data.formats")


def register_no_scan(name: str, *, container: str) -> Callable[[Tell], Tell]:
    """Register a function that says of one kind of file why it is no scan; see :class:`NoScan`.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _KINDS.register_as(name, lambda tell: NoScan(container, tell))


def what_it_is(path: Path, container: str, keys: Collection[str]) -> str | None:
    """Say what a file is that holds no scan, and what to do; None where that is not known.

    Parameters
    ----------
    path
        The file.
    container
        Kind of file.
    keys
        Names in it.
    """
    for kind in _KINDS.entries().values():
        told = kind.tell(path, keys) if kind.container == container else None
        if told is not None:
            return f"{path} is {told}"
    return None
