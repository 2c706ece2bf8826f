"""Run the command line with ``python -m ptycho_dist``."""

from __future__ import annotations

import sys

from ptycho_dist.cli import main

if __name__ == "__main__":
    sys.exit(main())
