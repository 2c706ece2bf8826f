"""Scans of a table: the network that ships, nothing trained, beside iterations from ones; and the Siemens star."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import ptycho_dist
from benchmarks.network.judge import Truth, placed_product
from benchmarks.network.ours import network, refine

SCANS: Mapping[str, Mapping[str, Any]] = {
    "demo's object, step 4.5 px": {},
    "step 9 px": {"step_px": 9, "n_patterns": 250, "seed": 3},
    "step 14 px": {"step_px": 14, "n_patterns": 150, "seed": 4},
    "1e4 photons": {"photons": 1e4},
    "1e3 photons": {"photons": 1e3},
}
"""Settings of ``simulate``."""
ITERATIONS = (10, 20, 100)
"""Of the refinement from ones."""
_FROM_NETWORK = 20


def measure_known(name: str, folder: Path) -> dict[str, Any]:
    """Phase SSIM, Fourier error and processor time of each way to reconstruct a scan of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = folder / "scan.h5"
    ptycho_dist.simulate_scan(scan, overwrite=True, **SCANS[name])
    truth = Truth.of(scan)
    start = network(scan, truth, folder)
    found = {"network": _told(truth, start.path, start.seconds)}
    for count in ITERATIONS:
        path, seconds = refine(scan, folder / f"ones {count}", iterations=count)
        found[f"ones {count}"] = _told(truth, path, seconds)
    path, seconds = refine(scan, folder / "both", start=start.path, start_from="both", iterations=_FROM_NETWORK)
    found["network and ones 20"] = _told(truth, path, start.seconds + seconds)
    return {"scan": name, **found}


def _told(truth: Truth, product: Path, seconds: float) -> dict[str, float]:
    error = _metrics(product)["fourier_error"]
    return {"ssim_phase": truth.ssim(placed_product(product)), "fourier_error": error, "seconds": round(seconds, 2)}


def _metrics(product: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((product.parent / "metrics.json").read_text(encoding="utf-8"))
    return found


def measure_star(folder: Path) -> dict[str, Any] | None:
    """Predict the Siemens star, nothing trained, from its supplied and a refined probe; None where it is absent."""
    data = Path(os.environ.get("PTYCHO_DIST_DATA", "../shared/data"))
    scan, reference = data / "siemens_star_tike.npz", data / "siemens_star_reference.npz"
    if not (scan.is_file() and reference.is_file()):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    refined = folder / "refined_probe.npz"
    _with_probe(scan, reference, refined)
    supplied = _predict(scan, folder / "supplied", probe_search="always")
    return {"supplied_probe": supplied, "refined_probe": _predict(refined, folder / "refined", probe_search="never")}


def _predict(scan: Path, output: Path, **settings: Any) -> dict[str, float]:
    started = time.process_time()
    found = ptycho_dist.infer(scan, output_dir=output, overwrite=True, accelerator="cpu", devices=1, **settings)
    return {"fourier_error": _metrics(found.path)["fourier_error"], "seconds": round(time.process_time() - started, 2)}


def _with_probe(scan: Path, reference: Path, output: Path) -> None:
    with np.load(scan) as file, np.load(reference) as other:
        content = dict(file)
        probe = np.asarray(other["probe"], content["probe"].dtype)
        content["probe"] = probe.reshape(*content["probe"].shape[:-3], *probe.shape[-3:])
    np.savez(output, **content)
