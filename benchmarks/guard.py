"""Hold what was measured against what the documentation claims.

Run ``python -m benchmarks.guard`` after the benchmarks. ``claims.json`` lists each claim: the results file, where in
it the figure is, the figure, and whether more or less is better. A figure worse than claimed by more than a quarter
ends the run with exit code 1; one that was not measured is shown, and does not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.common import RESULTS

CLAIMS = Path(__file__).resolve().parent / "claims.json"
TOLERANCE = 0.25


@dataclass(frozen=True)
class Claim:
    """A figure that the documentation states.

    Parameters
    ----------
    what
        In words.
    file, path
        Results file, and keys that lead to the figure in it.
    value
        The documented figure.
    command
        What measures it.
    more_is_better
        Whether it must not fall (else: not rise).
    """

    what: str
    file: str
    path: tuple[str | int, ...]
    value: float
    command: str
    more_is_better: bool = True

    def measured(self, results: Path = RESULTS) -> float | None:
        """Read the figure from the results; None where the benchmark has not run.

        Raises
        ------
        KeyError
            If the results have no such figure.
        """
        path = results / self.file
        if not path.is_file():
            return None
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        for key in self.path:
            found = found[key]
        return float(found)

    def holds(self, measured: float) -> bool:
        """Tell whether a figure is at most a quarter worse than claimed."""
        if self.more_is_better:
            return measured >= self.value * (1 - TOLERANCE)
        return measured <= self.value * (1 + TOLERANCE)


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read all claims."""
    listed: Sequence[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return [Claim(**{**one, "path": tuple(one["path"])}) for one in listed]


def markdown(claims: Sequence[Claim]) -> str:
    """Table of the claims, as it stands in the documentation."""
    rows = [f"| {one.what} | {one.value:g} | `{one.command}` |" for one in claims]
    return "\n".join(["| claim | figure | command |", "|---|---|---|", *rows])


def main() -> None:
    """Show all claims, and fail where one does not hold; with --table only print them for the documentation."""
    if "--table" in sys.argv[1:]:
        sys.stdout.write(markdown(read_claims()) + "\n")
        return
    table = Table("claim", "documented", "measured", "", title="claims of docs/performance.md")
    broken = 0
    for claim in read_claims():
        measured = claim.measured()
        verdict = "not measured" if measured is None else "holds" if claim.holds(measured) else "BROKEN"
        broken += verdict == "BROKEN"
        table.add_row(claim.what, f"{claim.value:g}", "" if measured is None else f"{measured:.4g}", verdict)
    Console().print(table)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
