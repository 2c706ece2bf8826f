"""Logging of ranks: rank 0 speaks, the others only warn; every line knows its rank."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

from ptycho_dist.distributed.environment import RankContext


class RankFilter(logging.Filter):
    """Put ``[rank r]`` before each message when there is more than one rank."""

    def __init__(self, context: RankContext) -> None:
        super().__init__()
        self._prefix = f"[rank {context.rank}] " if context.world > 1 else ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Prefix the record once."""
        if self._prefix and not getattr(record, "has_rank", False):
            record.msg = self._prefix + str(record.msg)
            record.has_rank = True
        return True


def configure_logging(context: RankContext, *, debug: bool = False, quiet: bool = False) -> None:
    """Send this package's log to standard error: INFO on rank 0, WARNING on the others."""
    level = logging.DEBUG if debug else logging.INFO if context.rank == 0 and not quiet else logging.WARNING
    handler = RichHandler(console=Console(stderr=True), show_path=debug, markup=False, rich_tracebacks=False)
    handler.addFilter(RankFilter(context))
    package = logging.getLogger("ptycho_dist")
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(level)
