"""Metric loggers; those of a resumed run keep what was logged before."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from ptycho_dist.training.mlflow_runs import RunLogger

FOLDER = "logs"
_METRICS = "metrics.csv"


def build_logger(backend: str | None, output_dir: Path, start_step: int = 0, rank: int = 0) -> Logger | bool:
    """Metric logger writing to ``output_dir/logs``; False for none.

    Parameters
    ----------
    backend
        csv, tensorboard, mlflow, or none.
    output_dir
        Folder of the run.
    start_step
        First step that is still to come; what was logged for it or later is dropped (MLflow keeps both).
    rank
        Whose logger; with MLflow only rank 0 has one, for each opens the database.
    """
    if backend in (None, "none") or (backend == "mlflow" and rank > 0):
        return False
    if backend == "mlflow":
        return RunLogger(output_dir / FOLDER, resumes=start_step > 0)
    if backend == "tensorboard":
        return TensorBoardLogger(save_dir=output_dir, name=FOLDER, version="", purge_step=start_step or None)
    return _csv_logger(output_dir, start_step)


def flush(loggers: Sequence[Logger]) -> None:
    """Put on disk what was logged so far (on rank 0; the others log nothing)."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()
        else:
            logger.save()


def record(loggers: Sequence[Logger], values: Mapping[str, float], step: int) -> None:
    """Log values at a step."""
    for logger in loggers:
        logger.log_metrics(dict(values), step)


def _csv_logger(output_dir: Path, start_step: int) -> CSVLogger:
    kept = _rows_before(output_dir / FOLDER / _METRICS, start_step)
    logger = CSVLogger(save_dir=output_dir, name=FOLDER, version="")
    if kept:
        for row in kept:
            logger.experiment.log_metrics({name: value for name, value in row.items() if value != ""}, row["step"])
        logger.save()
    return logger


def _rows_before(path: Path, step: int) -> list[dict[str, Any]]:
    """Rows of an earlier log whose step is done for good."""
    if step == 0 or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("step", "").isdigit() and int(row["step"]) < step]
