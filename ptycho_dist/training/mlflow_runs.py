"""Metrics, settings and pictures in MLflow; a resumed training stays the same MLflow run."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from ptycho_dist.atomic import atomic_path

_RUN_FILE = "mlflow_run_id.txt"
_DATABASE, _ARTIFACTS = "mlflow.db", "mlflow_artifacts"
_EXPERIMENT = "ptycho_dist"
_DISK_IS_FULL = "disk is full"
"""What SQLite says."""


class RunLogger(MLFlowLogger):
    """Lightning's logger, which also remembers its run; of rank 0 only.

    Parameters
    ----------
    folder
        Folder of the logs. Unless ``MLFLOW_TRACKING_URI`` names another place, the database and the pictures are
        there; its name and that of the experiment (``MLFLOW_EXPERIMENT_NAME``) tell the run apart.
    resumes
        Whether the run that the folder tells of is continued.
    """

    def __init__(self, folder: Path, *, resumes: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run_file = folder / _RUN_FILE
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        run_id = self._remembered() if resumes else None
        with self._full_disk_told():
            super().__init__(
                experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT),
                run_name=folder.resolve().parent.name,
                tracking_uri=elsewhere or f"sqlite:///{folder.resolve() / _DATABASE}",
                artifact_location=None if elsewhere else (folder.resolve() / _ARTIFACTS).as_uri(),
                run_id=run_id,
            )

    def save(self) -> None:
        """Remember the run, so that a resumed training finds it."""
        if self.run_id is not None and self.run_id != self._remembered():
            with atomic_path(self._run_file) as temporary:
                temporary.write_text(self.run_id, encoding="ascii")

    def _remembered(self) -> str | None:
        return self._run_file.read_text(encoding="ascii") if self._run_file.is_file() else None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics at a step."""
        with self._full_disk_told():
            super().log_metrics(metrics, step)

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings as parameters of the run."""
        with self._full_disk_told():
            self.log_hyperparams(dict(settings))

    def log_picture(self, path: Path) -> None:
        """Copy a picture to the artifacts of the run."""
        with self._full_disk_told():
            self.experiment.log_artifact(self.run_id, str(path), path.parent.name)

    @contextmanager
    def _full_disk_told(self) -> Iterator[None]:
        """Make what the database says of a full disk an error of the system.

        Raises
        ------
        OSError
            If the disk is full.
        """
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        try:
            yield
        except (MlflowException, OperationalError) as error:
            if _DISK_IS_FULL not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._run_file.parent)) from error
