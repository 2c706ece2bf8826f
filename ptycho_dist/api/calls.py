"""The calls: ``reconstruct``, ``train``, ``infer``, ``refine_object``, ``simulate_scan``, ``write_scan`` and so on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho_dist.api.invoke import call
from ptycho_dist.api.results import Reconstruction, Training, read_reconstruction, read_training
from ptycho_dist.commands.path_checks import SCAN_SUFFIXES, require_new_files, require_output_file
from ptycho_dist.convert.run import convert_result, convert_to
from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.ptycho_dist_h5_writer import COPY_ROWS, ScanContent, write_scan_h5
from ptycho_dist.data.formats.results.reading import kind_of_result
from ptycho_dist.data.formats.results.registry import result_writer
from ptycho_dist.data.formats.writers.ptycho_dist import NAME as OWN
from ptycho_dist.data.formats.writers.registry import Written, scan_writer
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.data.scan_set import Source, open_source
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.inference.product import PRODUCT_NAME

PathLike = Path | str


def reconstruct(
    scan: Scan | PathLike, *, output_dir: PathLike, progress: bool = False, overwrite: bool = False, **settings: Any
) -> Reconstruction:
    """Train, predict, stitch, refine and evaluate.

    Parameters
    ----------
    scan
        Opened scan, or its file.
    output_dir
        Folder of all results; an unfinished job that is there is resumed.
    progress
        Whether to tell on standard error what is done.
    overwrite
        Whether results that are in the folder already may be replaced; else those of the same job are returned as they
        are, and others are set aside in a folder ``earlier-DATE``.
    **settings
        What ``ptycho-dist reconstruct --help`` lists, such as ``devices=2``, ``max_epochs=20`` or
        ``reference="truth.npz"``; a dotted name by ``**{"refine.batch_size": 32}``.

    Raises
    ------
    PtychoDistError
        What the command line would tell: a ConfigError for a wrong name or value, and so on.
    KeyboardInterrupt
        If it is interrupted; the same call resumes it.
    """
    return _reconstruction("reconstruct", scan, output_dir, {"overwrite": overwrite, **settings}, progress=progress)


def infer(
    scan: Scan | PathLike | None = None,
    *,
    output_dir: PathLike,
    progress: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Reconstruction:
    """Predict a scan with a trained network, stitch and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist infer``;
    ``model_path`` is a :class:`~ptycho_dist.api.results.Training` or a bundle folder. With ``follow`` or ``zmq`` in
    place of a scan one is followed while it is measured, to its end.
    """
    if scan is None:
        if isinstance(settings.get("follow"), Path):
            settings["follow"] = str(settings["follow"])
        call("infer", {"output_dir": output_dir, "overwrite": overwrite, **settings}, progress=progress)
        return _followed(Path(output_dir), settings)
    return _reconstruction("infer", scan, output_dir, {"overwrite": overwrite, **settings}, progress=progress)


def refine_object(
    scan: Scan | PathLike, *, output_dir: PathLike, progress: bool = False, overwrite: bool = False, **settings: Any
) -> Reconstruction:
    """Refine object and probe by physics, from any start, and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist refine``;
    ``start`` is a :class:`~ptycho_dist.api.results.Reconstruction` or a file.
    """
    return _reconstruction("refine", scan, output_dir, {"overwrite": overwrite, **settings}, progress=progress)


def train(
    scan: Source | PathLike, *, output_dir: PathLike, progress: bool = False, overwrite: bool = False, **settings: Any
) -> Training:
    """Train a network on a scan, or on a set of scans (a folder).

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist train``.
    """
    path, given, _ = _source(scan, settings)
    call("train", {"scan": path, "output_dir": output_dir, "overwrite": overwrite, **given}, progress=progress)
    return read_training(Path(output_dir))


def simulate_scan(output_file: PathLike, *, progress: bool = False, overwrite: bool = False, **settings: Any) -> Source:
    """Simulate a scan of a known object, or with ``n_scans`` a set of scans, and open it.

    Parameters
    ----------
    output_file
        HDF5 file to write; with ``n_scans`` a folder.
    progress
        Whether to tell on standard error what is done.
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
    count, N, _ = checks.require_square_patterns(path, "patterns", tuple(np.shape(patterns)))
    if np.asarray(patterns[:1]).dtype.kind not in "iuf":
        msg = f"patterns for {path} are {np.asarray(patterns[:1]).dtype}; expected real counts. Give intensities."
        raise DataFormatError(msg)
    modes = None if probe is None else checks.checked_probe(path, "probe", np.asarray(probe))
    for name, shape in (("probe", modes), ("mask", more.get("mask")), ("probe_mask", more.get("probe_mask"))):
        if shape is not None and np.shape(shape)[-2:] != (N, N):
            msg = f"{name} for {path} has shape {np.shape(shape)}; expected {N} by {N} pixels, as the patterns have."
            raise DataFormatError(msg)
    for name in ("mask", "probe_mask"):
        if more.get(name) is not None:
            more[name] = _checked_mask(path, name, np.asarray(more[name]))
    content = ScanContent(
        patterns=(np.asarray(patterns[start : start + COPY_ROWS]) for start in range(0, count, COPY_ROWS)),
        positions_px=checks.checked_positions(path, np.asarray(positions_px), count),
        probe=modes,
        **more,
    )
    return open_scan(write_scan_h5(path, content))


