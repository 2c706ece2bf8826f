"""From settings to the file of a scan that was followed to its end."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_dist.config.live import LiveConfig
from ptycho_dist.config.precedence import RunRequest, resolve
from ptycho_dist.config.scan_options import GEOMETRY, ScanOptions
from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.factory.inference import Trained
from ptycho_dist.factory.settings import execution_of, reader_options
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.live.arrivals import Source
from ptycho_dist.live.beginning import Beginning
from ptycho_dist.live.growing_file import GrowingFile
from ptycho_dist.live.growing_folder import GrowingFolder
from ptycho_dist.live.recording import NAME as RECORDED
from ptycho_dist.live.run import FOLDER, Followed, Follower
from ptycho_dist.live.shown import PREVIEW, PRODUCT
from ptycho_dist.live.spool import NAME as SPOOL
from ptycho_dist.live.stream import Stream

logger = logging.getLogger(__name__)

_STILL_MEANT = (*GEOMETRY, "probe", "drop_frames", "mask_saturated")
"""Settings of a scan that mean the same for the patterns that were recorded of it."""


def follow(trained: Trained, live: LiveConfig, context: RankContext, output_dir: Path) -> Followed:
    """Follow a scan to its end.

    Parameters
    ----------
    trained
        Network, and what was given.
    live
        Where the scan comes from.
    context
        Place of this process.
    output_dir
        Folder for picture, product and what is recorded.

    Raises
    ------
    DataFormatError
        If nothing has arrived within the time limit.
    """
    folder = output_dir / FOLDER
    _set_aside(folder)
    for name in (PREVIEW, PRODUCT):
        (output_dir / name).unlink(missing_ok=True)
    folder.mkdir(parents=True)
    timeout_s = execution_of(trained.levels).timeout_s
    with _source(live, reader_options(trained.levels), folder) as source:
        followed = Follower(source, Beginning(trained, context, folder), live, timeout_s).run(folder)
    if not any(folder.iterdir()):
        folder.rmdir()
    return followed


def final_request(request: RunRequest, followed: Followed) -> RunRequest:
    """Ask for the prediction of the whole scan; what was recorded here needs no settings of the reader any more."""
    recorded = followed.recorded
    if not recorded.is_ours:
        return replace(request, scan=recorded.path)
    given = resolve(request.levels(INFERENCE_SECTIONS)).values
    default = {f"data.{one.name}": one.default for one in fields(ScanOptions) if one.name not in _STILL_MEANT}
    undone: dict[str, Any] = {key: value for key, value in default.items() if given.get(key, value) != value}
    return replace(request, scan=recorded.path, overrides={**request.overrides, **undone})


def _set_aside(folder: Path) -> None:
    """Keep frames that an earlier job received from a stream, recorded or not, beside the folder; the rest goes."""
    if any((folder / name).is_file() for name in (SPOOL, RECORDED)):
        kept = folder.with_name(f"{folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
        folder.rename(kept)
        logger.warning("frames that an earlier job received are kept in %s", kept)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _source(live: LiveConfig, options: ScanOptions, folder: Path) -> Iterator[Source]:
    source: Source
    if live.zmq is not None:
        source = Stream(live.zmq, options, folder)
    else:
        path = Path(str(live.follow))
        source = GrowingFolder(path, options) if path.is_dir() else GrowingFile(path, options)
    try:
        yield source
    finally:
        source.close()
