"""Stitched objects against the groups of their trainings, and whether trainings stay finite and fall.

Run ``python -m benchmarks.training_matrix``. Each cell is a scan (see :mod:`benchmarks.training_scans`). A network is
trained on it at default settings for at most ``--seconds``, and predicts it; nothing is refined. It also predicts its
groups, as training draws them, each on a canvas of its own. ``--cells`` chooses some cells, by parts of
their names; ``--keep`` keeps scans, logs and pictures in a folder, from which the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.common import command_of, environment, write_results
from benchmarks.training_scans import CELLS, Cell
from ptycho_dist.bundle import BUNDLE_FOLDER, load_bundle
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.group_error import group_error, spread_groups
from ptycho_dist.factory.inference import create_inference_payload
from ptycho_dist.inference.run import load_model

_UNTRAINED = ("--pretrained", "false", "--max_steps", "600")
_MOST_PATTERNS = 1024
_REWIND, _WARNING = "back to the state before", "WARNING"


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Parameters
    ----------
    cell
        Its name.
    losses
        Training loss of each epoch; none of a training that failed.
    stitched_error, groups_error
        Fourier error of the stitched object, and of the groups, with the trained network; None of a set.
    training_s
        Duration of the training; None of a set.
    rewinds, warnings
        Times that the training went back, and warnings of training and prediction.
    """

    cell: str
    losses: list[float]
    stitched_error: float | None
    groups_error: float | None
    training_s: float | None
    rewinds: int
    warnings: int

    @property
    def ratio(self) -> float | None:
        """Stitched error over that of the groups."""
        if self.stitched_error is None or self.groups_error is None:
            return None
        return self.stitched_error / self.groups_error

    @property
    def last_loss(self) -> float | None:
        """Loss at the end: of the trained network's groups, of a set that of the last epoch."""
        if self.groups_error is not None:
            return self.groups_error**2
        return self.losses[-1] if self.losses else None

    @property
    def is_sound(self) -> bool:
        """Whether all losses are finite, and that at the end is at most that of the first epoch."""
        finite = bool(self.losses) and all(math.isfinite(loss) for loss in self.losses)
        return finite and self.last_loss is not None and self.last_loss <= self.losses[0]


def measure(name: str, cell: Cell, folder: Path, seconds: float) -> Outcome:
    """Train on one scan, and predict it; a set is trained on alone."""
    log, output = folder / "log.txt", folder / "run"
    if not log.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _train(cell, cell.write(folder / "scan.h5"), output, seconds, log)
    said, metrics = log.read_text(encoding="utf-8"), _metrics(output / "metrics.json")
    return Outcome(
        cell=name,
        losses=_losses(output / BUNDLE_FOLDER),
        stitched_error=metrics.get("fourier_error"),
        groups_error=groups_error(folder / "scan.h5", output) if metrics else None,
        training_s=metrics.get("training_s"),
        rewinds=said.count(_REWIND),
        warnings=said.count(_WARNING),
    )


def groups_error(path: Path, output: Path) -> float:
    """Fourier error of groups as training draws them, each on its own canvas, with the trained network."""
    payload = create_inference_payload(output / BUNDLE_FOLDER, path, output, {"accelerator": "cpu"})
    with open_scan(path) as scan:
        groups = spread_groups(scan, np.arange(len(scan)), payload.data_config, _MOST_PATTERNS)
        return group_error(load_model(payload, scan)[0], scan, groups, payload.count_factor)


def table(found: Sequence[Outcome]) -> Table:
    """Lay the outcomes out."""
    names = ("scan", "stitched", "groups", "ratio", "first loss", "at the end", "sound", "rewinds", "warnings", "s")
    result = Table(*names)
    for one in found:
        errors = (_shown(one.stitched_error, ".4f"), _shown(one.groups_error, ".4f"), _shown(one.ratio, ".3f"))
        ends = (_shown(one.losses[0] if one.losses else None, ".4f"), _shown(one.last_loss, ".4f"))
        counts = (str(one.rewinds), str(one.warnings), _shown(one.training_s, ".0f"))
        result.add_row(one.cell, *errors, *ends, "yes" if one.is_sound else "no", *counts)
    return result


def main() -> None:
    """Measure all cells that were chosen, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", nargs="*", default=[""], help="parts of the names of cells; all where not given")
    parser.add_argument("--seconds", type=float, default=40.0, help="longest duration of a training")
    parser.add_argument("--keep", type=Path, help="folder to keep scans, logs and pictures in, and to go on from")
    given = parser.parse_args()
    chosen = {name: cell for name, cell in CELLS.items() if any(part in name for part in given.cells)}
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, cell in chosen.items():
            found.append(measure(name, cell, (given.keep or Path(temporary)) / name, given.seconds))
            Console(width=140).print(table(found[-1:]))
    Console(width=140).print(table(found))
    cells = [asdict(one) | {"ratio": one.ratio, "is_sound": one.is_sound} for one in found]
    written = write_results("training_matrix", {"seconds": given.seconds, "cells": cells})
    sys.stdout.write(f"written to {written}\n")


def _train(cell: Cell, scan: Path, output: Path, seconds: float, log: Path) -> None:
    """Train and predict in a process of its own, and keep what it logs; of a failed one, too."""
    words = ["train"] if scan.is_dir() else ["reconstruct", "--iterations", "0"]
    words += [str(scan), "--output_dir", str(output), "--accelerator", "cpu", "--devices", "1"]
    words += ["--max_time", str(seconds), *(() if cell.is_pretrained else _UNTRAINED)]
    ran = subprocess.run(command_of(*words), env=environment(), check=False, capture_output=True, text=True)
    log.write_text(ran.stderr, encoding="utf-8")


def _losses(bundle: Path) -> list[float]:
    """Training loss of each epoch; none where no bundle was written."""
    if not bundle.is_dir():
        return []
    return [float(loss) for loss in load_bundle(bundle).payload_dict["history"]["train_loss"]]


def _metrics(path: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _shown(value: float | None, digits: str) -> str:
    return "-" if value is None else format(value, digits)


if __name__ == "__main__":
    main()
