"""Words, lines and the bar: what a person reads of the progress."""

from __future__ import annotations

import io
import logging
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.spinner import Spinner

from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.rank_logging import configure_logging
from ptycho_dist.progress.bar import Bar, draw
from ptycho_dist.progress.lines import PASSING, Lines
from ptycho_dist.progress.snapshot import Place, PlannedStage, Snapshot
from ptycho_dist.progress.words import count, duration, line

REFINING = Snapshot(
    place=Place("refine"),
    stage="refinement",
    number=2,
    stages=(PlannedStage("start", 3.0), PlannedStage("refinement"), PlannedStage("evaluation")),
    done=12,
    total=20,
    unit="iterations",
    patterns_per_s=2310.4,
    values={"Fourier error": 0.12341},
    stage_s=61.0,
    job_s=65.0,
    stage_left_s=42.0,
    job_left_s=70.0,
)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (3723, "1:02:03"), (2 * 86400 + 4, "2 d 00:00:04"), (-3, "0:00")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(2310.4, "2,310"), (3.25, "3.2"), (3, "3"), (0.0, "0")])
def test_count(number: float, text: str) -> None:
    assert count(number) == text


def test_line_says_all_that_is_known() -> None:
    assert line(REFINING) == (
        "refinement 12 of 20 iterations, Fourier error 0.1234, 2,310 patterns/s, about 0:42 left, whole job about 1:10"
    )
    assert line(replace(REFINING, ends_stage=True)).endswith("2,310 patterns/s, in 1:01")
    waiting = Snapshot(place=Place(), stage="start", number=1, note="reading the scan", stage_s=5.0)
    assert line(waiting) == "start, reading the scan, for 0:05"
    own = replace(REFINING, place=Place("infer", 0, 2), is_shared=False)
    assert "2,310 patterns/s on rank 0" in line(own)


def test_lines_are_seldom_and_seldomer_in_a_long_job(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ptycho_dist", "ptycho_dist.progress", "ptycho_dist.progress.lines"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    now_s = 0.0
    lines = Lines(lambda: now_s)

    def told_in(seconds: int, job_s: float) -> int:
        nonlocal now_s
        before = len(caplog.records)
        for _ in range(2 * seconds):
            now_s += 0.5
            lines.tell(replace(REFINING, job_s=job_s))
        return len(caplog.records) - before

    logging.getLogger("ptycho_dist").propagate = True
    with caplog.at_level(logging.INFO, "ptycho_dist.progress.lines"):
        assert told_in(60, 60.0) == 12
        assert told_in(60, 600.0) == 6
        assert told_in(600, 1e6) == 10
        assert all(getattr(one, PASSING) for one in caplog.records)
        lines.tell(replace(REFINING, ends_stage=True))
        assert not getattr(caplog.records[-1], PASSING)
        before = len(caplog.records)
        short = Snapshot(place=Place(), stage="stitching", number=1, done=1, stage_s=0.1, ends_stage=True)
        lines.tell(short)
        assert len(caplog.records) == before


def shown(width: int, now: Snapshot) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(draw(now, Spinner("dots"), width))
    return [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", one) for one in captured.get().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_bar_takes_two_lines_on_any_terminal(width: int) -> None:
    lines = shown(width, REFINING)
    assert len(lines) == 2
    assert all(len(one) <= width for one in lines)
    assert "2 of 3 refinem" in lines[0]
    assert lines[1].startswith("  about 0:42 left, whole job about")
    if width >= 80:
        assert "12/20 iterations" in lines[0]
        assert "whole job about 1:10, Fourier error 0.1234, 2,310 patterns/s" in lines[1]


def test_first_bar_says_that_the_job_starts() -> None:
    start = Snapshot(place=Place(), stage="start", number=1, stages=(PlannedStage("start"),), note="loading libraries")
    first, second = shown(80, start)
    assert "start" in first
    assert "1 of 1" not in first
    assert "loading libraries" in second


def test_messages_stand_above_the_bar_and_the_bar_goes_away() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    bar = Bar(console, lambda: REFINING)
    console.print("a message")
    bar.close()
    assert isinstance(console.file, io.StringIO)
    written = console.file.getvalue()
    assert written.index("a message") > written.index("refinement")
    assert written.rstrip("\n").endswith("\x1b[2K")
    assert "\x1b[?25h" in written


def test_message_without_a_terminal_is_one_whole_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(detect({}), bar=True)
    words = "word " * 100
    logging.getLogger("ptycho_dist.x").info("%s", words.strip())
    told = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO (word ){99}word\n", told)
