"""What is said of a job, from files as real ranks write them."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ptycho_dist import job_marker
from ptycho_dist.progress.snapshot import FAILED, FINISHED, STOPPED
from ptycho_dist.watching.frame import frame, sparkline
from ptycho_dist.watching.job import look
from ptycho_dist.watching.pictures import half_blocks, pictures_of
from ptycho_dist.watching.plain import plain
from ptycho_dist.watching.ranks import MOST_ROWS, chosen
from tests.torch.watching.conftest import Ranks

Say = Callable[[int, int, str], None]


def drawn(folder: Path, *, now: datetime | None = None, width: int = 120, colours: bool = False) -> str:
    system = "truecolor" if colours else None
    console = Console(file=io.StringIO(), width=width, height=40, force_terminal=colours, color_system=system)
    with console.capture() as captured:
        console.print(frame(look(folder, now or datetime.now(UTC)), console))
    return captured.get()


def test_before_anything_is_written(tmp_path: Path) -> None:
    assert "the folder is not there yet" in drawn(tmp_path / "later")
    assert "has not written anything yet" in drawn(tmp_path)
    job_marker.begin(tmp_path, "train", {}, resume=True)
    assert "a 'train' is unfinished here" in drawn(tmp_path)
    assert look(tmp_path, datetime.now(UTC)).status == "waiting"


def test_running_job_is_shown_with_rate_curve_memory_and_warnings(tmp_path: Path, ranks: Ranks, say: Say) -> None:
    say(1, logging.WARNING, "an old warning")
    old = tmp_path / "logs" / "rank-00001.jsonl"
    old.write_text(re.sub(r'"time": "\d{4}', '"time": "2001', old.read_text()))
    ranks(2)
    say(0, logging.WARNING, "the detector looks odd")
    say(1, logging.INFO, "all is well")
    shown = drawn(tmp_path)
    assert re.search(r"refine, begun \d{4}-\d\d-\d\dT\S+: running", shown)
    assert "start 0:00 > refinement > evaluation" in shown
    assert "9 of 100 iterations" in shown
    assert re.search(r"about 1:\d\d left, whole job about 1:\d\d, Fourier error 0.1111", shown)
    assert re.search(r"Fourier error \S+ 1 to 0.1111", shown)
    assert re.search(r" 0 +\S+ +refinement +9/100 iterations .* running", shown)
    assert re.search(r" 1 +\S+ +refinement +10/100 iterations .* running", shown)
    assert re.search(r"2 of 2 ranks seen, 2 running, .* patterns/s together, private memory \d\.\d to", shown)
    assert "WARNING rank 0: the detector looks odd" in shown
    assert "all is well" not in shown
    assert "old warning" not in shown


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (FINISHED, "", "finished, in 0:"),
        (FAILED, "TrainingError: no", "failed on rank 0: TrainingError: no"),
        (STOPPED, "SIGTERM", "stopped (SIGTERM)"),
    ],
)
def test_end_is_told(tmp_path: Path, ranks: Ranks, state: str, reason: str, words: str) -> None:
    for one in ranks(2):
        one.end(state, reason)
    job = look(tmp_path, datetime.now(UTC) + timedelta(days=3))
    assert (job.status, job.has_ended) == (state, True)
    assert words in job.verdict
    assert "resumes" not in job.verdict
    assert words in drawn(tmp_path)
    job_marker.begin(tmp_path, "refine", {}, resume=True)
    assert ("resumes" in look(tmp_path, datetime.now(UTC)).verdict) is (state != FINISHED)


def test_the_rank_that_failed_by_itself_is_named(tmp_path: Path, ranks: Ranks) -> None:
    first, second = ranks(2)
    first.end(FAILED, "OtherRankError: rank 1 failed")
    second.end(FAILED, "DataFormatError: bad")
    assert "failed on rank 1: DataFormatError: bad" in drawn(tmp_path)


def test_ranks_without_a_sign_of_life_are_named(tmp_path: Path, ranks: Ranks) -> None:
    _first, second = ranks(2)
    later = datetime.now(UTC) + timedelta(seconds=100)
    job = look(tmp_path, later)
    assert (job.status, job.has_ended) == ("silent", False)
    assert "no rank has written for 1:" in job.verdict
    assert "no sign of life for 1:" in drawn(tmp_path, now=later)
    second.end(FINISHED)
    assert "1 of 2 ranks are silent" in look(tmp_path, later).verdict


def test_rank_that_lives_but_does_not_work_is_named(tmp_path: Path) -> None:
    from ptycho_dist.progress.state_file import StateFile
    from ptycho_dist.progress.tracker import Progress

    now_s = 0.0
    progress = Progress("train", clock=lambda: now_s)
    now_s = 90.0
    progress.listen(StateFile(tmp_path, 0, 1))
    job = look(tmp_path, datetime.now(UTC) + timedelta(seconds=90))
    assert job.ranks[0].trouble == "no progress for 1:30"
    assert job.status == "running"


def test_of_many_ranks_those_in_trouble_the_slowest_and_the_fastest_are_shown(tmp_path: Path, ranks: Ranks) -> None:
    made = ranks(40)
    made[17].end(FAILED, "ShardError: lost")
    job = look(tmp_path, datetime.now(UTC))
    rows = [one.last.place.rank for one in chosen(job.ranks)]
    assert len(rows) == MOST_ROWS
    assert {0, 1, 2, 17, 37, 38, 39} <= set(rows)
    assert rows == sorted(rows)
    shown = drawn(tmp_path)
    assert "40 of 40 ranks seen, 39 running" in shown
    assert shown.count(" refinement ") <= MOST_ROWS + 1


def test_picture_is_drawn_in_the_colours_it_has(tmp_path: Path, ranks: Ranks) -> None:
    ranks(1)
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:32], pixels[32:] = (250, 0, 0), (0, 0, 250)
    Image.fromarray(pixels).save(tmp_path / "preview.png")
    text = half_blocks(tmp_path / "preview.png", 20, 5)
    assert text is not None
    lines = text.plain.splitlines()
    assert (len(lines), {len(one) for one in lines}) == (5, {20})
    shown = drawn(tmp_path, colours=True)
    assert "\x1b[38;2;250;0;0;48;2;250;0;0m" in shown
    assert "\x1b[38;2;0;0;250;48;2;0;0;250m" in shown
    assert all(len(re.sub(r"\x1b\[[\d;]*m", "", one)) <= 120 for one in shown.splitlines())
    assert len(shown.splitlines()) <= 40
    without = drawn(tmp_path)
    assert "preview.png" in without
    assert "\u2580" not in without


def test_half_written_picture_is_left_out(tmp_path: Path, ranks: Ranks) -> None:
    ranks(1)
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "epoch-0001.png").write_bytes(b"\x89PNG half")
    assert [one.name for one in pictures_of(tmp_path)] == ["previews/epoch-0001.png"]
    assert half_blocks(tmp_path / "previews" / "epoch-0001.png", 20, 5) is None
    assert "epoch-0001.png" in drawn(tmp_path, colours=True)


@pytest.mark.parametrize(
    ("values", "blocks"),
    [
        ([1.0, 10.0, 100.0], "\u2581\u2585\u2588"),
        ([0.0, 1.0, 2.0], "\u2581\u2585\u2588"),
        ([3.0, 3.0], "\u2581\u2581"),
        ([float("nan"), 2.0], "\u2581"),
    ],
)
def test_sparkline(values: list[float], blocks: str) -> None:
    assert sparkline("loss", values).plain.split()[1] == blocks


def test_sparkline_of_many_values_ends_with_the_last() -> None:
    text = sparkline("loss", [float(one) for one in range(1, 121)]).plain
    assert text.endswith("1 to 120")
    assert len(text.split()[1]) == 40
    assert sparkline("loss", [float("inf")]).plain == "loss: no finite value"


def test_page_is_given_what_the_terminal_shows(tmp_path: Path, ranks: Ranks, say: Say) -> None:
    ranks(2)
    say(1, logging.ERROR, "<b>broken</b>")
    state = plain(look(tmp_path, datetime.now(UTC)))
    assert state["status"] == "running"
    assert state["present"]["fraction"] == 0.09
    assert [one["rank"] for one in state["ranks"]] == [0, 1]
    assert state["messages"][0]["text"] == "<b>broken</b>"
    assert [one["is_present"] for one in state["stages"]] == [False, True, False]
    assert plain(look(tmp_path / "nothing", datetime.now(UTC)))["present"] is None
