"""Call a command from Python: settings become the flags of the command line, so that both share one path."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from ptycho_dist.commands.error_messages import PROGRAM
from ptycho_dist.commands.parsing import parse
from ptycho_dist.commands.registry import commands
from ptycho_dist.launching.signals import STOP_SIGNALS

_PACKAGE = "ptycho_dist"
_SIGNALS = (*STOP_SIGNALS, signal.SIGINT, signal.SIGUSR2, signal.SIGCONT)
"""Signals that we or Lightning handle while a job runs."""


def call(name: str, settings: Mapping[str, Any], *, progress: bool) -> None:
    """Run a command with the given settings, on one rank in this process, on more in processes of their own.

    Parameters
    ----------
    name
        Name of the command.
    settings
        Values by the names that the command line has, its paths included; None is a value (``null``).
    progress
        Whether rank 0 tells on standard error what it does; else warnings only.

    Raises
    ------
    PtychoDistError
        What the command raises; in ranks of their own, what the rank to blame has told.
    """
    command = commands()[name]
    switches = [] if progress else ["--quiet"]
    typed = parse(command, [*(f"--{key}={flag_value(value)}" for key, value in settings.items()), *switches])
    with process_as_it_was():
        command.run(replace(typed, listen=_show))


def flag_value(value: Any) -> str:
    """Write a Python value as the command line takes it."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """Turn an array, a number of numpy or a path inside a list into what JSON knows."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value.tolist()


def _show(line: str) -> None:
    """Write what rank 0 says; not the error that ends it, which is raised here."""
    if not line.startswith(f"{PROGRAM}: "):
        sys.stderr.write(line)


@contextmanager
def process_as_it_was() -> Iterator[None]:
    """Give the caller back what a job changes in its process.

    That is this package's logging, the environment, the handlers of signals, random states, and the
    switches of torch.
    """
    with ExitStack() as stack:
        stack.callback(_restore_logging, *_logging())
        stack.callback(_restore_environment, dict(os.environ))
        stack.callback(random.setstate, random.getstate())
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                stack.callback(signal.signal, number, signal.getsignal(number))
        _keep_torch(stack)
        yield


def _logging() -> tuple[list[logging.Handler], bool, int]:
    package = logging.getLogger(_PACKAGE)
    return list(package.handlers), package.propagate, package.level


def _restore_logging(handlers: list[logging.Handler], propagate: bool, level: int) -> None:
    package = logging.getLogger(_PACKAGE)
    package.handlers, package.propagate = handlers, propagate
    package.setLevel(level)


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _keep_torch(stack: ExitStack) -> None:
    import numpy as np
    import torch

    stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002  # the caller's global state
    stack.enter_context(torch.random.fork_rng())
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled(), warn_only=warns)
    for name in ("benchmark", "deterministic"):
        stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
