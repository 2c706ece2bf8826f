"""The calls that reconstruct: ``reconstruct``, ``train``, ``infer``, ``refine_object``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ptycho_dist.api.invoke import call
from ptycho_dist.api.open_result import read_reconstruction, read_training
from ptycho_dist.api.python_words import readable_errors
from ptycho_dist.api.results import Reconstruction, Training
from ptycho_dist.api.scan_arrays import take_arrays, write_arrays
from ptycho_dist.api.scans import PathLike
from ptycho_dist.api.signatures import with_settings
from ptycho_dist.data.scan import Scan, ScanOptions
from ptycho_dist.data.scan_set import Source
from ptycho_dist.errors import ConfigError
from ptycho_dist.inference.product import PRODUCT_NAME


@with_settings("reconstruct")
@readable_errors
def reconstruct(
    scan: Scan | PathLike | None = None,
    *,
    output_dir: PathLike,
    patterns: Any = None,
    positions_px: Any = None,
    progress: bool | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Reconstruction:
    """Train, predict, stitch, refine and evaluate.

    Parameters
    ----------
    scan
        Opened scan, or its file; not with arrays.
    output_dir
        Folder of all results; an unfinished job that is there is resumed, a finished one returned.
    patterns, positions_px
        In place of a scan: photon counts (B, N, N), zero frequency at the centre, and corners (y, x) of the patches in
        object pixels (B, 2). ``probe`` and ``mask`` may then be arrays, too: complex (N, N) or (P, N, N), and bool
        (N, N), True is a valid pixel. They are written once, to ``OUTPUT_DIR/scan.h5``.
    progress
        Whether to tell what is done: in a notebook in one display, else in lines on standard error. Where not given,
        in notebooks only.
    overwrite
        Whether results that are in the folder already may be replaced; else those of the same job are returned as they
        are, and others are set aside in a folder ``earlier-DATE``.
    **settings
        The settings below; those of several sections by a dotted name, as ``**{"refine.batch_size": 32}``.

    Raises
    ------
    PtychoDistError
        What the command line would tell: a ConfigError for a wrong name or value, and so on.
    KeyboardInterrupt
        If it is interrupted; the same call resumes it.
    """
    given = {"patterns": patterns, "positions_px": positions_px, "overwrite": overwrite, **settings}
    return _reconstruction("reconstruct", scan, output_dir, given, progress=progress)


@with_settings("infer")
@readable_errors
def infer(
    scan: Scan | PathLike | None = None,
    *,
    output_dir: PathLike,
    patterns: Any = None,
    positions_px: Any = None,
    progress: bool | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Reconstruction:
    """Predict a scan with a trained network, stitch and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist infer``;
    ``model_path`` is a :class:`~ptycho_dist.api.results.Training` or a bundle folder. With ``follow`` or ``zmq`` in
    place of a scan one is followed while it is measured, to its end.
    """
    if scan is None and patterns is None and positions_px is None:
        if isinstance(settings.get("follow"), Path):
            settings["follow"] = str(settings["follow"])
        call("infer", {"output_dir": output_dir, "overwrite": overwrite, **settings}, progress=progress)
        return _followed(Path(output_dir), settings)
    given = {"patterns": patterns, "positions_px": positions_px, "overwrite": overwrite, **settings}
    return _reconstruction("infer", scan, output_dir, given, progress=progress)


@with_settings("refine")
@readable_errors
def refine_object(
    scan: Scan | PathLike | None = None,
    *,
    output_dir: PathLike,
    patterns: Any = None,
    positions_px: Any = None,
    progress: bool | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Reconstruction:
    """Refine object and probe by physics, from any start, and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist refine``;
    ``start`` is a :class:`~ptycho_dist.api.results.Reconstruction` or a file.
    """
    given = {"patterns": patterns, "positions_px": positions_px, "overwrite": overwrite, **settings}
    return _reconstruction("refine", scan, output_dir, given, progress=progress)


@with_settings("train")
@readable_errors
def train(
    scan: Source | PathLike | None = None,
    *,
    output_dir: PathLike,
    patterns: Any = None,
    positions_px: Any = None,
    progress: bool | None = None,
    overwrite: bool = False,
    **settings: Any,
) -> Training:
    """Train a network on a scan, or on a set of scans (a folder).

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist train``.
    """
    given = {"patterns": patterns, "positions_px": positions_px, "overwrite": overwrite, **settings}
    path, given, _ = _source(scan, Path(output_dir), given)
    call("train", {"scan": path, "output_dir": output_dir, **given}, progress=progress)
    return read_training(Path(output_dir))


def _reconstruction(
    command: str,
    scan: Scan | PathLike | None,
    output_dir: PathLike,
    settings: Mapping[str, Any],
    *,
    progress: bool | None,
) -> Reconstruction:
    path, given, options = _source(scan, Path(output_dir), settings)
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
    others = {name: one for name, one in settings.items() if name != "follow"}
    path, _, options = _source(settings["follow"], output_dir, others)
    return read_reconstruction(product, path, options, None)


def _source(
    scan: Source | PathLike | None, output_dir: Path, settings: Mapping[str, Any]
) -> tuple[Path, dict[str, Any], ScanOptions]:
    """File of a scan, which arrays are written to; the settings with what it was opened with; and how to open it."""
    arrays, settings = take_arrays(settings)
    if arrays and scan is not None:
        msg = f"a scan and arrays ({', '.join(arrays)}) were given; expected one of them. Leave one out."
        raise ConfigError(msg)
    opened = ScanOptions()
    if arrays:
        path = write_arrays(output_dir, arrays, overwrite=settings.get("overwrite") is True)
    elif isinstance(scan, PathLike):
        path = Path(scan)
    elif not isinstance(scan, Source):
        msg = (
            f"scan is of type {type(scan).__name__}; expected a path or an open scan. Make one with write_scan(), or "
            "give patterns and positions_px by name."
        )
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
