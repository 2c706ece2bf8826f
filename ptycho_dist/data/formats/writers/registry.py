"""Formats that a scan can be written in, by name. One joins with one decorated function, in a file of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.registry import Registry
from ptycho_dist.types import FAR_FIELD, Propagation

GEOMETRY = ("pixel_size_m", "energy_eV", "detector_distance_m")
PARTS = {
    "probe": "the probe",
    "mask": "the mask (bad pixels stay as zeros)",
    "probe_mask": "where the probe may differ from zero",
    "object_": "the object",
    "nphotons": "the nominal number of photons",
    "pixel_size_m": "the size of an object pixel",
    "energy_eV": "the energy",
    "detector_distance_m": "the distance of the detector",
    "is_electron": "that these are electrons (a detector pixel in it is that by which photons of this energy give the "
    "object pixel)",
    "propagation": "that the detector is in the near field (readers that take it to be in the far field compute "
    "another object pixel)",
    "metadata": "the notes on how the scan was read",
}
"""Parts of a scan besides patterns and positions, in words."""
_FIXES = {
    "pixel_size_m": "give --pixel_size_m",
    "energy_eV": "give --energy_eV",
    "detector_distance_m": "give --detector_distance_m",
    "probe": "write another format, or give the scan a probe first",
}
Write = Callable[[Path, ScanContent], tuple[Path, ...]]


@dataclass(frozen=True, kw_only=True)
class ScanWriter:
    """A format that scans are written in.

    Parameters
    ----------
    name
        Its name.
    suffixes
        How the name of such a file ends; the first is the usual one.
    holds
        Names of the parts (:data:`PARTS`) that it can hold.
    needs
        Parts without which no program opens such a file.
    write
        Writes a scan and returns the files that it made.
    companion
        Name of the second file that is written beside the first, or None.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: frozenset[str]
    needs: tuple[str, ...]
    write: Write
    companion: Callable[[Path], Path] | None = None

    def files(self, path: Path) -> tuple[Path, ...]:
        """Return the files that writing ``path`` makes."""
        return (path,) if self.companion is None else (path, self.companion(path))


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    paths
        The files.
    lost
        Parts of the scan that the format cannot hold, in words.
    """

    paths: tuple[Path, ...]
    lost: tuple[str, ...] = ()


_WRITERS: Registry[ScanWriter] = Registry("scan writer", "ptycho_dist.data.formats.writers")


def register_writer(
    name: str,
    *,
    suffixes: tuple[str, ...],
    holds: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
    companion: Callable[[Path], Path] | None = None,
) -> Callable[[Write], Write]:
    """Register a function that writes scans in one format; see :class:`ScanWriter`.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _WRITERS.register_as(
        name,
        lambda write: ScanWriter(
            name=name, suffixes=suffixes, holds=frozenset(holds), needs=needs, write=write, companion=companion
        ),
    )


def writer_names() -> tuple[str, ...]:
    """Return the names of all formats that scans are written in."""
    return tuple(_WRITERS.entries())


def scan_writer(name: str) -> ScanWriter:
    """Return the writer of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    found = _WRITERS.entries().get(name)
    if found is None:
        msg = f"convert.to = {name!r}; a scan is written as one of {', '.join(writer_names())}. Change --to."
        raise ConfigError(msg)
    return found


def write_scan_as(name: str, path: Path, content: ScanContent) -> Written:
    """Write a scan in a format of some name; the files appear under their names when they are complete.

    Raises
    ------
    ConfigError
        If there is no such format.
    DataFormatError
        If the scan lacks what the format needs.
    """
    writer = scan_writer(name)
    missing = [part for part in writer.needs if not _is_there(getattr(content, part))]
    if missing:
        fixes = "; ".join(dict.fromkeys(_FIXES[part] for part in missing))
        msg = (
            f"{path} is to be {name}, which needs {' and '.join(PARTS[part] for part in missing)}; the scan does not "
            f"say so. {fixes[0].upper()}{fixes[1:]}."
        )
        raise DataFormatError(msg)
    lost = tuple(said for part, said in PARTS.items() if part not in writer.holds and _is_there(getattr(content, part)))
    return Written(writer.write(path, content), lost)


def _is_there(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Propagation):
        return value.kind != FAR_FIELD.kind
    if isinstance(value, float):
        return math.isfinite(value)
    return value is not None and not (isinstance(value, dict) and not value)
