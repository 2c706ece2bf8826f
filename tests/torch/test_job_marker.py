"""The marker of an unfinished job: found again, kept safe, and taken away at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptycho_dist import job_marker
from ptycho_dist.commands.inspect import describe
from ptycho_dist.errors import ConfigError

SETTINGS = {"training": {"seed": 0, "train_rows": (0.0, 0.5)}, "data": {"N": 32}}


def test_begin_finds_the_progress_of_the_same_job(tmp_path: Path) -> None:
    assert job_marker.begin(tmp_path / "run", "train", SETTINGS, resume=True) is None
    job_marker.note(tmp_path / "run", training={"training_s": 3.0})
    assert job_marker.begin(tmp_path / "run", "train", SETTINGS, resume=True) == {"training": {"training_s": 3.0}}


def test_begin_starts_anew_when_told_so(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "train", SETTINGS, resume=True)
    job_marker.note(tmp_path, training={})
    assert job_marker.begin(tmp_path, "train", SETTINGS, resume=False) is None
    assert job_marker.begin(tmp_path, "train", SETTINGS, resume=True) == {}


def test_begin_starts_anew_with_other_settings_where_nothing_but_a_log_is_left(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "train", SETTINGS, resume=True)
    (tmp_path / "logs").mkdir()
    assert job_marker.begin(tmp_path, "train", {"training": {"seed": 99}}, resume=True) is None
    assert job_marker.read_marker(tmp_path)["settings"] == {"training": {"seed": 99}}


def test_begin_names_every_setting_that_differs_and_keeps_the_marker(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "train", SETTINGS, resume=True)
    (tmp_path / "checkpoints").mkdir()
    before = (tmp_path / job_marker.NAME).read_bytes()
    other = {"training": {"seed": 3, "train_rows": (0.0, 0.5)}, "data": {"N": 32, "gridsize": 2}}
    with pytest.raises(ConfigError) as caught:
        job_marker.begin(tmp_path, "train", other, resume=True)
    assert "data.gridsize was '(absent)', now 2; training.seed was 0, now 3." in str(caught.value)
    assert "--resume false" in str(caught.value)
    assert (tmp_path / job_marker.NAME).read_bytes() == before


def test_refusal_names_the_version_that_began_the_job(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "train", SETTINGS, resume=True)
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / job_marker.NAME
    before = {name: value for name, value in json.loads(path.read_text()).items() if name != "package_version"}
    path.write_text(json.dumps(before))
    with pytest.raises(ConfigError, match=r"use ptycho-dist 0\.1\.0, which began it, choose"):
        job_marker.begin(tmp_path, "train", {}, resume=True)


def test_finish_leaves_nothing_to_resume_with(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "train", SETTINGS, resume=True)
    job_marker.finish(tmp_path)
    assert list(tmp_path.iterdir()) == []
    job_marker.note(tmp_path, training={})
    job_marker.finish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_read_marker_finds_none_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    path.write_text("")
    assert job_marker.read_marker(path) is None


def test_inspect_says_how_far_an_unfinished_job_came(tmp_path: Path) -> None:
    job_marker.begin(tmp_path, "reconstruct", SETTINGS, resume=True)
    assert "an unfinished 'reconstruct'" in describe(tmp_path)
    assert "no checkpoint yet" in describe(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-0000000007.ckpt").write_text("")
    assert "step-0000000007.ckpt" in describe(tmp_path)
    job_marker.note(tmp_path, training={"training_s": 1.0})
    assert "training     finished" in describe(tmp_path)


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("[]", "lacks command"), ("{}", "lacks command")])
def test_read_marker_refuses_what_it_cannot_understand(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / job_marker.NAME).write_text(text)
    with pytest.raises(ConfigError, match=words):
        job_marker.read_marker(tmp_path)
