"""The plan of a small job: calibrated by real ranks, complete, and near a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.launch import run

SETTINGS = ["--accelerator", "cpu", "--width", 8, "--depth", 1, "--group_size", 4, "--batch_size", 4, "--quiet"]


def test_plan_calibrates_on_the_ranks_asked_for_and_leaves_nothing_behind(scan: Path, tmp_path: Path) -> None:
    done = run(["plan", scan, "--output_dir", tmp_path, "--ranks", "1,2,64", *SETTINGS, "--devices", 2, "--json"])
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert [(row["ranks"], row["is_measured"]) for row in plan["rows"]] == [(1, False), (2, True), (64, False)]
    assert plan["measurements"][0]["latency_s"] > 0
    assert plan["idle_ranks"] == {"64": 60}
    assert list(tmp_path.iterdir()) == []


def test_plan_takes_what_is_said_of_the_scan(scan: Path, tmp_path: Path) -> None:
    said = ["--counts_per_photon", 2, "--flip_rows", "true", "--drop_frames", "0", "--position_unit", "px"]
    done = run(["plan", scan, "--output_dir", tmp_path, "--ranks", 1, *SETTINGS, "--devices", 1, "--json", *said])
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
def test_plan_calibrates_on_one_and_two_ranks_and_predicts_to_1024(scan: Path, tmp_path: Path) -> None:
    done = run(["plan", scan, "--output_dir", tmp_path, "--max_epochs", 30, *SETTINGS, "--json"], 180.0)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["job"]["steps"] == 30 * 2
    assert [one["ranks"] for one in plan["measurements"]] == [1, 2]
    assert plan["measurements"][1]["latency_s"] > 0
    rows = {row["ranks"]: row for row in plan["rows"]}
    assert list(rows) == [2**power for power in range(11)]
    assert [ranks for ranks, row in rows.items() if row["is_measured"]] == [1, 2]
    assert rows[1]["sent_bytes"] == 0 < rows[2]["sent_bytes"] < rows[1024]["sent_bytes"]
    assert all(row["memory_bytes"] > 1 << 28 and row["total_s"] > 0 for row in rows.values())
    assert list(tmp_path.iterdir()) == [], "the files of the calibration are removed"


def test_plan_refuses_what_is_no_number_of_ranks(scan: Path) -> None:
    done = run(["plan", scan, "--ranks", "1,many"])
    assert done.returncode == 2
    assert "plan.ranks = '1,many'" in done.stderr
