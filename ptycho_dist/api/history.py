"""Tables that the stages of a job leave in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptycho_dist.report.source import read_table
from ptycho_dist.types import FloatArray

_FILES = {"training": Path("logs/metrics.csv"), "refinement": Path("logs/refine.csv")}
History = Mapping[str, Mapping[str, FloatArray]]
"""Tables by the name of their stage, ``training`` or ``refinement``: float64 (n,) by column, NaN where empty."""


def read_history(folder: Path) -> History:
    """Read the tables of a folder of results; a stage that left none is not in it.

    Raises
    ------
    DataFormatError
        If one of them is damaged.
    """
    tables = {stage: read_table(folder / name) for stage, name in _FILES.items()}
    return {stage: table for stage, table in tables.items() if table}
