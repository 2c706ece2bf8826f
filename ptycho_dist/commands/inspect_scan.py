"""What `inspect` says of a scan beyond its header: extent, step and overlap, and what to run next."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptycho_dist.data.scan import Scan


def next_lines(scan: Path) -> list[str]:
    """Say in lines what can be done with a scan, and what each way gives and costs."""
    file, results = shlex.quote(str(scan)), results_folder(scan)
    return [
        f"next: ptycho-dist reconstruct {file} --output_dir {shlex.quote(str(results))} --devices 2",
        "        trains a network, then refines its object and the probe by physics, in --iterations passes over all",
        "        patterns: these lower the Fourier error; --iterations 0 saves their time",
        f"  or: ptycho-dist infer {file} --output_dir {shlex.quote(f'{results}-network')}",
        "        the network that ships with the package: nothing is trained, for a first look",
        f"  or: ptycho-dist refine {file} --output_dir {shlex.quote(f'{results}-refined')}",
        "        no network: physics alone, from an object of ones",
        f"  picture: ptycho-dist inspect {file} --figure {shlex.quote(scan.with_suffix('.png').name)}",
    ]


def results_folder(scan: Path) -> Path:
    """Suggest a folder for results: that of a scan in a folder of ``runs/``, else one of its name there."""
    parent = scan.parent
    return parent if "runs" in parent.parent.parts else Path("runs") / scan.stem


def extent_lines(scan: Scan) -> list[str]:
    """Say in lines how far a scan reaches, how far apart its points are, and how far its spots overlap."""
    import numpy as np

    from ptycho_dist.physics.sampling import nearest_distances

    size, N = scan.header.pixel_size_m, scan.header.N
    rows, columns = np.ptp(scan.positions_px, axis=0)
    distances = nearest_distances(scan.positions_px)
    step = float(np.median(distances)) if distances.size else math.nan
    return [
        f"  extent       positions span {_lengths((rows, columns), size)} (y, x); the object {rows + N:.0f} x "
        f"{columns + N:.0f} px",
        f"  step         {_lengths((step,), size)} to the nearest neighbour (median)"
        if distances.size
        else "  step         unknown: all positions are one",
        *_sampling(scan),
    ]


def _lengths(pixels: tuple[float, ...], pixel_size_m: float) -> str:
    """Write lengths in pixels, and in micrometres where the pixel size is known."""
    in_px = f"{' x '.join(f'{one:.4g}' for one in pixels)} px"
    if not math.isfinite(pixel_size_m):
        return in_px
    return f"{in_px} = {' x '.join(f'{one * pixel_size_m * 1e6:.4g}' for one in pixels)} um"


def _sampling(scan: Scan) -> list[str]:
    from ptycho_dist.physics.sampling import sampling_of

    if scan.probe is None:
        return []
    found = sampling_of(scan.positions_px, scan.probe)
    if math.isnan(found.overlap):
        return []
    width = _lengths((found.probe_diameter_px,), scan.header.pixel_size_m)
    return [f"  overlap      {found.overlap:.0%} of the probe's diameter, {width} (of 90 % of its power)"]
