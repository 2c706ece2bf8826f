"""A job opens its scan once, and a scan that was replaced is refused wherever something was made from it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist import job_marker, pipeline
from ptycho_dist.cli import main
from ptycho_dist.data import scan as scan_module
from ptycho_dist.data.content import checksum
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.errors import DataFormatError, TrainingError
from ptycho_dist.factory import config_file
from ptycho_dist.refine import checkpoint
from ptycho_dist.training import run as training_run
from ptycho_dist.training.checkpoints import STATE_KEY, VerifiedCheckpointIO, newest_whole, step_path
from tests.support.runs import SMALL, simulate_tiny, training_payload

FLAGS = ["--accelerator", "cpu", "--width", "8", "--depth", "1", "--max_epochs", "1", "--quiet"]


@pytest.fixture
def scan(tmp_path: Path, tiny_path: Path) -> Path:
    return Path(shutil.copy(tiny_path, tmp_path / "scan.h5"))


def replace(scan: Path) -> tuple[str, str]:
    """Put another scan in the place of one; the checksums of both."""
    before = checksum(scan)
    simulate_tiny(scan, seed=3)
    return before, checksum(scan)


def run(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[int, str]:
    code = main([str(word) for word in line])
    return code, capsys.readouterr().err


def test_reconstruct_opens_and_hashes_its_scan_and_reads_its_config_once(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **more: Any) -> Any:
            counts[name] += 1
            return original(*arguments, **more)

        monkeypatch.setattr(module, name, call)

    for module, name in ((scan_module, "open_raw"), (scan_module, "checksum"), (config_file, "_load")):
        counted(module, name)
    (tmp_path / "run.yaml").write_text("refine: {iterations: 1}\n")
    flags = [*FLAGS, "--config", str(tmp_path / "run.yaml")]
    assert main(["reconstruct", str(scan), "--output_dir", str(tmp_path / "out"), *flags]) == 0
    assert counts == {"open_raw": 1, "checksum": 1, "_load": 1}


def test_resume_is_refused_and_a_fresh_start_is_not(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = training_payload(scan, out, **{"max_epochs": 1}).result_settings()
    job_marker.begin(out, "train", settings, resume=True)
    (out / "checkpoints").mkdir()
    before, now = replace(scan)
    line = ["train", scan, "--output_dir", out, *FLAGS, *(f"--{name}={value}" for name, value in SMALL.items())]
    code, said = run(capsys, *line)
    assert code == 2
    assert f"scan.checksum was '{before}', now '{now}'" in said
    assert run(capsys, *line, "--resume", "false")[0] == 0


def test_checkpoint_of_a_training_on_another_scan_is_refused(tmp_path: Path) -> None:
    state = {"fingerprint": "f", "scan_checksum": "old", "epoch": 0, "batch": 0, "step": 1}
    VerifiedCheckpointIO().save_checkpoint({STATE_KEY: state}, step_path(tmp_path, 1))
    assert newest_whole(tmp_path, "f", "old") is not None
    with pytest.raises(TrainingError, match=r"SHA-256 old, but the scan now has new; .* --resume false"):
        newest_whole(tmp_path, "g", "new")


def test_state_of_a_refinement_of_another_scan_is_refused(scan: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.Facts("f", "old", {}), {}, {})
    with open_scan(scan) as opened, pytest.raises(DataFormatError, match=rf"SHA-256 old, but .* {checksum(scan)}"):
        checkpoint.load(tmp_path, "f", opened.header)


def test_product_of_another_scan_is_neither_refined_nor_evaluated(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refine = ["refine", scan, "--accelerator", "cpu", "--iterations", 1, "--quiet", "--output_dir"]
    assert run(capsys, *refine, tmp_path / "first")[0] == 0
    product = tmp_path / "first" / "reconstruction.h5"
    before, now = replace(scan)
    for line in (["evaluate", product, "--scan", scan], [*refine, tmp_path / "second", "--start", product]):
        code, said = run(capsys, *line)
        assert code == 2
        assert f"{product} was made from a scan of SHA-256 {before}, but {scan} has {now}" in said
    assert run(capsys, "evaluate", product)[0] == 0


def test_network_predicts_other_scans_but_not_one_in_the_place_of_its_own(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "train", scan, "--output_dir", tmp_path / "net", *FLAGS)[0] == 0
    before, now = replace(scan)
    infer = ["--model_path", tmp_path / "net", "--accelerator", "cpu", "--quiet", "--output_dir", tmp_path / "out"]
    code, said = run(capsys, "infer", scan, *infer)
    assert code == 2
    assert f"was made from a scan of SHA-256 {before}, but {scan} has {now}" in said
    assert run(capsys, "infer", scan.rename(tmp_path / "other.h5"), *infer)[0] == 0


def test_scan_that_changes_while_a_job_runs_is_refused(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refine, sums = pipeline.run_refinement, list[str]()

    def refine_and_replace(*arguments: Any) -> Any:
        result = refine(*arguments)
        sums.extend(replace(scan))
        return result

    monkeypatch.setattr(pipeline, "run_refinement", refine_and_replace)
    line = ["refine", scan, "--accelerator", "cpu", "--iterations", 1, "--output_dir", tmp_path / "out"]
    code, said = run(capsys, *line)
    assert code == 2
    assert f"has SHA-256 {sums[1]}, but had {sums[0]} when it was opened" in said
    assert job_marker.read_marker(tmp_path / "out") is not None


def test_scan_that_changes_during_a_training_leaves_no_bundle(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = training_run._fit

    def fit_and_replace(*arguments: Any) -> None:
        fit(*arguments)
        replace(scan)

    monkeypatch.setattr(training_run, "_fit", fit_and_replace)
    code, said = run(capsys, "train", scan, "--output_dir", tmp_path / "out", *FLAGS)
    assert code == 2
    assert "when it was opened" in said
    assert not (tmp_path / "out" / "bundle").exists()


def test_open_scan_tells_a_touched_file_from_a_changed_one(scan: Path) -> None:
    with open_scan(scan) as opened:
        opened.require_unchanged()
        os.utime(scan, ns=(0, 0))
        opened.require_unchanged()
        replace(scan)
        with pytest.raises(DataFormatError, match="when it was opened"):
            opened.require_unchanged()
        scan.unlink()
        with pytest.raises(DataFormatError, match=r"scan\.h5 is gone"):
            opened.require_unchanged()


def test_open_set_refuses_a_changed_file(tmp_path: Path) -> None:
    assert main(["simulate", str(tmp_path / "set"), "--n_scans", "2", "--n_patterns", "4", "--N", "16", "--quiet"]) == 0
    with open_set(tmp_path / "set") as scans:
        scans.require_unchanged()
        path = tmp_path / "set" / scans.entries[1].file
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(DataFormatError, match=path.name):
            scans.require_unchanged()