def _require_parts_of_a_scan(more: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(ScanContent) if field.name not in ("patterns", "positions_px", "probe")]
    unknown = [name for name in more if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"It knows {', '.join(known)}."
        msg = f"write_scan() got an unknown keyword {unknown[0]!r}; expected a part of a scan. {hint}"
        raise ConfigError(msg)


def _checked_mask(path: Path, name: str, mask: NDArray[Any]) -> NDArray[np.bool_]:
    if not np.isin(mask, (0, 1)).all() or not mask.any():
        found = "is 0 everywhere" if not mask.any() else f"holds {mask[~np.isin(mask, (0, 1))][0]}"
        msg = f"{name} for {path} {found}; expected True (or 1) where a pixel counts, else False (or 0). Rewrite it."
        raise DataFormatError(msg)
    return mask.astype(np.bool_)


def _reconstruction(
    command: str, scan: Scan | PathLike, output_dir: PathLike, settings: Mapping[str, Any], *, progress: bool
) -> Reconstruction:
    path, given, options = _source(scan, settings)
    call(command, {"scan": path, "output_dir": output_dir, **given}, progress=progress)
    reference = settings.get("reference")
    return read_reconstruction(
        Path(output_dir) / PRODUCT_NAME, path, options, None if reference is None else Path(reference)
    )


def _followed(output_dir: Path, settings: Mapping[str, Any]) -> Reconstruction:
    """Read the result of a scan that was followed: of the file that was, or of what was recorded of it."""
    product, recorded = output_dir / PRODUCT_NAME, output_dir / "live" / "scan.h5"
    if recorded.is_file():
        return read_reconstruction(product, recorded, ScanOptions(), None)
    path, _, options = _source(settings["follow"], {name: one for name, one in settings.items() if name != "follow"})
    return read_reconstruction(product, path, options, None)


def _source(scan: Source | PathLike, settings: Mapping[str, Any]) -> tuple[Path, dict[str, Any], ScanOptions]:
    """File of a scan; the settings with what it was opened with; and how to open it again."""
    if isinstance(scan, PathLike):
        opened = ScanOptions()
        path = Path(scan)
    elif not isinstance(scan, Source):
        msg = f"scan is of type {type(scan).__name__}; expected a path or an open scan. Make one with write_scan()."
        raise ConfigError(msg)
    else:
        opened, path = scan.options, scan.header.path
    names = [field.name for field in fields(ScanOptions)]
    own = {f"data.{name}": getattr(opened, name) for name in names if getattr(opened, name) != _default(name)}
    named = {name if name not in names else f"data.{name}": value for name, value in settings.items()}
    given = own | named
    kept = {name: given[f"data.{name}"] for name in names if f"data.{name}" in given}
    return path, given, ScanOptions(**kept)


def _default(name: str) -> Any:
    return getattr(ScanOptions(), name)
