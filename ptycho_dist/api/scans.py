"""The calls that make scans: ``simulate_scan``, ``convert_scan``, ``write_scan``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike, NDArray

from ptycho_dist.api.invoke import call
from ptycho_dist.api.python_words import readable_errors
from ptycho_dist.api.results import Reconstruction
from ptycho_dist.api.scan_arrays import NOT_GIVEN, PARTS, PATTERNS, POSITIONS, content_of
from ptycho_dist.api.signatures import with_fields, with_settings
from ptycho_dist.commands.path_checks import SCAN_SUFFIXES, require_new_files, require_output_file
from ptycho_dist.convert.run import convert_result, convert_to
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.formats.results.reading import kind_of_result
from ptycho_dist.data.formats.results.registry import result_writer
from ptycho_dist.data.formats.writers.ptycho_dist import NAME as OWN
from ptycho_dist.data.formats.writers.registry import Written, scan_writer
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.data.scan_set import Source, open_source
from ptycho_dist.errors import ConfigError

PathLike = Path | str


@with_settings("simulate")
@readable_errors
def simulate_scan(
    output_file: PathLike, *, progress: bool | None = None, overwrite: bool = False, **settings: Any
) -> Source:
    """Simulate a scan of a known object, or with ``n_scans`` a set of scans, and open it.

    Parameters
    ----------
    output_file
        HDF5 file to write; with ``n_scans`` a folder.
    progress
        Whether to tell what is done; where not given, in notebooks only.
    overwrite
        Whether a scan that is there already may be replaced; else it is refused.
    **settings
        What ``ptycho-dist simulate --help`` lists.

    Raises
    ------
    PtychoDistError
        What the command line would tell.
    """
    call("simulate", {"output_file": output_file, "overwrite": overwrite, **settings}, progress=progress)
    return open_source(Path(output_file))


@with_settings("convert", "data")
@readable_errors
def convert_scan(
    source: Scan | Reconstruction | PathLike,
    output_file: PathLike,
    *,
    to: str = OWN,
    overwrite: bool = False,
    **options: Any,
) -> Written:
    """Write a scan, or a reconstruction, in the format of another program.

    Parameters
    ----------
    source
        Opened scan, reconstruction, or the file of either.
    output_file
        File to write.
    to
        Name of the format, as ``ptycho_dist``, ``cxi``, ``ptyd``, ``ptychodus``, ``ptychopinn_npz``, ``tike_npz``; of
        a reconstruction ``ptyr``, ``cxi``, ``tiff``, ``npz``, ``ptychodus``.
    overwrite
        Whether files that are there already may be replaced.
    **options
        Fields of :class:`~ptycho_dist.data.scan.ScanOptions`, where a path of a scan is given.

    Returns
    -------
    Written
        ``paths`` that were written, and what is ``lost``, in words.

    Raises
    ------
    ConfigError
        For an unknown format, a name that does not fit it, or a file that is there already.
    DataFormatError
        If the source lacks what the format needs.
    """
    target = Path(output_file)
    path = None if isinstance(source, Scan) else Path(source)
    is_result = path is not None and path.is_file() and kind_of_result(path) is not None
    writer = result_writer(to) if is_result else scan_writer(to)
    require_output_file(target, writer.suffixes)
    require_new_files(writer.files(target), overwrite=overwrite)
    if isinstance(source, Scan):
        return convert_to(to, source, target)
    if is_result:
        return convert_result(to, Path(source), target)
    with open_scan(Path(source), ScanOptions(**options), unpack=True) as scan:
        return convert_to(to, scan, target)


@with_fields(ScanContent, *NOT_GIVEN, PATTERNS, POSITIONS)
@readable_errors
def write_scan(
    output_file: PathLike,
    patterns: NDArray[Any],
    positions_px: ArrayLike,
    probe: ArrayLike | None = None,
    *,
    overwrite: bool = False,
    **more: Any,
) -> Scan:
    """Write arrays as a scan file of this project (HDF5), and open it.

    Parameters
    ----------
    output_file
        File to write; it appears under its name only when it is complete.
    patterns
        Photon counts, shape (B, N, N), zero frequency at the centre; anything that can be sliced like an array.
    positions_px
        Corners (y, x) of the patches in object pixels, shape (B, 2).
    probe
        Complex, shape (N, N), or (P, N, N) for P incoherent modes; a training starts from it.
    overwrite
        Whether a file that is there already may be replaced; else it is refused.
    **more
        ``mask`` (N, N; True is a valid pixel), ``probe_mask`` (N, N), ``object_`` (complex, H, W) and its
        ``object_origin_px`` (y, x), ``nphotons``, ``pixel_size_m``, ``energy_eV``, ``detector_distance_m``, and
        ``metadata``, a mapping that goes into JSON.

    Raises
    ------
    ConfigError
        For a keyword that is not known.
    DataFormatError
        If shapes disagree, or values are not such as a scan can have.
    """
    path = Path(output_file)
    require_output_file(path, SCAN_SUFFIXES)
    require_new_files([path], overwrite=overwrite)
    _require_parts_of_a_scan(more)
    content = content_of(path, {**more, PATTERNS: patterns, POSITIONS: positions_px, "probe": probe})
    return open_scan(write_scan_h5(path, content))


def _require_parts_of_a_scan(more: Mapping[str, Any]) -> None:
    known = [name for name in PARTS if name not in (PATTERNS, POSITIONS, "probe")]
    unknown = [name for name in more if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"It knows {', '.join(known)}."
        msg = f"write_scan() got an unknown keyword {unknown[0]!r}; expected a part of a scan. {hint}"
        raise ConfigError(msg)
