"""The demonstration, small, with everything that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptycho_dist.cli import main
from tests.support.runs import forget_launchers

SMALL = ("--devices", "1", "--n_patterns", "40", "--max_epochs", "1")


@pytest.fixture(autouse=True)
def _plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_launchers(monkeypatch)


@pytest.mark.slow
def test_demo_leaves_both_results_and_says_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", str(folder), *SMALL]) == 0
    told = capsys.readouterr().out
    for place in (folder, folder / "ones"):
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        assert f"{metrics['ssim_phase']:.3f}" in told
        assert (place / "reconstruction.h5").is_file()
    for name in ("report.html", "comparison.html", "overview.png"):
        assert str(folder / name) in told
        assert (folder / name).stat().st_size > 1000
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert f"$ ptycho-dist simulate {folder / 'scan.h5'} " in told

    assert main(["demo", str(folder), *SMALL]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_demo_under_a_launcher_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PTYCHO_DIST_LAUNCHER", "torchrun")
    assert main(["demo", str(tmp_path / "demo")]) == 2
    assert "started by a launcher" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
