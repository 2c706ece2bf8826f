"""What real ranks log: rank 0 to a person, every rank to its file, each line once, and one line at the end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.launch import DIVERGING, run, run_torchrun

FLAGS = ["--max_steps", 2, "--accelerator", "cpu", "--width", 8, "--depth", 1]


def records(output_dir: Path, rank: int) -> list[dict[str, Any]]:
    path = output_dir / "logs" / f"rank-{rank:05d}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_spawn(arguments: Sequence[object]) -> Any:
    return run([*arguments, "--devices", 2])


def by_torchrun(arguments: Sequence[object]) -> Any:
    return run_torchrun(arguments, 2)


@pytest.mark.parametrize("launch", [pytest.param(by_spawn, marks=pytest.mark.exhaustive), by_torchrun])
def test_ranks_log_each_line_once(scan: Path, tmp_path: Path, launch: Callable[..., Any]) -> None:
    done = launch(["train", scan, "--output_dir", tmp_path, *FLAGS])
    assert done.returncode == 0, done.stderr
    for words in ("rank(s), launcher", "training on", "written: "):
        assert done.stderr.count(words) == 1, f"{words!r} in:\n{done.stderr}"
    assert "[rank 1]" not in done.stderr
    first, second = records(tmp_path, 0), records(tmp_path, 1)
    for rank, lines in enumerate((first, second)):
        assert {line["rank"] for line in lines} == {rank}
        assert len({line["pid"] for line in lines}) == 1
        messages = [line["message"] for line in lines]
        assert len(messages) == len(set(messages))
        assert sum("2 rank(s), launcher" in message for message in messages) == 1
        assert not any("[rank" in message for message in messages)
    assert first[0]["pid"] != second[0]["pid"]
    assert datetime.fromisoformat(first[0]["time"]).tzinfo is not None
    last = first[-1]["message"]
    assert last.startswith("written: ")
    assert f"{tmp_path / 'bundle'}, " in last
    assert re.search(r", in \d+ s$", last)


def test_error_of_a_rank_is_in_its_log_with_the_traceback(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("kept")
    done = run(["train", scan, "--output_dir", tmp_path, *FLAGS, "--gridsize", 9])
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if " INFO start, " not in line] == [done.stderr.splitlines()[-1]]
    lines = records(tmp_path, 0)
    assert re.search(r"not finished, after \d+ s; .*as before: .*old\.txt", lines[-1]["message"])
    errors = [line for line in lines if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert errors[0]["message"].startswith("ConfigError: ")
    assert "Traceback" in errors[0]["traceback"]


def test_job_that_fails_late_says_what_it_wrote_and_what_is_as_before(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("kept")
    done = run(["train", scan, "--output_dir", tmp_path, *FLAGS[2:], *DIVERGING])
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.split())
    assert said.count("TrainingError") == 1
    assert re.search(r"not finished, after \d+ s; written so far: .*; as before: .*old\.txt", said)


def test_log_is_continued_and_quiet_runs_log_too(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "rank-00000.jsonl").write_text('{"message": "earlier"}\n')
    done = run(["train", scan, "--output_dir", tmp_path, *FLAGS, "--quiet"])
    assert (done.returncode, done.stderr) == (0, "")
    messages = [line["message"] for line in records(tmp_path, 0)]
    assert messages[0] == "earlier"
    assert messages[-1].startswith("written: ")
