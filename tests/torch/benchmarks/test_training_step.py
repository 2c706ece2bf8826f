"""The benchmark of a training step times both ways of moving patches."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import common, training_step


def test_both_ways_are_timed_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    found = training_step.measure(32, 2)
    assert min(found.rectangles_ms, found.compiled_ms) > 0
    assert training_step.main(["--N", "32", "--repeats", "1"]) == 0
    assert (tmp_path / "training_step.json").is_file()
