"""The outcome of a check."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"


@dataclass(frozen=True)
class Result:
    """The outcome of a check.

    Parameters
    ----------
    name
        What was checked.
    status
        ok, warn (it will run, but badly), fail (it will not run, or not right), or skip (nothing to check).
    found
        What was found, with its numbers.
    fix
        What to do; empty where all is well.
    """

    name: str
    status: str
    found: str
    fix: str = ""
