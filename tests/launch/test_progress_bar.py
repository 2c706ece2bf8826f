"""The progress bar lives on rank 0 only, and must not make it wait for the others."""

from __future__ import annotations

from pathlib import Path

from tests.support.launch import run


def test_two_ranks_train_with_progress_bar_and_validation(scan: Path, tmp_path: Path) -> None:
    previews = ["--recon_log_every_n_epochs", 2, "--recon_log_stitch"]
    settings = ["--max_epochs", 2, "--val_fraction", 0.3, "--width", 8, "--depth", 1, "--accelerator", "cpu"]
    done = run(["train", scan, "--output_dir", tmp_path, "--devices", 2, "--enable_progress_bar", *previews, *settings])
    assert done.returncode == 0, done.stderr
    assert "patterns_per_s" in done.stdout
    assert "Warning" not in done.stderr
    assert [path.name for path in (tmp_path / "previews").iterdir()] == ["epoch-0002.png"]
    assert (tmp_path / "bundle" / "bundle.json").is_file()
