"""Progress of real jobs: one bar for a person at a terminal, whole lines elsewhere, a file for each rank."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ptycho_dist.api.invoke import asked_of, process_as_it_was
from ptycho_dist.commands.registry import commands
from ptycho_dist.progress.snapshot import FINISHED, Snapshot
from ptycho_dist.progress.state_file import read_states
from tests.support.launch import DIVERGING, calm_environment, run

TINY = ["--width", 8, "--depth", 1, "--accelerator", "cpu"]
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d (INFO|WARNING) .+")


def run_on_terminal(arguments: list[object], columns: int = 100) -> str:
    """Run a command on a pseudo-terminal; what it has written there, escape sequences included."""
    main, other = pty.openpty()
    env = calm_environment({"TERM": "xterm-256color", "COLUMNS": str(columns)})
    command = [sys.executable, "-m", "ptycho_dist", *map(str, arguments)]
    with subprocess.Popen(command, env=env, stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        written = b""
        while True:
            try:
                more = os.read(main, 65536)
            except OSError:  # the last one that held the terminal has closed it
                break
            written += more
        assert process.wait(60) == 0, written.decode()
    os.close(main)
    return written.decode()


def plain(text: str) -> str:
    """Give a text without its escape sequences."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)


def test_two_ranks_train_with_validation_and_previews(scan: Path, tmp_path: Path) -> None:
    previews = ["--recon_log_every_n_epochs", 2, "--recon_log_stitch"]
    settings = ["--max_epochs", 2, "--val_fraction", 0.3, *TINY]
    done = run(["train", scan, "--output_dir", tmp_path, "--devices", 2, "--enable_progress_bar", *previews, *settings])
    assert done.returncode == 0, done.stderr
    assert "patterns/s" in done.stderr
    assert "validation loss" in done.stderr
    assert "Warning" not in done.stderr
    assert [path.name for path in (tmp_path / "previews").iterdir()] == ["epoch-0002.png"]
    assert (tmp_path / "bundle" / "bundle.json").is_file()


def test_two_ranks_on_a_terminal_show_one_bar_with_the_time_left_of_the_job(scan: Path, tmp_path: Path) -> None:
    job = ["reconstruct", scan, "--output_dir", tmp_path, "--devices", 2, "--max_epochs", 40, "--iterations", 3, *TINY]
    written = run_on_terminal(job)
    said = plain(written)
    for stage in ("start", "2 of 7 training", "6 of 7 refinement"):
        assert stage in said, said
    assert re.search(r"\d+/\d+ steps", said)
    assert re.search(r"whole job about \d+:\d\d", said)
    assert re.search(r"loss 0\.\d+, [\d,]+ patterns/s", said)
    assert "Epoch 0/" not in said
    assert len(re.findall(r"INFO +\[rank 0\] training \d+ of", said)) == 1
    assert re.search(r"[\r\n]\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO", said)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert not re.search(r"(start|training|refinement) \S*\u2501+", plain(written[written.rindex("\x1b[?25h") :]))
    settings = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert settings["payload"]["execution"]["enable_progress_bar"] is True


def test_without_a_terminal_messages_are_whole_lines_that_grep_finds(scan: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("a-long-name-" * 12)
    job = ["reconstruct", scan, "--output_dir", folder, "--devices", 2, "--max_epochs", 2, "--iterations", 2, *TINY]
    done = run(job)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert all(_LINE.fullmatch(one) for one in lines), done.stderr
    assert all(one == one.rstrip() for one in lines)
    assert len([one for one in lines if f"bundle written to {folder / 'bundle'}" in one]) == 1
    assert len(max(lines, key=len)) > 200
    assert re.search(r"refinement 2 of 2 iterations, .*Fourier error 0\.\d+, [\d,]+ patterns/s, in 0:\d\d", done.stderr)
    states = read_states(folder)
    assert [one.place.rank for one in states] == [0, 1]
    assert {one.state for one in states} == {FINISHED}
    assert [one.name for one in states[0].stages] == [
        "start", "training", "prediction", "stitching", "evaluation of the network", "refinement", "evaluation",
        "report",
    ]  # fmt: skip
    assert all(one.seconds is not None for one in states[1].stages), "rank 0 alone writes the report"
    assert len(states[1].history["loss"]) >= 2
    assert len(states[0].history["Fourier error"]) == 2


def test_job_that_fails_says_so_in_its_state(scan: Path, tmp_path: Path) -> None:
    done = run(["train", scan, "--output_dir", tmp_path, *TINY, *DIVERGING])
    assert done.returncode == 2
    (state,) = read_states(tmp_path)
    assert state.state == "failed"
    assert state.reason.startswith("TrainingError: ")


@pytest.mark.parametrize("devices", [1, 2])
def test_python_code_is_told_how_far_rank_0_is(scan: Path, tmp_path: Path, devices: int) -> None:
    command, told = commands()["train"], list[Snapshot]()
    settings = {"scan": scan, "output_dir": tmp_path, "devices": devices, "max_epochs": 20, "width": 8, "depth": 1}
    asked = asked_of(command, {**settings, "accelerator": "cpu", "report": False}, progress=False)
    with process_as_it_was():
        command.run(replace(asked, on_progress=told.append))
    assert {(one.place.rank, one.place.world) for one in told} == {(0, devices)}
    assert (told[-1].state, told[-1].stage) == (FINISHED, "training")
    assert (told[-1].done, told[-1].unit) == (told[-1].total, "steps")
    assert told[-1].values["loss"] > 0


@pytest.mark.parametrize("command", ["simulate", "convert"])
def test_files_are_written_with_a_bar_too(scan: Path, tmp_path: Path, command: str) -> None:
    target = tmp_path / "made.h5"
    if command == "simulate":
        written = run_on_terminal(["simulate", target, "--n_patterns", 64, "--N", 32])
    else:
        written = run_on_terminal(["convert", scan, target])
    said = plain(written)
    assert "loading libraries" in said
    assert re.search(r"(simulation|conversion) .*\d+/\d+ patterns", said)
    assert said.strip().splitlines()[-1].strip() == str(target)
