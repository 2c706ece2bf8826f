"""Entry point of ``ptycho-dist``: find the command, run it, report errors in one line."""

from __future__ import annotations

import difflib
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import NoReturn

from ptycho_dist.commands.error_messages import PROGRAM, tell
from ptycho_dist.commands.parser import help_text
from ptycho_dist.commands.parsing import asked_help, parse
from ptycho_dist.commands.printed_config import config_text
from ptycho_dist.commands.registry import commands
from ptycho_dist.commands.startup import timeout_of
from ptycho_dist.distributed.mpi.library import abort, failure_propagation
from ptycho_dist.errors import ConfigError, PtychoDistError
from ptycho_dist.launching.exit_codes import USER_ERROR, exit_code
from ptycho_dist.launching.signals import StopRequested, StopSignals
from ptycho_dist.version import package_version

_HELP = ("-h", "--help", "help")
_NOBODY_READS = 128 + 13
"""Exit code where the reader of the output is gone: what a shell says of a program that SIGPIPE ended."""


def program() -> NoReturn:
    """Run the command line of this process, and end the process with its exit code.

    It ends at once. Libraries that tidy up at the end would crash over files on a full disk, wait
    for ranks that are gone, or abort: torch keeps threads of gloo beyond the process group, and one
    that still frees a tensor finds no Python any more.
    """
    threading.excepthook = _tell_of_thread
    try:
        code = main()
        logging.shutdown()
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        code = _NOBODY_READS
    sys.stderr.flush()
    if code:
        abort(code)
    os._exit(code)


def _reader_is_gone() -> bool:
    """Tell whether whoever read the standard output, such as ``head``, has closed it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process where None.

    Returns
    -------
    int
        Exit code: 0, or 2 after one line on standard error for an error that a
        user can act on (with a traceback under ``--debug``), 75 if a signal stopped
        the run, which can be resumed, or 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except (PtychoDistError, KeyboardInterrupt, StopRequested, RuntimeError, OSError) as error:
        if tell(error) is None:
            raise
        _say(error, debug="--debug" in arguments)
        return exit_code(error)


def _tell_of_thread(ended: threading.ExceptHookArgs) -> None:
    """Tell in one line why a library's thread has ended (TensorBoard's, on a full disk)."""
    if isinstance(ended.exc_value, OSError) and tell(ended.exc_value) is not None:
        _say(ended.exc_value, debug=False)
    else:
        threading.__excepthook__(ended)


def _say(error: BaseException, *, debug: bool) -> None:
    """Write an error to standard error: in one line, or the traceback of a fault of the program."""
    told = tell(error)
    if told is None or (debug and not isinstance(error, KeyboardInterrupt | StopRequested)):
        sys.stderr.write("".join(traceback.format_exception(error)))
    if told is not None:
        sys.stderr.write(f"{PROGRAM}: {told}\n")
    sys.stderr.flush()


def _run(arguments: list[str]) -> int:
    if len(arguments) > 1 and arguments[0] in _HELP:
        arguments = [arguments[1], "--help", *arguments[2:3]]
    if not arguments or arguments[0] in _HELP:
        sys.stdout.write(overview())
        return 0 if arguments else USER_ERROR
    if arguments[0] == "--version":
        sys.stdout.write(f"ptycho-dist {package_version()}\n")
        return 0
    known = commands()
    if arguments[0] not in known:
        near = difflib.get_close_matches(arguments[0], known, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]}?" if near else "See ptycho-dist --help."
        msg = f"unknown command {arguments[0]!r}; expected one of {', '.join(known)}. {hint}"
        raise ConfigError(msg)
    command = known[arguments[0]]
    topic = asked_help(arguments[1:])
    if topic is not None:
        sys.stdout.write(help_text(command, topic))
        return 0
    typed = parse(command, arguments[1:])
    if typed.print_config:
        sys.stdout.write(config_text(command, typed))
        return 0
    with StopSignals(), failure_propagation(timeout_of(typed)):
        return command.run(typed)


def overview() -> str:
    """Help of the program: what each command does, and a first run."""
    width = max(len(name) for name in commands())
    return "\n".join(
        [
            "usage: ptycho-dist COMMAND ...",
            "",
            "Physics-informed neural networks for ptychography: a scan file goes in, an object comes out.",
            "",
            "commands:",
            *(f"  {command.name:<{width}}  {command.summary}" for command in commands().values()),
            "",
            "a first run:",
            "  ptycho-dist simulate runs/first/scan.h5",
            "  ptycho-dist inspect runs/first/scan.h5",
            "  ptycho-dist reconstruct runs/first/scan.h5 --output_dir runs/first --devices 2",
            "",
            "Each command explains its flags: ptycho-dist COMMAND --help, and all of them: --help all.",
            "",
        ]
    )
