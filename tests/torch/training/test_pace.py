"""A training ends when more of it no longer pays, or its time is up."""

from __future__ import annotations

import csv
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from ptycho_dist.config.validators import seconds
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.budget import METRIC
from ptycho_dist.training.pace import Pace
from ptycho_dist.training.run import run_training
from tests.support.runs import simulate_tiny, training_payload


def test_rate_rises_stays_and_falls_over_the_last_quarter() -> None:
    pace = Pace(400, 0.0)
    factors = [pace.factor(step, 10, 0.1) for step in range(401)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[10:300] == [1.0] * 290
    assert factors[350] == pytest.approx(0.55)
    assert factors[400] == pytest.approx(0.1)
    assert pace.end == 400


def test_pace_slows_down_when_the_error_no_longer_falls() -> None:
    pace, step = Pace(10_000, 0.01), 0
    errors = [1 / (1 + count) for count in range(6)] + [0.1] * 20
    for step, error in enumerate(errors, start=1):
        if pace.look(50 * step, error):
            break
    assert 9 <= step <= 15
    assert pace.decay_from == 50 * step
    assert pace.end == pytest.approx(50 * step / 0.75, abs=1)
    assert "gains 0.00%" in pace.reason


@pytest.mark.parametrize("min_gain", [0.0, 0.01])
def test_pace_goes_on_while_the_error_falls_or_where_it_is_not_judged(min_gain: float) -> None:
    pace = Pace(10_000, min_gain)
    falling = [0.9**count if min_gain else 1.0 for count in range(60)]
    assert not any(pace.look(50 * step, error) for step, error in enumerate(falling))
    assert pace.end == 10_000


def test_pace_is_restored_from_plain_values() -> None:
    pace, other = Pace(1000, 0.01), Pace(1000, 0.01)
    pace.slow_down(300, "time")
    other.restore(asdict(pace))
    assert other == pace
    assert other.end == 400


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("01:30", 90), ("1:00:00:01", 86401), (12.5, 12.5)])
def test_durations_are_read_as_lightning_reads_them(text: float | str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("wrong", ["1h", "0", -3.0, "1:2:3:4:5"])
def test_other_durations_are_refused(tmp_path: Path, wrong: object) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5")
    with pytest.raises(ConfigError, match=r"max_time = .*; expected seconds, or DD:HH:MM:SS"):
        training_payload(scan, tmp_path / "out", max_time=wrong)


def trained(folder: Path, scan: Path, **overrides: object) -> tuple[int, str]:
    payload = training_payload(scan, folder, **{"max_epochs": None, **overrides})
    with open_scan(scan) as opened:
        run_training(payload, detect({}), opened)
    with (folder / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    looks = [row[METRIC] for row in rows if row.get(METRIC)]
    return sum(bool(row["train_loss_step"]) for row in rows), str(len(looks))


def test_training_ends_soon_where_nothing_can_be_learnt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5")
    with caplog.at_level(logging.INFO, logger="ptycho_dist"):
        steps, looks = trained(tmp_path / "out", scan, learning_rate=1e-12, probe_learning_rate=1e-12)
    assert int(looks) == 6
    assert steps == 400
    assert "training ends after 400 steps: the error of the regions gains 0.00%" in caplog.text


def test_training_ends_when_its_time_is_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5")
    with caplog.at_level(logging.INFO, logger="ptycho_dist"):
        steps, _ = trained(tmp_path / "out", scan, max_time=2, min_gain=0.0, max_steps=1_000_000)
    assert 0 < steps < 100_000
    assert "training.max_time = 2.0 is nearly up" in caplog.text


def test_length_of_a_training_does_not_grow_with_the_scan(tmp_path: Path) -> None:
    small, large = (simulate_tiny(tmp_path / f"{count}.h5", n_patterns=count) for count in (40, 400))
    payloads = [training_payload(scan, tmp_path / "out", max_epochs=None) for scan in (small, large)]
    assert [one.training_config.max_steps for one in payloads] == [2000, 2000]
    assert payloads[0].training_config.epochs > 8 * payloads[1].training_config.epochs
