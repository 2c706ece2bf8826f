"""Files beside a scan that hold parts of it; none that a link leads to outside the scan's folder is read."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.errors import DataFormatError


def is_inside(scan: Path, companion: Path) -> bool:
    """Tell whether a file lies, links followed, in the folder of a scan, or in that to which the scan is a link."""
    folders = {scan.parent.resolve(), scan.resolve().parent}
    place = companion.resolve()
    return any(place.is_relative_to(folder) for folder in folders)


def is_companion(scan: Path, companion: Path) -> bool:
    """Tell whether a file is there that may be read with a scan."""
    return companion != scan and companion.is_file() and is_inside(scan, companion)


def require_inside(scan: Path, companion: Path) -> None:
    """Refuse a companion that leads out of the folder.

    Raises
    ------
    DataFormatError
        If it does.
    """
    if not is_inside(scan, companion):
        msg = (
            f"{companion} is a link to {companion.resolve()}, outside the folder of {scan}; such links are not "
            "followed. Copy that file beside the scan."
        )
        raise DataFormatError(msg)
