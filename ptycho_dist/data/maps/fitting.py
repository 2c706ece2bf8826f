"""What each reader and each map makes of a file, in words."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.data.formats.containers import container_of
from ptycho_dist.data.formats.registry import formats
from ptycho_dist.data.maps.loading import known_maps
from ptycho_dist.data.maps.schema import Where
from ptycho_dist.data.maps.values import Files, is_there

_MOST_NEAR = 6


def readers_in_words(path: Path) -> list[str]:
    """Say of each reader and map that knows something of a file whether it fits, and what it misses.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    list of str
        Those that fit first; of the others the six with most of their names in the file.
    """
    found = [*_readers(path), *_maps(path)]
    fitting = [said for share, said in found if share == 1.0]
    near = sorted((one for one in found if 0 < one[0] < 1.0), key=lambda one: -one[0])
    return [*fitting, *(said for _, said in near[:_MOST_NEAR])]


def _readers(path: Path) -> list[tuple[float, str]]:
    container = container_of(path)
    if container is None:
        return []
    names = container.names(path)
    found = []
    for one in formats().values():
        there = [key for key in one.keys if key in names]
        if one.container == container.name and one.detect(names):
            found.append((1.0, f"reader {one.name}: fits (has {', '.join(there)})"))
        elif one.container == container.name and there:
            lacking = ", ".join(key for key in one.keys if key not in names)
            found.append(
                (0.9 * len(there) / len(one.keys), f"reader {one.name}: has {', '.join(there)}, not {lacking}")
            )
    return found


def _maps(path: Path) -> list[tuple[float, str]]:
    container = container_of(path)
    if container is None or container.name != "hdf5":
        return []
    found = []
    for _, scan_map in known_maps():
        files = Files(path, scan_map.stem_ends)
        there = [is_there(files, one) for one in scan_map.match]
        if not scan_map.match or not any(there):
            continue
        lacking = [_in_words(one) for one, is_found in zip(scan_map.match, there, strict=True) if not is_found]
        said = "fits" if not lacking else f"has {sum(there)} of {len(there)} paths, not {', '.join(lacking)}"
        found.append((sum(there) / len(there), f"map {scan_map.name}: {said}"))
    return found


def _in_words(where: Where) -> str:
    place = where.path or f"column {where.column}"
    return f"{place} in {where.file}" if where.file else place
