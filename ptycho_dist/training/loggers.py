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


def build_loggers(
    backend: str | None, output_dir: Path, start_step: int = 0, rank: int = 0, settings: Mapping[str, Any] | None = None
) -> list[Logger]:
    """Metric loggers writing to ``output_dir/logs``: the one that is asked for, and ``metrics.csv`` beside it.

    Parameters
    ----------
    backend
        csv, tensorboard, mlflow, or none, which has no logger.
    output_dir
        Folder of the run.
    start_step
        First step that is still to come; what was logged for it or later is dropped (MLflow keeps both).
    rank
        Whose loggers; with MLflow only rank 0 has its own, for each opens the database.
    settings
        Nested settings, which rank 0 logs as hyperparameters.
    """
    if backend in (None, "none"):
        return []
    loggers: list[Logger] = [_csv_logger(output_dir, start_step)]
    if backend == "mlflow" and rank == 0:
        loggers.insert(0, RunLogger(output_dir / FOLDER, resumes=start_step > 0))
    elif backend == "tensorboard":
        loggers.insert(0, board(output_dir, "", start_step))
    if rank == 0 and settings:
        for logger in loggers:
            log_settings(logger, settings)
    return loggers


def board(output_dir: Path, version: str, start_step: int) -> TensorBoardLogger:
    """Open a run of TensorBoard, ``logs`` or a folder in it; what it had for ``start_step`` or later is dropped."""
    return TensorBoardLogger(
        save_dir=output_dir, name=FOLDER, version=version, purge_step=start_step or None, default_hp_metric=False
    )


def log_settings(logger: Logger, settings: Mapping[str, Any]) -> None:
    """Log nested settings under names such as ``training/max_epochs``."""
    if isinstance(logger, RunLogger):
        logger.log_settings(settings)
        return
    flat = flattened(settings)
    logger.log_hyperparams(flat)
    if isinstance(logger, TensorBoardLogger):
        rows = (f"| {name} | {value} |" for name, value in flat.items())
        logger.experiment.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]), 0)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Bring nested settings to one level, with slashes between the names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


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
