"""Metrics, settings and previews in MLflow, in one run also when the training is interrupted."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import forget_launchers, training_payload
from tests.torch.training.test_resume import Killed, die_at

SETTINGS: dict[str, Any] = {
    "logger_backend": "mlflow", "max_epochs": 2, "checkpoint_interval_s": 0.0, "recon_log_every_n_epochs": 1,
    "recon_log_stitch": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_launchers(monkeypatch)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def select(database: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(question).fetchall()


@pytest.mark.filterwarnings("ignore")
def test_run_holds_metrics_settings_and_previews_and_resumes_after_an_interruption(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="the extra [mlflow] is not installed")
    payload = training_payload(tiny_path, tmp_path / "run", **SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(pl.Callback, "on_train_batch_start", die_at(5))
        with pytest.raises(Killed):
            run_training(payload, detect(os.environ), tiny_scan)
    result = run_training(payload, detect(os.environ), tiny_scan, resume=True)
    database = tmp_path / "run" / "logs" / "mlflow.db"
    runs = select(database, "select run_uuid, name, status from runs")
    assert [(name, status) for _, name, status in runs] == [("run", "FINISHED")]
    losses = select(database, "select step, value from metrics where key = 'train_loss' order by step")
    assert [value for _, value in losses] == pytest.approx(result.losses)
    assert dict(select(database, "select key, value from params"))["training/max_epochs"] == "2"
    folder = tmp_path / "run" / "logs" / "mlflow_artifacts" / runs[0][0] / "artifacts" / "previews"
    assert sorted(path.name for path in folder.iterdir()) == ["epoch-0001.png", "epoch-0002.png"]
    assert not (Path.cwd() / "mlruns").exists()


def test_missing_packages_are_named_with_the_way_to_get_them(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(ConfigError, match=r"alembic cannot be imported\. Run pip install 'ptycho-dist\[mlflow\]'"):
        training_payload(tiny_path, tmp_path, logger_backend="mlflow")
