"""The curve of a refinement in the logger of the job; ``logs/refine.csv`` has it in any case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from ptycho_dist.training.loggers import FOLDER, board, log_settings
from ptycho_dist.training.mlflow_runs import RunLogger

VERSION = "refinement"
"""Folder in ``logs`` of the run of TensorBoard, for its steps are iterations."""


class RefinementCurve:
    """Logs numbers of each iteration to TensorBoard or MLflow.

    Parameters
    ----------
    backend
        tensorboard or mlflow.
    output_dir
        Folder of the results.
    settings
        Nested settings of the refinement, logged with its first iteration.
    follows_training
        Whether a training of this job has an MLflow run in the folder, which is continued.
    """

    def __init__(
        self, backend: str, output_dir: Path, settings: Mapping[str, Any], *, follows_training: bool = False
    ) -> None:
        self._backend, self._folder, self._settings = backend, output_dir, settings
        self._follows_training = follows_training
        self._logger: Logger | None = None

    def log(self, iteration: int, values: Mapping[str, float], *, is_last: bool) -> None:
        """Log numbers by name after an iteration, which counts from 1; after the last one the logger is closed."""
        if self._logger is None:
            self._logger = self._opened(iteration)
        self._logger.log_metrics({f"refine_{name}": value for name, value in values.items()}, iteration)
        self._logger.save()
        if is_last:
            self._logger.finalize("success")

    def _opened(self, iteration: int) -> Logger:
        is_resumed = iteration > 1
        if self._backend == "mlflow":
            logger = RunLogger(self._folder / FOLDER, resumes=self._follows_training or is_resumed)
            logger.log_settings({"refinement": self._settings})
            return logger
        opened = board(self._folder, VERSION, iteration if is_resumed else 0)
        log_settings(opened, self._settings)
        return opened
