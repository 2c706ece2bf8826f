"""Which version of this package runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Version of the installed package; ``unknown`` where it runs from a folder alone."""
    try:
        return version("ptycho-dist")
    except PackageNotFoundError:
        return "unknown"
