"""Call a command from Python: keywords become what the command is asked for, as flags do on the command line."""

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
from pathlib import Path
from typing import Any, NoReturn

from ptycho_dist.api.notebook_progress import NotebookProgress, in_notebook
from ptycho_dist.api.python_words import CALLS, in_python_words
from ptycho_dist.commands.error_messages import PROGRAM
from ptycho_dist.commands.habits import meant_by
from ptycho_dist.commands.parser import OVERWRITE
from ptycho_dist.commands.parsing import SWITCHES, refuse_unused, spellings
from ptycho_dist.commands.registry import Command, Typed, commands
from ptycho_dist.config import precedence
from ptycho_dist.config.ptychopinn import PTYCHOPINN
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.signals import STOP_SIGNALS

_PACKAGE = "ptycho_dist"
_SIGNALS = (*STOP_SIGNALS, signal.SIGINT, signal.SIGUSR2, signal.SIGCONT)
"""Signals that we or Lightning handle while a job runs."""


def call(name: str, settings: Mapping[str, Any], *, progress: bool | None) -> None:
    """Run a command with the given settings, on one rank in this process, on more in processes of their own.

    Parameters
    ----------
    name
        Name of the command.
    settings
        Values by keyword, paths included; None is a value ("not set").
    progress
        Whether rank 0 tells what it does, in a notebook in one display, else in lines on standard error; None is yes
        in a notebook and no elsewhere. Warnings are always told.

    Raises
    ------
    PtychoDistError
        What the command raises; in ranks of their own, what the rank to blame has said.
    """
    command = commands()[name]
    displays = in_notebook()
    tells = displays if progress is None else progress
    asked = asked_of(command, settings, progress=tells and not displays)
    if tells and displays:
        asked = replace(asked, on_progress=NotebookProgress())
    with process_as_it_was():
        command.run(asked)


def asked_of(command: Command, settings: Mapping[str, Any], *, progress: bool) -> Typed:
    """Turn keywords into what a command is asked for.

    Raises
    ------
    ConfigError
        For a keyword that the command does not have, a value of the wrong type, or two values of one setting.
    """
    names = spellings(command)
    paths: dict[str, Path] = {}
    given: dict[str, Any] = {}
    overwrite = False
    for key, value in settings.items():
        name = names.get(key, key)
        if name == OVERWRITE and name in names:
            overwrite = _take_switch(key, value)
            continue
        if name in SWITCHES or (key not in names and not _is_moot(key)):
            _refuse_keyword(command, key, names)
        if name in (command.operand, *command.paths, "config"):
            _take_path(paths, name, key, value)
        else:
            given[key] = _plain(value)
    level = precedence.canonicalise(given, command.sections, f"{CALLS.get(command.name, command.name)}()")
    config_file = paths.pop("config", None)
    flags = {**paths, **level.values} | ({} if config_file is None else {"config": config_file})
    flags |= {OVERWRITE: True} if overwrite else {}
    switches = () if progress else ("--quiet",)
    return Typed(
        argv=(command.name, *(f"--{name}={flag_value(value)}" for name, value in flags.items()), *switches),
        paths=paths,
        overrides=level.values,
        config_file=config_file,
        quiet=not progress,
        overwrite=overwrite,
        listen=_show,
    )


def flag_value(value: Any) -> str:
    """Write a value as the command line takes it, for ranks in processes of their own."""
    return os.fspath(value) if isinstance(value, str | os.PathLike) else json.dumps(value)


def _refuse_keyword(command: Command, key: str, names: Mapping[str, str]) -> NoReturn:
    refuse_unused(key, command)
    call = CALLS.get(command.name, command.name)
    known = [name for name, meant in names.items() if meant not in SWITCHES] + ["progress"]
    near = meant_by(key, known)
    hint = f"Did you mean {near!r}?" if near else f"'ptycho-dist {command.name} --help all' lists them."
    msg = f"{call}() got an unknown keyword {key!r}; expected a setting of it. {hint}"
    raise ConfigError(msg)


def _is_moot(key: str) -> bool:
    """Tell whether a keyword is a name of PtychoPINN that has no setting here."""
    return key in PTYCHOPINN and not PTYCHOPINN[key].ours


def _take_switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"{key} = {value!r} ({type(value).__name__}); expected True or False. Change {key}."
        raise ConfigError(msg)
    return value


def _take_path(paths: dict[str, Path], name: str, key: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, str | os.PathLike):
        msg = f"{key} = {value!r} ({type(value).__name__}); expected a path, or a result that has one. Change {key}."
        raise ConfigError(msg)
    path = Path(os.fspath(value))
    if paths.setdefault(name, path) != path:
        msg = f"{key} = {str(path)!r} and {str(paths[name])!r} name one file but differ; expected one. Remove one."
        raise ConfigError(msg)


def _plain(value: Any) -> Any:
    """Turn an array or a number of numpy into plain Python values, a list into a tuple."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    return tuple(plain) if isinstance(plain, list) else plain


def _show(line: str) -> None:
    """Write what rank 0 says; not the error that ends it, which is raised here."""
    if not line.startswith(f"{PROGRAM}: "):
        sys.stderr.write(in_python_words(line))


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
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    stack.callback(setattr, torch.utils.deterministic, "fill_uninitialized_memory", fills)
    for name in ("benchmark", "deterministic"):
        stack.callback(setattr, torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
