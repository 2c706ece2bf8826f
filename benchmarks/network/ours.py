"""What this package makes of a scan: without a network, and with the one that ships."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ptycho_dist
from benchmarks.network.judge import Truth, placed_product

PLAIN = {"pie": (5, 10, 20, 40), "lsqml": (10, 20, 40), "gradient": (50, 150)}
"""Methods without regularisation, and their iterations; gradient is that of the Poisson likelihood."""
_MACHINE: dict[str, Any] = {"accelerator": "cpu", "devices": 1}


@dataclass(frozen=True)
class Found:
    """An object that was found for a scan.

    Parameters
    ----------
    name
        How.
    path
        Its product.
    ssim_phase
        Phase SSIM against the truth.
    seconds
        Processor time.
    """

    name: str
    path: Path
    ssim_phase: float
    seconds: float


def refine(scan: Path, output: Path, **settings: Any) -> tuple[Path, float]:
    """Refine with fixed settings of the machine; product and processor time."""
    started = time.process_time()
    found = ptycho_dist.refine_object(scan, output_dir=output, overwrite=True, **_MACHINE, **settings)
    return found.path, time.process_time() - started


def plain(scan: Path, truth: Truth, folder: Path) -> list[Found]:
    """Objects of all methods without a network, best one first; the probe is fixed, and refined with the best."""
    found = [
        _plain(scan, truth, folder, {"method": method, "iterations": iterations, "probe_trainable": False})
        for method, counts in PLAIN.items()
        for iterations in counts
    ]
    best = max(found, key=lambda one: one.ssim_phase)
    method, iterations = best.name.split()
    again = {"method": method, "iterations": int(iterations), "probe_trainable": True}
    found.append(_plain(scan, truth, folder, again))
    return sorted(found, key=lambda one: -one.ssim_phase)


def _plain(scan: Path, truth: Truth, folder: Path, settings: dict[str, Any]) -> Found:
    refined = ", probe refined" if settings["probe_trainable"] else ""
    name = f"{settings['method']} {settings['iterations']}{refined}"
    path, seconds = refine(scan, folder / name, **settings)
    return Found(name, path, truth.ssim(placed_product(path)), seconds)


def network(scan: Path, truth: Truth, folder: Path) -> Found:
    """Prediction by the network that ships, nothing trained."""
    started = time.process_time()
    output = folder / "network"
    found = ptycho_dist.infer(scan, output_dir=output, overwrite=True, probe_search="never", **_MACHINE)
    seconds = time.process_time() - started
    return Found("network", found.path, truth.ssim(placed_product(found.path)), seconds)


def ours(scan: Path, truth: Truth, start: Found, folder: Path, **settings: Any) -> tuple[Found, dict[str, Any]]:
    """Refinement from the prediction and from ones, with regularised passes where held-out photons ask for them."""
    output = folder / "ours"
    path, seconds = refine(
        scan, output, start=start.path, start_from="both", regularisation="auto", probe_trainable=False, **settings
    )
    found = Found("ours", path, truth.ssim(placed_product(path)), seconds + start.seconds)
    metrics: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return found, metrics
