"""What a job reports is what listeners are told: stages, amounts, rates, time left."""

from __future__ import annotations

import json
import pickle
import threading
import time

import pytest

from ptycho_dist.progress.pace import Pace, Point, Share, job_left_s
from ptycho_dist.progress.snapshot import FAILED, FINISHED, RUNNING, Snapshot
from ptycho_dist.progress.stages import History
from ptycho_dist.progress.tracker import Progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Snapshot] = []
        self.is_closed = False

    def tell(self, now: Snapshot) -> None:
        assert not self.is_closed
        self.told.append(now)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def work(progress: Progress, clock: Clock, steps: int, step_s: float, patterns: float) -> None:
    for step in range(1, steps + 1):
        clock.now_s += step_s
        progress.report(step, patterns=patterns, note=f"step {step}", values={"loss": 1 / step})


def test_rate_and_time_left_follow_the_clock(clock: Clock) -> None:
    progress = Progress("train", clock=clock)
    with progress.stage("training"):
        progress.expect(20, "steps")
        work(progress, clock, 5, 2.0, 64)
        now = progress.snapshot()
        assert (now.stage, now.done, now.total, now.unit) == ("training", 5, 20, "steps")
        assert now.patterns_per_s == pytest.approx(32.0)
        assert now.stage_left_s == pytest.approx(30.0)
        clock.now_s += 4.0
        assert progress.snapshot().stage_left_s == pytest.approx(26.0)
        assert now.values == {"loss": 0.2}
        assert now.note == "step 5"
        assert now.fraction == 0.25


def test_rate_forgets_a_slow_begin_and_what_was_done_by_an_earlier_run(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.stage("training"):
        progress.expect(1000, "steps", done=500)
        clock.now_s += 60.0
        progress.report(501, patterns=10)
        for step in range(502, 542):
            clock.now_s += 1.0
            progress.report(step, patterns=10)
        assert progress.snapshot().stage_left_s == pytest.approx(459.0)
        assert progress.snapshot().patterns_per_s == pytest.approx(10.0)


def test_units_longer_than_the_window_have_a_rate() -> None:
    pace = Pace(Point(0.0, 0, 0))
    for number in range(1, 6):
        pace.add(Point(60.0 * number, number, 100.0 * number))
    assert pace.left_s(10, 300.0) == pytest.approx(300.0)
    assert pace.left_s(10, 330.0) == pytest.approx(270.0)
    assert pace.left_s(None, 300.0) is None
    assert Pace(Point(0.0, 0, 0)).left_s(10, 5.0) is None


@pytest.mark.parametrize(
    ("shares", "left_s"),
    [
        ([Share(10, 40.0, 60.0), Share(5)], 60.0 + 50.0),
        ([Share(10, 100.0, 0.0), Share(5, 20.0, None), Share(5)], 30.0 + 50.0),
        ([Share(0, 30.0, 0.0), Share(10, 0.0, None)], None),
        ([Share(10, 100.0, 0.0), Share(5, 51.0, None)], None),
        ([Share(10, 100.0, 0.0)], 0.0),
        ([Share(10, 100.0, 0.0), Share(0)], 0.0),
    ],
)
def test_job_left_comes_from_measured_stages_and_expected_costs(shares: list[Share], left_s: float | None) -> None:
    assert job_left_s(shares) == (None if left_s is None else pytest.approx(left_s))


def test_stages_are_numbered_and_those_passed_over_do_not_count(clock: Clock) -> None:
    progress = Progress(clock=clock)
    assert (progress.snapshot().stage, progress.snapshot().number) == ("start", 1)
    progress.plan({"training": 30, "prediction": 10, "evaluation": 10})
    with progress.stage("prediction", total=10, unit="patterns"):
        clock.now_s += 5.0
        progress.advance(5)
        now = progress.snapshot()
        assert (now.number, len(now.stages)) == (3, 4)
        assert now.stage_left_s == pytest.approx(5.0)
        assert now.job_left_s == pytest.approx(15.0)
    with progress.stage("a surprise"):
        assert [one.name for one in progress.snapshot().stages][3] == "a surprise"
    with progress.stage("evaluation"):
        assert progress.snapshot().number == 5
    assert [one.seconds for one in progress.snapshot().stages] == [0.0, None, 5.0, 0.0, 0.0]


def test_inner_stage_gives_way_to_the_outer_one(clock: Clock) -> None:
    progress = Progress(clock=clock)
    with progress.stage("outer"):
        with progress.stage("inner"):
            assert progress.snapshot().stage == "inner"
        assert progress.snapshot().stage == "outer"


def test_listeners_hear_of_each_end_and_of_a_failure(clock: Clock) -> None:
    progress, kept = Progress("infer", clock=clock), Kept()
    progress.listen(kept)
    with progress.stage("prediction", total=3, unit="patterns"):
        assert list(progress.counted([[1, 2], [3]])) == [[1, 2], [3]]
    progress.end(FAILED, "OSError: no space")
    ends = [(one.stage, one.done) for one in kept.told if one.ends_stage]
    assert ends == [("start", 0), ("prediction", 3)]
    assert (kept.told[-1].state, kept.told[-1].reason) == (FAILED, "OSError: no space")
    assert kept.told[-1].job_left_s is None
    assert kept.is_closed
    progress.end(FINISHED)


def test_a_thread_tells_while_the_job_says_nothing() -> None:
    progress, kept = Progress(), Kept()
    progress.listen(kept)
    with progress.told():
        deadline = time.monotonic() + 20.0
        while len(kept.told) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(kept.told) >= 4
    assert {one.state for one in kept.told} == {RUNNING}
    assert "progress" not in [one.name for one in threading.enumerate()]


def test_history_is_bounded_and_even() -> None:
    history = History()
    for number in range(1000):
        history.add(float(number))
    assert 60 <= len(history.points) <= 120
    steps = {b - a for a, b in zip(history.points, history.points[1:], strict=False)}
    assert steps == {float(history.every)}
    assert history.points[0] == 0.0


def test_snapshot_survives_a_file(clock: Clock) -> None:
    progress = Progress("train", 3, 8, clock=clock)
    progress.plan({"training": 1})
    with progress.stage("training", 7, "steps"):
        work(progress, clock, 3, 1.0, 5)
        now = progress.snapshot()
    assert Snapshot.of_dict(json.loads(json.dumps(now.to_dict()))) == now
    assert now.resident_bytes > now.private_bytes > 0


@pytest.mark.parametrize("change", [{"schema": 2}, {"place": 3}, {"stages": [{"nme": "a"}]}, {"more": 1}])
def test_other_content_is_no_snapshot(change: dict[str, object]) -> None:
    values = Progress().snapshot().to_dict() | change
    with pytest.raises(ValueError, match=r"schema is 2|no snapshot"):
        Snapshot.of_dict(values)


def test_copy_for_another_process_has_no_listeners() -> None:
    progress, kept = Progress("train", 1, 2), Kept()
    progress.listen(kept)
    copy = pickle.loads(pickle.dumps(progress))
    assert (copy.place.command, copy.place.rank, copy.place.world) == ("train", 1, 2)
    copy.end(FINISHED)
    assert not kept.is_closed


def test_reports_without_a_stage_or_listener_end_nowhere() -> None:
    progress = Progress()
    progress.end(FINISHED)
    with progress.stage("one"):
        pass
    progress.report(3, values={"loss": 1.0})
    progress.advance(1)
    progress.expect(3, "steps")
    assert progress.snapshot().history == {}
