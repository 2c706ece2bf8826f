"""Metrics, settings and pictures in MLflow; a resumed training stays the same MLflow run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger

from ptycho_dist.atomic import atomic_path

_RUN_FILE = "mlflow_run_id.txt"
_DATABASE, _ARTIFACTS = "mlflow.db", "mlflow_artifacts"
_EXPERIMENT = "ptycho_dist"


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
        super().__init__(
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT),
            run_name=folder.resolve().parent.name,
            tracking_uri=elsewhere or f"sqlite:///{folder.resolve() / _DATABASE}",
            artifact_location=None if elsewhere else (folder.resolve() / _ARTIFACTS).as_uri(),
            run_id=self._run_file.read_text(encoding="ascii") if resumes and self._run_file.is_file() else None,
        )

    def save(self) -> None:
        """Remember the run, so that a resumed training finds it."""
        if self.run_id is not None and not self._run_file.is_file():
            with atomic_path(self._run_file) as temporary:
                temporary.write_text(self.run_id, encoding="ascii")

    def log_settings(self, settings: Mapping[str, Any]) -> None:
        """Log nested settings as parameters of the run."""
        self.log_hyperparams(dict(settings))

    def log_picture(self, path: Path) -> None:
        """Copy a picture to the artifacts of the run."""
        self.experiment.log_artifact(self.run_id, str(path), path.parent.name)
