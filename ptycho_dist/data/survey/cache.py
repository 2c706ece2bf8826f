"""Surveys kept by the content of their scan, so that a scan is looked at once."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.base import RawScan
from ptycho_dist.data.survey.collect import Survey

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "PTYCHO_DIST_CACHE"
"""Environment variable with the folder of what may be made again; empty for none."""
_FORM = "4"


def cache_folder() -> Path | None:
    """Folder of surveys: PTYCHO_DIST_CACHE, else in XDG_CACHE_HOME or ~/.cache; None where it is set to nothing."""
    given = os.environ.get(CACHE_VARIABLE)
    if given is not None:
        return Path(given) / "surveys" if given else None
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "ptycho_dist" / "surveys"


def name_of(checksum: str, raw: RawScan) -> str:
    """Name of a survey: by the content of the scan, its mask, and how it is read."""
    mask = b"" if raw.mask is None else np.packbits(raw.mask).tobytes()
    read = f"{raw.format_name} {raw.square} {raw.turn} {raw.clips_negative} {raw.patterns.shape} {raw.frame_key}"
    return hashlib.sha256(f"{_FORM} {checksum} {read}".encode() + mask).hexdigest()


def load(name: str) -> Survey | None:
    """Read a survey that was kept; None where there is none, or it cannot be read."""
    folder = cache_folder()
    if folder is None or not (folder / f"{name}.npz").is_file():
        return None
    try:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as held:
            values = {field.name: held[field.name] for field in fields(Survey)}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        logger.debug("survey %s is read anew: %s", name, error)
        return None
    numbers = {key: float(values[key]) for key in ("whole", "step", "noise_gain")}
    return Survey(
        **values
        | {"whole": numbers["whole"]}
        | {key: None if np.isnan(numbers[key]) else numbers[key] for key in ("step", "noise_gain")}
    )


def keep(name: str, survey: Survey) -> None:
    """Keep a survey, where there is a folder that can be written."""
    folder = cache_folder()
    if folder is None:
        return
    buffer = io.BytesIO()
    held = {field.name: getattr(survey, field.name) for field in fields(Survey)}
    arrays: dict[str, Any] = {key: np.asarray(np.nan if value is None else value) for key, value in held.items()}
    np.savez_compressed(buffer, **arrays)
    try:
        with atomic_path(folder / f"{name}.npz") as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        logger.debug("survey is not kept: %s", error)
