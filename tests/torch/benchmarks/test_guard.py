"""Claims of the documentation: read, compared, and broken by a figure that is a quarter worse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.guard import RESULTS, Claim, markdown, read_claims

MORE = Claim("speed", "speed.json", ("ratios", 0), 8.0, "python -m x")
LESS = Claim("error", "speed.json", ("ratios", 1), 4.0, "python -m x", more_is_better=False)


@pytest.mark.parametrize(
    ("claim", "figure", "holds"),
    [
        (MORE, 8.0, True),
        (MORE, 6.1, True),
        (MORE, 5.9, False),
        (LESS, 1.0, True),
        (LESS, 4.9, True),
        (LESS, 5.1, False),
    ],
)
def test_claim_is_broken_by_a_figure_a_quarter_worse(claim: Claim, figure: float, holds: bool) -> None:
    assert claim.holds(figure) is holds


def test_figure_is_read_from_the_results(tmp_path: Path) -> None:
    assert MORE.measured(tmp_path) is None
    (tmp_path / "speed.json").write_text(json.dumps({"ratios": [7.5, 3.0]}))
    assert (MORE.measured(tmp_path), LESS.measured(tmp_path)) == (7.5, 3.0)


def test_listed_claims_are_readable_and_hold_for_the_results_that_are_kept() -> None:
    claims = read_claims()
    assert claims
    for claim in claims:
        measured = claim.measured(RESULTS)
        assert measured is None or claim.holds(measured), claim


def test_documentation_holds_the_claims() -> None:
    text = (Path(__file__).parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")
    assert markdown(read_claims()) in text, "run python -m benchmarks.guard --table"
