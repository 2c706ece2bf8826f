"""Patterns of Ptychodus joined by index with the positions of the product beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.base import NAN, ComplexArray, PatternSource
from ptycho_dist.data.formats.chosen_frames import chosen
from ptycho_dist.data.formats.companion_files import is_companion
from ptycho_dist.data.formats.containers import container_of
from ptycho_dist.data.formats.measurement import CENTRE, Positions
from ptycho_dist.data.formats.results.ptychodus_parts import ProductParts, read_parts
from ptycho_dist.data.formats.results.reading import kind_of_result
from ptycho_dist.data.formats.text_positions import join_frames, read_positions, split_positions_file
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray

_SUFFIXES = (".h5", ".hdf5", ".cxi", ".npz")
_MOST_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Frames with their positions, and what came with these.

    Parameters
    ----------
    frames, positions
        One position for each frame.
    probe
        complex64, shape (P, N, N), or None.
    pixel_size_m, energy_eV, distance_m
        NaN where unknown.
    companions, conversions
        Other files, and what was done, in words.
    """

    frames: PatternSource
    positions: Positions
    probe: ComplexArray | None = None
    pixel_size_m: float = NAN
    energy_eV: float = NAN
    distance_m: float = NAN
    companions: tuple[Path, ...] = ()
    conversions: tuple[str, ...] = ()


def join_product(path: Path, frames: PatternSource, indexes: IntArray, named: str | None) -> Joined:
    """Find the product of a file of patterns, and join both by index, in the order of the index.

    Parameters
    ----------
    path, frames
        The file of patterns, and these.
    indexes
        int64, shape (B,): number of each.
    named
        The product, or the text file, that the user names; else a product is looked for in the folder of the file.

    Raises
    ------
    DataFormatError
        If there is no product, several could be meant, or no index is in both.
    """
    if named is not None and _is_text(named):
        return _with_text(path, frames, indexes, named)
    product = _find(path) if named is None else Path(named)
    if named is not None and (not product.is_file() or kind_of_result(product) is None):
        msg = f"positions_file {product} is {'no product' if product.is_file() else 'missing'}; expected the Ptychodus "
        raise DataFormatError(msg + f"product with the positions of {path.name}. Check --positions_file.")
    parts = read_parts(product)
    _require_once(path, indexes)
    _require_once(product, parts.indexes)
    common, rows, places = np.intersect1d(indexes, parts.indexes, return_indices=True)
    if not len(common):
        msg = (
            f"{path} holds patterns {indexes.min()} to {indexes.max()}, {product} positions {parts.indexes.min()} to "
            f"{parts.indexes.max()}; expected indexes that are in both. Name the right product: --positions_file."
        )
        raise DataFormatError(msg)
    side = min(frames.shape[1:])
    return Joined(
        frames=chosen(frames, rows),
        positions=Positions(values=parts.centres_m[places], refer_to=CENTRE),
        probe=parts.probe if parts.probe is not None and parts.probe.shape[-1] <= side else None,
        pixel_size_m=_pixel_of(parts, side),
        energy_eV=parts.energy_eV,
        distance_m=parts.distance_m,
        companions=(product,),
        conversions=_words(product, len(indexes), len(parts.indexes), len(common)),
    )


def _is_text(named: str) -> bool:
    """Tell whether the file that the user names can be no product."""
    file = split_positions_file(named)[0]
    return file.is_file() and container_of(file) is None


def _with_text(path: Path, frames: PatternSource, indexes: IntArray, named: str) -> Joined:
    """Join frames with the positions of a text file."""
    _require_once(path, indexes)
    positions = read_positions(named)
    joined = join_frames(path, indexes, positions)
    return Joined(
        frames=chosen(frames, joined.frames),
        positions=Positions(values=positions.values_m[joined.positions]),
        companions=(split_positions_file(named)[0],),
        conversions=(*positions.said, *joined.said),
    )


def _pixel_of(parts: ProductParts, side: int) -> float:
    """Object pixel of frames of a side, where the probe shows that the product has that side too."""
    same = parts.probe is not None and parts.probe.shape[-1] == side
    return parts.pixel_size_m if same else NAN


def _require_once(path: Path, indexes: IntArray) -> None:
    values, counts = np.unique(indexes, return_counts=True)
    if len(values) < len(indexes):
        twice = int(values[counts > 1][0])
        msg = f"{path} holds the index {twice} {counts.max()} times; expected each once. Export the scan again."
        raise DataFormatError(msg)


def _words(product: Path, n_patterns: int, n_positions: int, n_common: int) -> tuple[str, ...]:
    said = [f"positions: of {product.name}, {n_common} joined by index"]
    if n_patterns > n_common:
        said.append(f"patterns: {n_patterns - n_common} of {n_patterns} without a position left out")
    if n_positions > n_common:
        said.append(f"positions: {n_positions - n_common} of {n_positions} without a pattern left out")
    return tuple(said)


def _find(path: Path) -> Path:
    folder = path.parent
    stems = dict.fromkeys((path.stem.replace("diffraction", "product"), f"{path.stem}_product", "product"))
    suffixes = dict.fromkeys((path.suffix, *_SUFFIXES))
    likely = [folder / f"{stem}{suffix}" for stem in stems for suffix in suffixes]
    for candidate in likely:
        if is_companion(path, candidate) and kind_of_result(candidate) is not None:
            return candidate
    others = sorted(one for one in folder.iterdir() if "product" in one.name.lower() and one.suffix in _SUFFIXES)
    found = [one for one in others[:_MOST_CANDIDATES] if is_companion(path, one) and kind_of_result(one) is not None]
    if len(found) == 1:
        return found[0]
    seen = f"{', '.join(one.name for one in found)} could be meant" if found else "there is none beside it"
    msg = (
        f"{path} holds patterns without positions, which Ptychodus keeps in a product such as {likely[0].name}; "
        f"{seen}. Copy the product beside it, or name it: --positions_file FILE."
    )
    raise DataFormatError(msg)
