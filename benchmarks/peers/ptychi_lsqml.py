"""Run pty-chi's LSQML on a tike NPZ, and tell after each few epochs how far it is.

Run by a Python that has ptychi: ``python ptychi_lsqml.py SCAN.npz OUT.json --epochs 20 --every 2``. Seconds are of
its epochs alone; the Fourier error is of the estimate after them, by its own forward model.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from ptychi_task import Task, make_task

BATCH = 32


def fourier_error(task: Any, counts: torch.Tensor) -> float:
    """Fourier error of the present estimate over all patterns."""
    misfit = 0.0
    with torch.no_grad():
        for start in range(0, len(counts), BATCH):
            rows = torch.arange(start, min(start + BATCH, len(counts)))
            modelled = task.reconstructor.forward_model.forward(rows)
            measured = task.reconstructor.dataset.patterns[rows]
            misfit += float((modelled.clamp_min(0).sqrt() - measured.sqrt()).square().double().sum())
    return float((misfit / counts.double().sum()) ** 0.5)


def main() -> None:
    """Run some epochs at a time, and write (epochs, seconds, Fourier error)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--batch_size", type=int, default=96)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    task, counts = make_task(arguments.scan, Task("lsqml", arguments.batch_size))
    task.run(n_epochs=1)
    curve, seconds, done = [], 0.0, 1
    while done < arguments.epochs:
        started = time.perf_counter()
        task.run(n_epochs=arguments.every)
        seconds += time.perf_counter() - started
        done += arguments.every
        per_epoch = seconds / (done - 1)
        curve.append({"iterations": done, "seconds": per_epoch * done, "fourier_error": fourier_error(task, counts)})
    result = {"n_patterns": len(counts), "curve": curve, "patterns_per_s": len(counts) * (done - 1) / seconds}
    arguments.out.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
