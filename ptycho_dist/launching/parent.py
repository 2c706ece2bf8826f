"""A rank does not outlive the supervisor that started it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping

PARENT_VARIABLE = "PTYCHO_DIST_SUPERVISOR_PID"
LEFT_ALONE = 143
"""Exit code of a rank whose supervisor is gone (as after SIGTERM)."""
_POLL_S = 1.0


def end_with_parent(env: Mapping[str, str], poll_s: float = _POLL_S) -> None:
    """End this process within ``poll_s`` seconds once its supervisor is gone, even killed.

    Without a supervisor this does nothing. Outputs appear whole or not at all, so the end may be sudden.
    """
    if PARENT_VARIABLE in env:
        watch = threading.Thread(target=_watch, args=(int(env[PARENT_VARIABLE]), poll_s), daemon=True)
        watch.start()


def _watch(parent: int, poll_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll_s)
    os._exit(LEFT_ALONE)
