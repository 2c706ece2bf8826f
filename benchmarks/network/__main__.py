"""Run ``python -m benchmarks.network`` (or ``make bench-network``): the matrix, the table, the star, and the pages.

What was measured before is taken from the folder, so an interrupted run goes on; ``--fresh`` measures all anew. With
``--ptychi-python PYTHON`` (of an environment that has ptychi) the peer runs on the same scans for as long as ours took.
Seconds are of one processor.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.common import write_results
from benchmarks.network.cells import DOSES, OBJECTS, STEPS, Cell, all_cells
from benchmarks.network.known import SCANS, measure_known, measure_star
from benchmarks.network.matrix import measure_ours, measure_peer, read, together, verdict, write
from benchmarks.network.pictures import draw_cells
from benchmarks.network.report import tables, write_pages


def main() -> None:
    """Measure what is left, report, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--doses", nargs="*", type=float, default=DOSES, help="photons in a frame")
    parser.add_argument("--steps", nargs="*", type=float, default=STEPS, help="percent of the probe's diameter")
    parser.add_argument("--objects", nargs="*", choices=tuple(OBJECTS), default=tuple(OBJECTS))
    parser.add_argument("--folder", type=Path, default=Path("runs/bench-network"), help="where all is kept")
    parser.add_argument("--fresh", action="store_true", help="measure all anew")
    parser.add_argument("--ptychi-python", help="Python of an environment with ptychi")
    given = parser.parse_args()
    folder = given.folder
    if given.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    cells = all_cells(tuple(given.doses), tuple(given.steps), tuple(given.objects))
    for cell in cells:
        measure_ours(cell, folder / cell.name)
    if given.ptychi_python:
        measure_peer(cells, folder, given.ptychi_python)
    found = _gather(cells, folder)
    for name in given.objects:
        draw_cells(folder / f"{name}.png", [one for one in found["cells"] if one["object_name"] == name], folder)
    written = write_results("network", found)
    write_pages(found)
    Console(width=160).print(Markdown(tables(found)))
    sys.stdout.write(f"written to {written}; pictures are in {folder}\n")


def _gather(cells: list[Cell], folder: Path) -> dict[str, Any]:
    matrix = together(cells, folder)
    known = [_kept(folder / f"known-{number}", name) for number, name in enumerate(SCANS)]
    return {"verdict": verdict(matrix), "cells": matrix, "known": known, "star": _kept_star(folder / "star")}


def _kept(folder: Path, name: str) -> dict[str, Any]:
    kept = folder / "found.json"
    if not kept.is_file():
        write(kept, measure_known(name, folder))
    return read(kept)


def _kept_star(folder: Path) -> dict[str, Any] | None:
    kept = folder / "found.json"
    if not kept.is_file():
        found = measure_star(folder)
        if found is None:
            return None
        write(kept, found)
    return read(kept)


if __name__ == "__main__":
    main()
