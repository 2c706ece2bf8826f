"""Reconstructions that are offered as a scan: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ptycho_dist.data.formats.no_scan import register_no_scan
from ptycho_dist.data.formats.results.reading import kind_of_result

_OBJECTS, _PROBES = {"obj", "object", "objectGuess", "reconstruction"}, {"probe", "probeGuess"}
_PATTERNS = {"dp", "ptychogram", "diffraction", "diff3d", "data", "patterns", "reciprocal"}
_CONVERTIBLE = (
    "a result without patterns; expected a scan. Give the file of the patterns, and start a refinement from this one: "
    "ptycho-dist refine SCAN --start FILE; or convert it: ptycho-dist convert FILE OUT.npz --to npz."
)
_FOREIGN = (
    "a result without patterns; expected a scan. Give the file of the patterns; to start a refinement from this one "
    "write its object and probe as an NPZ with complex 'object' and 'probe'."
)


@register_no_scan("reconstruction_hdf5", container="hdf5")
def _hdf5(path: Path, keys: Collection[str]) -> str | None:
    kind = kind_of_result(path)
    if kind is not None:
        return f"{kind.words}: {_CONVERTIBLE}"
    if any(f"entry_{name}/result_1" in keys for name in ("1", "last")):
        return f"a result of PyNX (CXI): {_FOREIGN}"
    return f"a reconstruction of another program: {_FOREIGN}" if _has_object_and_probe(keys) else None


@register_no_scan("reconstruction_npz", container="npz")
def _npz(path: Path, keys: Collection[str]) -> str | None:
    kind = kind_of_result(path)
    if kind is not None:
        return f"{kind.words}: {_CONVERTIBLE}"
    return f"a reconstruction (object and probe): {_FOREIGN}" if _has_object_and_probe(keys) else None


def _has_object_and_probe(keys: Collection[str]) -> bool:
    names = {*keys}
    return bool(names & _OBJECTS) and bool(names & _PROBES) and not names & _PATTERNS
