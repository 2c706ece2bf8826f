"""What `inspect` says of a file that is no scan as it is: its content, what readers miss, a draft map; and pictures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.atomic import atomic_path
from ptycho_dist.commands.path_checks import require_new_files, require_output_file
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.errors import DataFormatError

if TYPE_CHECKING:
    from ptycho_dist.data.formats.product_h5 import Product
    from ptycho_dist.data.scan import Scan
    from ptycho_dist.evaluate.scan_figure import ScanPicture
    from ptycho_dist.types import FloatArray

_BATCH_BYTES = 1 << 26


def read_product_or_none(path: Path) -> Product | None:
    """Read a product; None where a file is none."""
    from ptycho_dist.data.formats.product_h5 import read_product

    if path.suffix.lower() not in (".h5", ".hdf5"):
        return None
    try:
        return read_product(path)
    except DataFormatError:
        return None


def content_lines(path: Path) -> list[str]:
    """Say in lines what is in a file, and what readers and maps make of it; nothing of a kind that has no names."""
    from ptycho_dist.data.formats.contents import NoContentError, contents, folded
    from ptycho_dist.data.maps.fitting import readers_in_words

    try:
        _, entries = contents(path)
    except NoContentError:
        return []
    return ["content:", *(f"  {line}" for line in folded(entries)), *readers_in_words(path)]


def unopened(path: Path, reason: DataFormatError) -> list[str]:
    """Say in lines what is in a file that does not open as a scan, why, and what would make it one.

    Raises
    ------
    DataFormatError
        The reason, where the file has no content that can be listed.
    """
    from ptycho_dist.data.formats.contents import contents
    from ptycho_dist.data.maps.draft import draft_of

    if not path.is_file():
        raise reason
    try:
        kind, _ = contents(path)
    except DataFormatError:
        raise reason from None
    lines = [f"{path}: {kind} file, not opened as a scan", *content_lines(path), f"why not: {reason}"]
    if kind != "hdf5":
        return lines
    draft = draft_of(path)
    lines += [f"missing  {one}" for one in draft.missing]
    lines += ["draft of a map:", *(f"  {line}" for line in draft.lines)]
    name = shlex.quote(f"{path.stem}_map.yaml")
    return [
        *lines,
        f"next: ptycho-dist inspect {shlex.quote(str(path))} --write_map {name}",
        f"      complete it (docs/your_beamline.md), then: ptycho-dist inspect {shlex.quote(str(path))} --map {name}",
    ]


def write_map(path: Path, target: Path, *, overwrite: bool = False) -> str:
    """Write a draft of a map of an HDF5 file; return what was done, in a line.

    Raises
    ------
    DataFormatError
        If it is no HDF5 file.
    ConfigError
        If the draft is there already, or cannot be written there.
    """
    from ptycho_dist.data.maps.draft import draft_of, require_hdf5

    require_output_file(target, (".yaml", ".yml"))
    require_new_files([target], overwrite=overwrite)
    require_hdf5(path)
    draft = draft_of(path)
    with atomic_path(target) as temporary:
        temporary.write_text(draft.text, encoding="utf-8")
    left = "; still to fill in: " + "; ".join(draft.missing) if draft.missing else ""
    return f"{target}: draft of a map{left}\n"


def write_figure(path: Path, target: Path, options: ScanOptions) -> str:
    """Draw a scan; return what was done, in a line.

    Raises
    ------
    DataFormatError
        If the file does not open as a scan.
    """
    from ptycho_dist.data.scan import open_looked_at

    require_output_file(target, (".png",))
    with open_looked_at(path, options, unpack=True) as scan:
        return draw_figure(scan, target)


def draw_figure(scan: Scan, target: Path) -> str:
    """Draw an open scan that was looked at; return what was done, in a line."""
    from ptycho_dist.evaluate.scan_figure import draw_scan

    draw_scan(target, _picture(scan))
    return f"{target}: mean pattern, mask, positions and probe\n"


def _picture(scan: Scan) -> ScanPicture:
    import numpy as np

    from ptycho_dist.data.formats.dead_pixels import centre_of_mass
    from ptycho_dist.evaluate.scan_figure import ScanPicture

    N = scan.header.N
    mask = np.ones((N, N), np.bool_) if scan.mask is None else scan.mask
    mean, sums = _mean_and_sums(scan)
    return ScanPicture(
        title=f"{scan.header.path.name}: {len(scan)} patterns of {N} x {N}, {scan.header.format_name}",
        mean=np.where(mask, mean, np.nan),
        mask=mask,
        left_out=scan.raw.left_out,
        centre_of_mass_px=centre_of_mass(mean, mask),
        positions_px=scan.positions_px,
        sums=sums,
        probe=scan.probe,
        pixel_size_m=scan.header.pixel_size_m,
    )


def _mean_and_sums(scan: Scan) -> tuple[FloatArray, FloatArray]:
    """Mean pattern (N, N) and counts of each pattern (B,): of the look at all patterns, where the file has counts.

    Of amplitudes that knows no squares; then all patterns are read once more, in batches.
    """
    import numpy as np

    survey, raw = scan.survey, scan.raw
    if survey is not None and not raw.square:
        photon = raw.counts_per_photon
        return survey.sums / (max(survey.n_counted, 1) * photon), survey.totals / photon
    N, sums = scan.header.N, np.zeros(len(scan))
    mean, step = np.zeros((N, N)), max(1, _BATCH_BYTES // (4 * N * N))
    for first in range(0, len(scan), step):
        counts = scan.read_patterns(np.arange(first, min(first + step, len(scan))))
        mean += counts.sum(axis=0, dtype=np.float64)
        sums[first : first + len(counts)] = counts.sum(axis=(1, 2), dtype=np.float64)
    return mean / len(scan), sums
