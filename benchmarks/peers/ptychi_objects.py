"""Run pty-chi for some seconds on many scans, and keep its object after several numbers of epochs.

Run by a Python that has ptychi: ``python ptychi_objects.py JOBS.json``, a list of jobs with ``scan`` (tike NPZ),
``output`` (NPZ: ``objects`` (K, H, W), ``epochs`` (K,), ``seconds`` (K,) of processor time), ``method`` (lsqml or rpie)
and ``seconds`` that it may take. The probe stays as supplied.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ptychi_task import Task, make_task

LOOKS = (2, 5, 10, 20, 40, 70, 100, 150, 200)
"""Epochs after which the object is kept; after the last one it ends."""
_BATCH = 16


def run(job: dict[str, Any]) -> None:
    """Run one job."""
    task, _ = make_task(Path(job["scan"]), Task(job["method"], _BATCH, refines_probe=False))
    objects, epochs, seconds, done, spent = [], [], [], 0, 0.0
    for look in LOOKS:
        started = time.process_time()
        task.run(n_epochs=look - done)
        done, spent = look, spent + time.process_time() - started
        if spent > job["seconds"] and objects:
            break
        objects.append(task.get_data_to_cpu("object", as_numpy=True)[0])
        epochs.append(done)
        seconds.append(spent)
    np.savez(job["output"], objects=np.stack(objects), epochs=epochs, seconds=seconds)


def main() -> None:
    """Run all jobs of a file."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for job in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        run(job)


if __name__ == "__main__":
    main()
