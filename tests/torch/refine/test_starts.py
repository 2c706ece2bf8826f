"""A refinement from the network's product and from ones: the better one is kept."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.precedence import Level
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.refine import create_refine_payload, refine_payload
from ptycho_dist.launching.signals import StopRequested
from ptycho_dist.refine.choice import is_beaten
from ptycho_dist.refine.progress import CsvLog
from tests.support.truth import Truth
from tests.torch.refine.conftest import Refine, product_of
from tests.torch.refine.test_run import stop_at

ITERATIONS = 12


def start_of(truth: Truth, path: Path, object_: Any) -> Path:
    np.savez(path, object=object_, probe=truth.probe)
    return path


@pytest.fixture
def good(truth: Truth, tmp_path: Path) -> Path:
    """Write a start that is close to the truth."""
    return start_of(truth, tmp_path / "good.npz", truth.object_ * np.exp(0.05j))


@pytest.fixture
def bad(truth: Truth, tmp_path: Path) -> Path:
    """Write a start that has nothing to do with the truth."""
    random = np.random.default_rng(0)
    phase = random.uniform(-np.pi, np.pi, truth.object_.shape)
    return start_of(truth, tmp_path / "bad.npz", random.uniform(0.1, 3, phase.shape) * np.exp(1j * phase))


@pytest.mark.parametrize("is_good", [True, False])
def test_better_start_is_kept_and_ends_as_it_would_alone(
    truth: Truth, refine: Refine, good: Path, bad: Path, is_good: bool
) -> None:
    start = good if is_good else bad
    alone = {
        "network": refine(truth.path, start=start, iterations=ITERATIONS, name="network"),
        "ones": refine(truth.path, iterations=ITERATIONS, name="ones"),
    }
    both = refine(truth.path, start=start, start_from="both", iterations=ITERATIONS, name="both")
    assert both.start == ("network" if is_good else "ones")
    assert both.fourier_errors == alone[both.start].fourier_errors
    assert both.fourier_errors[-1] == min(one.fourier_errors[-1] for one in alone.values())
    for name, errors in both.by_start.items():
        assert errors == alone[name].fourier_errors[: len(errors)]
    assert np.array_equal(product_of(both).object_, product_of(alone[both.start]).object_)
    assert product_of(both).metadata.provenance["refined_from"] == both.start


def falling(first: float, last: float, speed: float, count: int) -> list[float]:
    """Errors that fall from first to last, by a share of what is left in each iteration."""
    return [last + (first - last) * speed**number for number in range(count)]


def decided_after(network: list[float], ones: list[float], cooling: float = 0.5) -> tuple[str, int]:
    """Which of two is gone on with, and after how many iterations the other was given up."""
    total = len(network)
    for done in range(1, total + 1):
        found = {"network": network[:done], "ones": ones[:done]}
        ahead, behind = sorted(found, key=lambda name: found[name][-1])
        if is_beaten(found[behind], found[ahead], total, cooling):
            return ahead, done
    return min(("network", network[-1]), ("ones", ones[-1]), key=lambda one: one[1])[0], total


@pytest.mark.parametrize("total", [10, 20, 60])
@pytest.mark.parametrize("last_of_network", [0.05, 0.0595, 0.0605, 0.062, 0.07, 0.1])
@pytest.mark.parametrize("speed", [0.3, 0.6, 0.85, 0.95])
def test_start_that_would_have_ended_better_by_a_percent_is_never_given_up(
    total: int, last_of_network: float, speed: float
) -> None:
    network = falling(1.3 * last_of_network, last_of_network, 0.5, total)
    ones = falling(0.4, 0.06, speed, total)
    kept, _ = decided_after(network, ones)
    ends = {"network": network[-1], "ones": ones[-1]}
    assert ends[kept] < 1.01 * min(ends.values())


def test_errors_of_zero_are_no_fault() -> None:
    assert not is_beaten([0.0] * 8, [0.0] * 8, 20, 0.5)


def test_start_that_is_far_behind_is_given_up_early() -> None:
    network, ones = falling(0.07, 0.06, 0.5, 60), falling(0.4, 0.2, 0.5, 60)
    kept, done = decided_after(network, ones)
    assert kept == "network"
    assert done < 12


def test_starts_that_have_become_equal_are_not_both_refined_to_the_end() -> None:
    network, ones = falling(0.07, 0.06, 0.5, 60), falling(0.4, 0.06, 0.5, 60)
    assert decided_after(network, ones)[1] == 45
    assert decided_after(network, ones, cooling=0.0)[1] < 30


@pytest.mark.parametrize("iteration", [3, 9])
def test_stopped_comparison_resumes_with_the_same_bits(truth: Truth, refine: Refine, bad: Path, iteration: int) -> None:
    settings = {"start": bad, "start_from": "both", "iterations": ITERATIONS, "n_modes": 2}
    whole = refine(truth.path, **settings, name="whole")
    with pytest.raises(StopRequested):
        refine(truth.path, **settings, callbacks=(stop_at(iteration),))
    rest = refine(truth.path, **settings, resume=True)
    assert (rest.start, rest.by_start) == (whole.start, whole.by_start)
    assert np.array_equal(product_of(rest).object_, product_of(whole).object_)


def test_start_that_breaks_is_given_up_for_the_other(truth: Truth, refine: Refine, tmp_path: Path) -> None:
    huge = start_of(truth, tmp_path / "huge.npz", np.full_like(truth.object_, 1e30))
    result = refine(truth.path, start=huge, start_from="both", iterations=3)
    assert result.start == "ones"
    assert np.isfinite(result.fourier_errors).all()


def test_choice_is_told_with_both_numbers(
    truth: Truth, refine: Refine, bad: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ptycho_dist.refine"):
        result = refine(truth.path, start=bad, start_from="both", iterations=ITERATIONS)
    compared = len(result.by_start["network"])
    numbers = [f"{result.by_start[name][compared - 1]:.4f}" for name in ("ones", "network")]
    assert f"after {compared} iterations the refinement from ones has a Fourier error of {numbers[0]}" in caplog.text
    assert f"that from network {numbers[1]}" in caplog.text


def test_log_on_disk_has_the_errors_of_both(truth: Truth, refine: Refine, bad: Path, tmp_path: Path) -> None:
    result = refine(
        truth.path, start=bad, start_from="both", iterations=ITERATIONS, callbacks=(CsvLog(tmp_path / "out"),)
    )
    lines = list(csv.DictReader((tmp_path / "out" / "logs" / "refine.csv").read_text().splitlines()))
    for name, errors in result.by_start.items():
        assert [float(line[f"from_{name}"]) for line in lines if line[f"from_{name}"]] == list(errors)


@pytest.mark.parametrize(
    ("of_network", "has_start", "wanted", "settled"),
    [
        (True, True, "auto", "both"), (True, True, "network", "network"), (True, True, "ones", "ones"),
        (False, True, "auto", "network"), (False, False, "auto", "ones"), (False, True, "both", "both"),
        (False, False, "ones", "ones"),
    ],
)  # fmt: skip
def test_what_is_refined_from_is_settled_once(
    truth: Truth, tmp_path: Path, good: Path, of_network: bool, has_start: bool, wanted: str, settled: str
) -> None:
    level = Level("override", {"refine.start_from": wanted})
    start = good if has_start else None
    payload = refine_payload(truth.path, tmp_path / "out", [level], start, of_network=of_network)
    assert payload.refine_config.start_from == settled
    assert (payload.refine_config.start is None) == (settled == "ones")
    assert payload.result_settings()["refine"]["start_from"] == settled


@pytest.mark.parametrize(("has_start", "wanted"), [(False, "both"), (False, "network"), (True, "ones")])
def test_start_that_contradicts_what_is_asked_for_is_refused(
    truth: Truth, tmp_path: Path, good: Path, has_start: bool, wanted: str
) -> None:
    with pytest.raises(ConfigError, match=r"refine\.start_from"):
        create_refine_payload(truth.path, tmp_path / "out", {"start_from": wanted}, start=good if has_start else None)
