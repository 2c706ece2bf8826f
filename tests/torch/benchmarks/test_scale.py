"""The benchmark of many ranks: its dry run does all stages, and its fit is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale import Measured, exponents, measure


def test_all_stages_run_and_are_right_for_a_few_ranks(tmp_path: Path) -> None:
    measured = measure(5, 9, tmp_path)
    assert len({one.stage for one in measured}) == len(measured) == 7
    assert {(one.ranks, one.patterns) for one in measured} == {(5, 45)}
    assert all(one.seconds > 0 for one in measured)


def test_exponents_are_those_of_the_figures() -> None:
    figures = [Measured("one", n, n, 3.0 * n**1.5, 2.0 * n) for n in (10, 100, 1000)]
    assert exponents(figures)["one"] == pytest.approx((1.5, 1.0))
