"""The line that ends a job names what was written, and after a failure what is there."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ptycho_dist.commands.job_summary import entries, kept_line, reported, where_to_look, written_line
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.rank_logging import JsonLines, configure_logging, log_to_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with an old result."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_text("old")
    (tmp_path / "metrics.json").write_text("old")
    for path in (tmp_path / "bundle" / "weights", tmp_path / "bundle", tmp_path / "metrics.json"):
        os.utime(path, ns=(1, 1))
    return tmp_path


def test_line_names_what_is_new_and_what_has_changed_inside(folder: Path) -> None:
    before = entries(folder)
    (folder / "bundle" / "weights").write_text("new")
    (folder / "reconstruction.h5").write_text("new")
    (folder / ".hidden.tmp").write_text("new")
    expected = f"written: {folder / 'bundle'}, {folder / 'reconstruction.h5'}, in 93 s"
    assert written_line(before, entries(folder), 93.2) == expected


def test_line_says_nothing_when_nothing_was_written(folder: Path) -> None:
    before = entries(folder)
    assert written_line(before, before, 0) == "written: nothing, in 0 s"
    assert entries(folder / "nosuch") == {}


def test_line_after_a_failure_tells_new_from_old(folder: Path) -> None:
    before = entries(folder)
    (folder / "checkpoints").mkdir()
    expected = (
        f"not finished, after 3 s; written so far: {folder / 'checkpoints'}; "
        f"as before: {folder / 'bundle'}, {folder / 'metrics.json'}"
    )
    assert kept_line(before, entries(folder), 3) == expected


@pytest.fixture
def _restore() -> object:
    package = logging.getLogger("ptycho_dist")
    kept = package.handlers, package.propagate, package.level
    yield
    package.handlers, package.propagate = kept[0], kept[1]
    package.setLevel(kept[2])


@pytest.mark.usefixtures("_restore")
def test_log_that_cannot_be_written_is_told_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").write_text("in the way")
    configure_logging(detect({}), quiet=True)
    log_to_folder(tmp_path, 0)
    with reported(tmp_path):
        pass
    logging.getLogger("ptycho_dist.x").info("more")
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_message_with_percent_signs_and_arguments_is_one_json_line(tmp_path: Path) -> None:
    handler = JsonLines(tmp_path / "a" / "r.jsonl", 3)
    handler.handle(logging.LogRecord("ptycho_dist.x", logging.INFO, "f", 1, "100%% of\n%s", ('"x"',), None))
    text = (tmp_path / "a" / "r.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert '"message": "100% of\\n\\"x\\""' in text


def test_a_result_says_where_to_look(tmp_path: Path) -> None:
    before = entries(tmp_path)
    for name in ("reconstruction.h5", "network.h5", "overview.png", "network_overview.png"):
        (tmp_path / name).touch()
    after = entries(tmp_path)
    assert where_to_look(before, after) == (
        f"look at {tmp_path / 'overview.png'}; the object is in {tmp_path / 'reconstruction.h5'} "
        f"(numbers: {tmp_path / 'metrics.json'})"
    )
    (tmp_path / "report.html").touch()
    assert f"look at {tmp_path / 'report.html'} or {tmp_path / 'overview.png'};" in where_to_look(
        before, entries(tmp_path)
    )
    assert where_to_look(after, after) == ""
    (tmp_path / "bundle").mkdir()
    assert where_to_look(entries(tmp_path), entries(tmp_path)) == ""
