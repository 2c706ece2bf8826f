"""Whether someone sits at a terminal; all ranks of a launch give the same answer."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ptycho_dist.launching.environment import launcher_name

TERMINAL_VARIABLE = "PTYCHO_DIST_TERMINAL"
"""Tells ranks of our supervisor whether rank 0 has its terminal: 1 or 0."""


def has_terminal(env: Mapping[str, str]) -> bool:
    """Tell whether rank 0 of this launch writes to a terminal.

    Other launchers give a terminal to some ranks or to none, and no rank knows of the others: there the answer is no.
    """
    if TERMINAL_VARIABLE in env:
        return env[TERMINAL_VARIABLE] == "1"
    return launcher_name(env) == "plain" and sys.stderr.isatty()


def shows_bar(wanted: bool | str, env: Mapping[str, str]) -> bool:
    """Settle ``execution.enable_progress_bar``, the same on every rank."""
    return has_terminal(env) if wanted == "auto" else bool(wanted)
