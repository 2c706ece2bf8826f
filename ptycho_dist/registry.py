"""Things known by name, such as commands, networks and scan formats; each joins by a decorator in a file of its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from ptycho_dist.errors import ConfigError

T = TypeVar("T")
F = TypeVar("F")


class Registry(Generic[T]):
    """Entries by name; those of a folder join when they are first asked for.

    Parameters
    ----------
    kind
        What an entry is, for messages.
    package
        Dotted name of the folder whose modules register entries.
    """

    def __init__(self, kind: str, package: str) -> None:
        self._kind, self._package = kind, package
        self._entries: dict[str, T] = {}
        self._is_loaded = False

    def add(self, name: str, entry: T) -> None:
        """Register an entry.

        Raises
        ------
        ConfigError
            If the name is taken.
        """
        if name in self._entries:
            msg = f"{self._kind} {name!r} is registered twice; expected one of each name. Rename one."
            raise ConfigError(msg)
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates; see :meth:`add`."""

        def decorate(entry: T) -> T:
            self.add(name, entry)
            return entry

        return decorate

    def register_as(self, name: str, make: Callable[[F], T]) -> Callable[[F], F]:
        """Return a decorator that registers what ``make`` makes of a function, and leaves that as it is."""

        def decorate(function: F) -> F:
            self.add(name, make(function))
            return function

        return decorate

    def entries(self) -> Mapping[str, T]:
        """Return all entries in the order of their names, those of the folder included."""
        if not self._is_loaded:
            self._is_loaded = True
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        return dict(sorted(self._entries.items()))
