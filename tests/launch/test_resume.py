"""Real ranks are killed in mid-training; the same command resumes as if nothing had happened."""

from __future__ import annotations

import csv
import random
import signal
from pathlib import Path

import pytest
import torch

from ptycho_dist.bundle import load_bundle
from tests.support.kill import checkpoint_of, kill_rank, wait_until
from tests.support.launch import finish, run, run_well, start

STEPS = 24
"""Of 4 steps an epoch; the last one leaves rank 1 of 2 and ranks 1 and 2 of 3 without a share."""
BASE = {"group_size": 4, "batch_size": 2, "max_steps": STEPS, "width": 8, "depth": 1, "accelerator": "cpu",
        "checkpoint_interval_s": 0}  # fmt: skip


def command(scan: Path, output_dir: Path, devices: int, **changes: object) -> list[object]:
    settings = BASE | {"devices": devices, "output_dir": output_dir} | changes
    return ["train", scan, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def kill_at(arguments: list[object], output_dir: Path, step: int, rank: int) -> str:
    """Start a training, and kill one rank when the checkpoint of a step appears; what the supervisor said."""
    supervisor = start(["-m", "ptycho_dist", *arguments])
    wait_until(checkpoint_of(output_dir, step).exists, f"step {step}", supervisor)
    kill_rank(supervisor, rank)
    ended = finish(supervisor, 60.0)
    assert ended.returncode == 128 + signal.SIGKILL, ended.stderr
    return ended.stderr


def curve(folder: Path) -> list[tuple[str, str, str]]:
    """Every logged loss, as text."""
    with (folder / "logs" / "metrics.csv").open() as file:
        return [(row["step"], row["train_loss_step"], row["train_loss"]) for row in csv.DictReader(file)
                if row["train_loss_step"] or row["train_loss"]]  # fmt: skip


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_killed_ranks_resume_bit_identically(scan: Path, tmp_path: Path, devices: int) -> None:
    run_well(command(scan, tmp_path / "whole", devices))
    step, killed = random.randrange(2, STEPS - 4), tmp_path / "killed"
    said = kill_at(command(scan, killed, devices), killed, step, rank=random.randrange(devices))
    assert "was killed by SIGKILL" in said
    assert not (killed / "bundle").exists()
    done = run(command(scan, killed, devices))
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert curve(killed) == curve(tmp_path / "whole"), f"killed at step {step}"
    assert len(curve(killed)) == STEPS + STEPS // 4
    found, expected = (load_bundle(folder / "bundle").state for folder in (killed, tmp_path / "whole"))
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == [], f"killed at step {step}"
    assert not (killed / "unfinished.json").exists()


@pytest.mark.exhaustive
def test_killed_ranks_resume_with_another_number_of_them(scan: Path, tmp_path: Path) -> None:
    run_well(command(scan, tmp_path / "whole", 1, precision="64-true"))
    killed = tmp_path / "killed"
    kill_at(command(scan, killed, 2, precision="64-true"), killed, 6, rank=1)
    kill_at(command(scan, killed, 3, precision="64-true"), killed, 13, rank=0)
    done = run(command(scan, killed, 1, precision="64-true"))
    assert done.returncode == 0, done.stderr
    for (step, *losses), (expected_step, *expected) in zip(curve(killed), curve(tmp_path / "whole"), strict=True):
        assert step == expected_step
        assert [float(loss or 0) for loss in losses] == pytest.approx([float(loss or 0) for loss in expected], rel=1e-9)
    found, expected_state = (load_bundle(folder / "bundle").state for folder in (killed, tmp_path / "whole"))
    for name, value in expected_state.items():
        assert torch.allclose(found[name], value, rtol=0, atol=1e-9), name


@pytest.mark.exhaustive
def test_other_settings_do_not_overwrite_an_unfinished_training(scan: Path, tmp_path: Path) -> None:
    kill_at(command(scan, tmp_path, 2), tmp_path, 5, rank=0)
    before = sorted((tmp_path / "checkpoints").iterdir())
    refused = run(command(scan, tmp_path, 2, seed=7))
    assert refused.returncode == 2
    assert "holds an unfinished 'train'" in refused.stderr
    assert "training.seed was 0, now 7" in refused.stderr
    assert sorted((tmp_path / "checkpoints").iterdir()) == before
    run_well(command(scan, tmp_path, 2, seed=7, resume="false"))
    assert (tmp_path / "bundle").is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.exhaustive)])
def test_told_to_stop_the_ranks_save_and_resume(scan: Path, tmp_path: Path, number: signal.Signals) -> None:
    endless = {"max_steps": 100000, "max_epochs": 100000, "early_stop_patience": 100000}
    arguments = command(scan, tmp_path, 2, checkpoint_interval_s=1e6, **endless)
    supervisor, log = start(["-m", "ptycho_dist", *arguments]), tmp_path / "logs" / "metrics.csv"
    wait_until(lambda: log.is_file() and log.read_text().count("\n") > 90, "100 logged steps", supervisor)
    supervisor.send_signal(number)
    ended = finish(supervisor, 60.0)
    assert ended.returncode == 75, ended.stderr
    assert f"stopped by {number.name}" in ended.stderr
    assert "Traceback" not in ended.stderr
    saved = list((tmp_path / "checkpoints").glob("step-*.ckpt"))
    assert len(saved) == 1
    step = int(saved[0].stem.partition("-")[2])
    assert [int(row[0]) for row in curve(tmp_path) if row[1]] == list(range(step))
