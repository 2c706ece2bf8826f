"""The calls: ``reconstruct``, ``train``, ``infer``, ``refine_object`` and ``simulate_scan``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ptycho_dist.api.invoke import call
from ptycho_dist.api.results import Reconstruction, Training, read_reconstruction, read_training
from ptycho_dist.data.scan import Scan, ScanOptions
from ptycho_dist.data.scan_set import Source, open_source
from ptycho_dist.inference.product import PRODUCT_NAME

PathLike = Path | str


def reconstruct(
    scan: Scan | PathLike, *, output_dir: PathLike, progress: bool = False, **settings: Any
) -> Reconstruction:
    """Train, predict, stitch, refine and evaluate.

    Parameters
    ----------
    scan
        Opened scan, or its file.
    output_dir
        Folder of all results; an unfinished job that is there is gone on with.
    progress
        Whether to tell on standard error what is done.
    **settings
        What ``ptycho-dist reconstruct --help`` lists, such as ``devices=2``, ``max_epochs=20`` or
        ``reference="truth.npz"``; a dotted name by ``**{"refine.batch_size": 32}``.

    Raises
    ------
    PtychoDistError
        What the command line would tell: a ConfigError for a wrong name or value, and so on.
    KeyboardInterrupt
        If it is interrupted; the same call goes on.
    """
    return _reconstruction("reconstruct", scan, output_dir, settings, progress=progress)


def infer(scan: Scan | PathLike, *, output_dir: PathLike, progress: bool = False, **settings: Any) -> Reconstruction:
    """Predict a scan with a trained network, stitch and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist infer``;
    ``model_path`` is a :class:`~ptycho_dist.api.results.Training` or a bundle folder.
    """
    return _reconstruction("infer", scan, output_dir, settings, progress=progress)


def refine_object(
    scan: Scan | PathLike, *, output_dir: PathLike, progress: bool = False, **settings: Any
) -> Reconstruction:
    """Refine object and probe by physics, from any start, and evaluate.

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist refine``;
    ``start`` is a :class:`~ptycho_dist.api.results.Reconstruction` or a file.
    """
    return _reconstruction("refine", scan, output_dir, settings, progress=progress)


def train(scan: Source | PathLike, *, output_dir: PathLike, progress: bool = False, **settings: Any) -> Training:
    """Train a network on a scan, or on a set of scans (a folder).

    Parameters and errors are those of :func:`reconstruct`, with the settings of ``ptycho-dist train``.
    """
    path, given, _ = _source(scan, settings)
    call("train", {"scan": path, "output_dir": output_dir, **given}, progress=progress)
    return read_training(Path(output_dir))


def simulate_scan(output_file: PathLike, *, progress: bool = False, **settings: Any) -> Source:
    """Simulate a scan of a known object, or with ``n_scans`` a set of scans, and open it.

    Parameters
    ----------
    output_file
        HDF5 file to write; with ``n_scans`` a folder.
    progress
        Whether to tell on standard error what is done.
    **settings
        What ``ptycho-dist simulate --help`` lists.

    Raises
    ------
    PtychoDistError
        What the command line would tell.
    """
    call("simulate", {"output_file": output_file, **settings}, progress=progress)
    return open_source(Path(output_file))


def _reconstruction(
    command: str, scan: Scan | PathLike, output_dir: PathLike, settings: Mapping[str, Any], *, progress: bool
) -> Reconstruction:
    path, given, options = _source(scan, settings)
    call(command, {"scan": path, "output_dir": output_dir, **given}, progress=progress)
    reference = settings.get("reference")
    return read_reconstruction(
        Path(output_dir) / PRODUCT_NAME, path, options, None if reference is None else Path(reference)
    )


def _source(scan: Source | PathLike, settings: Mapping[str, Any]) -> tuple[Path, dict[str, Any], ScanOptions]:
    """File of a scan; the settings with what it was opened with; and how to open it again."""
    if isinstance(scan, PathLike):
        opened = ScanOptions()
        path = Path(scan)
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
