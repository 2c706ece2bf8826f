"""A stitched object that is far worse than the groups of its training is told, with a reason."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_dist.evaluate.fourier import FourierErrors
from ptycho_dist.evaluate.group_report import loose_groups


def errors(stitched: float, noise: float) -> FourierErrors:
    """Ten patterns of a hundred photons."""
    counts = np.full(10, 100.0)
    return FourierErrors(counts * stitched**2, counts, counts * noise**2)


@pytest.mark.parametrize(
    ("of_groups", "noise", "overlap", "said"),
    [
        (0.08, 0.12, 0.7, "below photon noise (0.1200)"),
        (0.08, 0.01, 0.2, "overlap by 20% and hardly constrain each other"),
        (0.08, 0.01, 0.95, "those of a group see the same"),
        (0.08, 0.01, 0.7, "the groups do not constrain each other"),
    ],
)
def test_reason_is_named_with_both_numbers_and_what_to_do(
    of_groups: float, noise: float, overlap: float, said: str
) -> None:
    told = loose_groups(of_groups, errors(0.2, noise), overlap)
    assert "Fourier error of 0.2000, the groups that were trained on 0.0800" in told
    assert said in told


@pytest.mark.parametrize("of_groups", [0.2, 0.17, 0.3])
def test_nothing_is_said_of_a_stitched_object_that_is_about_as_good(of_groups: float) -> None:
    assert loose_groups(of_groups, errors(0.2, 0.1), 0.7) == ""
