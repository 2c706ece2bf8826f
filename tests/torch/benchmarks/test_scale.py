"""The benchmark of many ranks: its dry run does all stages, and its fit is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale import Measured, cases, exponents, measure
from benchmarks.scale_model import Rates, strong, weak
from ptycho_dist.plan.messages import Interconnect


def test_all_stages_run_and_are_right_for_a_few_ranks(tmp_path: Path) -> None:
    measured = measure(5, 9, tmp_path)
    assert len({one.stage for one in measured}) == len(measured) == 7
    assert {(one.ranks, one.patterns) for one in measured} == {(5, 45)}
    assert all(one.seconds > 0 for one in measured)


def test_exponents_of_patterns_and_ranks_are_those_of_the_figures() -> None:
    figures = [
        Measured("one", ranks, count, 3.0 * count**1.5 * ranks**-0.5, 2.0 * count)
        for ranks in (4, 16)
        for count in (10, 100, 1000)
    ]
    found = exponents(figures)["one"]
    assert list(found.values()) == pytest.approx([1.5, -0.5, 1.0, 0.0], abs=1e-9)


def test_scans_are_divided_by_all_numbers_of_ranks_up_to_a_size() -> None:
    assert cases([2, 8], 4, 10) == [(2, 4), (8, 4)]
    assert cases([2, 8], 4, 40) == [(2, 4), (2, 16), (8, 4)]


def test_model_gains_from_ranks_until_messages_take_longer() -> None:
    net = Interconnect(latency_s=1e-4, bytes_per_s=1e9)
    rates = Rates(net=net, predict_s=1e-3, refine_s=1e-3, N=64, step_px=4.0, stages=3)
    seconds = [one["iteration_s"] for one in strong(rates, 16_632, [1, 16, 256, 16_384])]
    assert seconds[0] > seconds[1] > seconds[2] < seconds[3]
    efficiency = [one["prediction"] for one in weak(rates, 1024, [1, 16, 4096])]
    assert efficiency[0] == 1 > efficiency[1] == efficiency[2] > 0.9
