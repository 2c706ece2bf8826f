"""Run the command line with ``python -m ptycho_dist``."""

from __future__ import annotations

from ptycho_dist.cli import program

if __name__ == "__main__":
    program()
