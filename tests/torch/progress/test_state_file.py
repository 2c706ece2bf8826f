"""The file in which a rank says how far it is: whole, seldom, and no reason to stop a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptycho_dist.progress.snapshot import FINISHED
from ptycho_dist.progress.state_file import StateFile, interval_s, read_state, read_states, state_path
from ptycho_dist.progress.tracker import Progress


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("world", "seconds"), [(1, 1.0), (16, 1.0), (64, 4.0), (4096, 30.0)])
def test_more_ranks_write_less_often(world: int, seconds: float) -> None:
    assert interval_s(world) == seconds


def test_written_at_most_each_second_and_at_the_end(tmp_path: Path) -> None:
    clock, progress = Clock(), Progress("train")
    file = StateFile(tmp_path, 0, 1, clock)
    written = []
    with progress.stage("training", 100, "steps"):
        for tick in range(21):
            clock.now_s = tick / 4
            progress.report(tick)
            file.tell(progress.snapshot())
            found = read_state(tmp_path, 0)
            assert found is not None
            written.append(found.done)
    assert sorted(set(written)) == [0, 4, 8, 12, 16, 20]
    progress.listen(file)
    progress.end(FINISHED)
    last = read_state(tmp_path, 0)
    assert last is not None
    assert last.state == FINISHED
    assert [path.name for path in state_path(tmp_path, 0).parent.iterdir()] == ["progress-rank-00000.json"]


def test_disk_that_refuses_is_told_once_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    file = StateFile(tmp_path, 0, 1)
    for _ in range(3):
        file.tell(Progress().snapshot())
    told = capsys.readouterr().err
    assert told.count("cannot be written") == 1
    assert "continuing without" in told


def test_ranks_of_an_earlier_larger_job_are_forgotten(tmp_path: Path) -> None:
    for rank in range(4):
        StateFile(tmp_path, rank, 4).tell(Progress("train", rank, 4).snapshot())
    assert [one.place.rank for one in read_states(tmp_path)] == [0, 1, 2, 3]
    for rank in range(2):
        StateFile(tmp_path, rank, 2).tell(Progress("train", rank, 2).snapshot())
    assert [one.place.world for one in read_states(tmp_path)] == [2, 2]
    assert not state_path(tmp_path, 3).exists()


def test_what_is_no_state_is_left_out(tmp_path: Path) -> None:
    assert read_states(tmp_path) == []
    StateFile(tmp_path, 1, 2).tell(Progress("train", 1, 2).snapshot())
    state_path(tmp_path, 0).write_text("{half")
    (tmp_path / "logs" / "progress-rank-x.json").write_text("{}")
    assert [one.place.rank for one in read_states(tmp_path)] == [1]
    state_path(tmp_path, 0).write_text(json.dumps({"schema": 99}))
    assert read_state(tmp_path, 0) is None
