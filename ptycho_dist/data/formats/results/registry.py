"""Formats of reconstructions by name; one joins with one decorated function, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.data.formats.product import Product
from ptycho_dist.data.formats.writers.registry import Written
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.registry import Registry

LOSSES, EXTRAS, PROVENANCE = "losses", "extras", "provenance"
_WORDS = {
    LOSSES: "the losses",
    EXTRAS: "our own maps",
    PROVENANCE: "how it was made (settings, scan, propagation)",
}
WriteResult = Callable[[Path, Product], tuple[Path, ...]]


@dataclass(frozen=True, kw_only=True)
class ResultWriter:
    """A format that reconstructions are written in.

    Parameters
    ----------
    name, suffixes
        Its name, and how the name of such a file ends.
    holds
        Which of losses, extras and provenance it can hold.
    needs_units
        Whether the size of an object pixel must be known.
    write
        Writes one and returns the files that it made.
    files
        Files that writing a path makes.
    """

    name: str
    suffixes: tuple[str, ...]
    holds: frozenset[str]
    needs_units: bool
    write: WriteResult
    files: Callable[[Path], tuple[Path, ...]]


_WRITERS: Registry[ResultWriter] = Registry("result writer", "ptycho_dist.data.formats.results")


def _itself(path: Path) -> tuple[Path, ...]:
    return (path,)


def register_result_writer(
    name: str,
    *,
    suffixes: tuple[str, ...],
    holds: tuple[str, ...] = (),
    needs_units: bool = False,
    files: Callable[[Path], tuple[Path, ...]] = _itself,
) -> Callable[[WriteResult], WriteResult]:
    """Register a function that writes reconstructions; see :class:`ResultWriter`.

    Raises
    ------
    ConfigError
        If the name is taken.
    """
    return _WRITERS.register_as(
        name,
        lambda write: ResultWriter(
            name=name, suffixes=suffixes, holds=frozenset(holds), needs_units=needs_units, write=write, files=files
        ),
    )


def result_writer_names() -> tuple[str, ...]:
    """Return the names of all formats that reconstructions are written in."""
    return tuple(_WRITERS.entries())


def result_writer(name: str) -> ResultWriter:
    """Return the writer of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    found = _WRITERS.entries().get(name)
    if found is None:
        msg = (
            f"convert.to = {name!r}; a reconstruction is written as one of {', '.join(result_writer_names())}. "
            "Say one of these with --to, or give a scan."
        )
        raise ConfigError(msg)
    return found


def write_result_as(name: str, path: Path, product: Product) -> Written:
    """Write a reconstruction in a format of some name.

    Raises
    ------
    ConfigError
        If there is no such format.
    DataFormatError
        If the format holds lengths and the size of an object pixel is unknown.
    """
    writer = result_writer(name)
    if writer.needs_units and not product.geometry.units_known:
        msg = (
            f"{path} is to be {name}, which holds lengths; the reconstruction does not say the size of an object "
            "pixel. Reconstruct with --pixel_size_m, or write npz."
        )
        raise DataFormatError(msg)
    held = {
        LOSSES: len(product.losses) > 0,
        EXTRAS: bool(product.extras),
        PROVENANCE: bool(product.metadata.provenance),
    }
    lost = tuple(said for part, said in _WORDS.items() if held[part] and part not in writer.holds)
    return Written(writer.write(path, product), lost)
