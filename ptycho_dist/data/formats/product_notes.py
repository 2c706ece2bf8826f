"""What a product says of itself in plain attributes: when and by what it was made, and how good it is."""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.product import NORMALISED
from ptycho_dist.hdf5_files import writing
from ptycho_dist.types import FloatArray
from ptycho_dist.version import package_version

EXTRAS, VERDICT = "ptycho_dist", "ptycho_dist_verdict"
"""Group of our own arrays, and attribute with the verdict in words."""
_METRIC = "metric_"
_PROGRAM = "ptycho-dist"


def note_origin(file: h5py.File) -> None:
    """Note when and by which version a product is written."""
    file.attrs["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    file.attrs["version"] = f"ptycho_dist {package_version()}"


def note_evaluation(
    path: Path, metrics: Mapping[str, Any], normalised_errors: FloatArray | None, command: Sequence[str] = ()
) -> None:
    """Add to a product how well it explains its patterns; the file is replaced when that is complete.

    Parameters
    ----------
    path
        Product file.
    metrics
        Entries by name, of which numbers become attributes ``metric_NAME``, and ``verdict`` one of its own.
    normalised_errors
        float64, shape (B,): of each pattern; None where they are not known.
    command
        What was typed, program name left out; nothing where that is not known.
    """
    with atomic_path(path) as temporary:
        shutil.copyfile(path, temporary)
        with writing(temporary, keep=True) as file:
            _note_metrics(file, metrics)
            if command:
                file.attrs["command"] = shlex.join([_PROGRAM, *command])
            if normalised_errors is not None:
                group = file.require_group(EXTRAS)
                if NORMALISED in group:
                    del group[NORMALISED]
                group.create_dataset(NORMALISED, data=normalised_errors.astype(np.float32))


def _note_metrics(file: h5py.File, metrics: Mapping[str, Any]) -> None:
    for name in [name for name in file.attrs if name.startswith(_METRIC)]:
        del file.attrs[name]
    if "verdict" in metrics:
        file.attrs[VERDICT] = str(metrics["verdict"])
    for name, value in metrics.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and math.isfinite(value):
            file.attrs[f"{_METRIC}{name}"] = value
