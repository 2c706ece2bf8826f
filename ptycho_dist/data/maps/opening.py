"""Scans that a map opens: the map that the user names, or the one whose paths a file has."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.formats.prepare import grown, raw_scan_of
from ptycho_dist.data.maps.loading import SHIPPED, known_maps, load_map
from ptycho_dist.data.maps.reading import growing_measurement_of, measurement_of
from ptycho_dist.data.maps.schema import ScanMap
from ptycho_dist.data.maps.values import Files, is_there


def open_mapped(path: Path, scan_map: ScanMap, options: ScanOptions) -> RawScan:
    """Open a scan by a map.

    Raises
    ------
    DataFormatError
        If the file is not as the map says, or a number in it cannot be so.
    """
    return raw_scan_of(path, measurement_of(path, scan_map), options)


def open_named(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan by the map that ``options.map`` names; its content is told in the conversions."""
    named = Path(str(options.map))
    scan_map = load_map(named)
    found = measurement_of(path, scan_map)
    digest = hashlib.sha256(named.read_bytes()).hexdigest()[:12]
    said = (f"map {named.name}: sha256 {digest}...", *found.conversions)
    return raw_scan_of(path, replace(found, conversions=said), options)


def open_growing_named(path: Path, options: ScanOptions, known: RawScan | None) -> RawScan:
    """Open what there is of a scan that is still measured, by the map that ``options.map`` names."""
    return open_growing_mapped(load_map(Path(str(options.map))), path, options, known)


def open_growing_mapped(scan_map: ScanMap, path: Path, options: ScanOptions, known: RawScan | None) -> RawScan:
    """Open what there is of a scan that is still measured, by a map."""
    found, n_unplaced = growing_measurement_of(path, scan_map)
    if known is None:
        return replace(raw_scan_of(path, found, options), n_unplaced=n_unplaced)
    return replace(grown(path, known, found.frames, found.positions), n_unplaced=n_unplaced)


def map_file(path: Path) -> Path | None:
    """Find the file of the map by which a scan is opened where none is named; None where it is opened otherwise.

    Raises
    ------
    ConfigError
        If a map in the user's folder is faulty.
    """
    found = _best(path)
    return None if found is None else found[0]


def matching(path: Path) -> ScanMap | None:
    """Find the map whose paths a file has: the user's before those that are shipped, then that with most paths.

    Raises
    ------
    ConfigError
        If a map in the user's folder is faulty.
    """
    found = _best(path)
    return None if found is None else found[1]


def _best(path: Path) -> tuple[Path, ScanMap] | None:
    best: tuple[Path, ScanMap] | None = None
    for place, scan_map in known_maps():
        files = Files(path, scan_map.stem_ends)
        if not scan_map.match or not all(is_there(files, one) for one in scan_map.match):
            continue
        if place.parent != SHIPPED:
            return place, scan_map
        if best is None or len(scan_map.match) > len(best[1].match):
            best = place, scan_map
    return best
