"""Show a job while it runs, from the files in its folder.

Heavy packages are imported inside the functions, so that help answers at once.
"""

from __future__ import annotations

import logging
import sys

from ptycho_dist.commands.registry import Command, Typed, register_command
from ptycho_dist.commands.startup import configure_logging, own_section, required_path
from ptycho_dist.config.command_settings import WatchConfig
from ptycho_dist.errors import ConfigError

logger = logging.getLogger(__name__)
_WIDTH = 160
"""Of a frame that goes into a file or a pipe."""

COMMAND = Command(
    name="watch",
    summary="show a job while it runs: in the terminal, or as a page",
    description="Show how far a job is, from the files in its folder: stage, time left, losses, memory, warnings, and\n"
    "the last picture. It reads only, so it may run anywhere that sees the folder, at any time.",
    example="ptycho-dist watch runs/first\n  ptycho-dist watch runs/first --serve",
    order=12,
    operand="run_dir",
    operand_help="Folder of the job's results; need not be there yet.",
    stages=(),
    sections={"watch": WatchConfig},
    main_flags=("once", "stay", "serve", "host", "port", "interval_s"),
)


@register_command(COMMAND)
def watch(typed: Typed) -> int:
    """Show a job until it has ended."""
    from rich.console import Console

    config = WatchConfig(**own_section(typed, "watch", WatchConfig))
    folder = required_path(typed, "run_dir")
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; expected the folder of a job's results. Give the folder that --output_dir named."
        raise ConfigError(msg)
    if config.serve:
        return _serve(typed, config)
    from ptycho_dist.watching.terminal import follow, show_once

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
    if config.once or not console.is_terminal:
        show_once(folder, console)
    else:
        follow(folder, console, config.interval_s, stays=config.stay)
    return 0


def _serve(typed: Typed, config: WatchConfig) -> int:
    from ptycho_dist.watching.server import serve

    configure_logging(typed)
    if not config.is_local:
        logger.warning("whoever reaches %s and knows the address below sees this job", config.host)
    serve(required_path(typed, "run_dir"), (config.host, config.port), config.interval_s, _tell)
    return 0


def _tell(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
