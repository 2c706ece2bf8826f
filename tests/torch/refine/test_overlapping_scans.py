"""Scans of different overlap: as good after equal passes as one pattern at a time, and no start is kept for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.refine_batches import CASES, simulate
from tests.torch.refine.conftest import Refine


def errors(refine: Refine, scan: Path, iterations: int, batch_size: int) -> float:
    return refine(scan, iterations=iterations, batch_size=batch_size, name=f"of {batch_size}").fourier_errors[-1]


@pytest.mark.parametrize(
    "name",
    [
        "step 8 %, N 32",
        *(
            pytest.param(one, marks=pytest.mark.exhaustive)
            for one in CASES
            if one not in ("step 8 %, N 32", "wrong sign")
        ),
    ],
)
def test_batches_are_as_good_as_one_pattern_at_a_time(refine: Refine, tmp_path: Path, name: str) -> None:
    simulate(CASES[name], tmp_path / "scan.h5")
    many, one = (errors(refine, tmp_path / "scan.h5", 10, size) for size in (8, 1))
    assert many < 1.1 * one


@pytest.mark.exhaustive
@pytest.mark.parametrize("batch_size", [8, 1])
def test_start_probe_of_the_wrong_defocus_is_left(refine: Refine, tmp_path: Path, batch_size: int) -> None:
    simulate(CASES["wrong sign"], tmp_path / "scan.h5")
    assert errors(refine, tmp_path / "scan.h5", 100, batch_size) < 0.067
