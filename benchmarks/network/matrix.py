"""The matrix: each cell reconstructed in every way, and what was found kept in a folder, so that a run can go on."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.network.cells import Cell
from benchmarks.network.judge import Truth, judge_uncertainty
from benchmarks.network.ours import Found, network, ours, plain
from benchmarks.network.peer import Job, run_jobs
from benchmarks.network.quality import judge_all
from ptycho_dist.atomic import atomic_path

logger = logging.getLogger(__name__)

_OURS, _QUALITY = "ours.json", "quality.json"
_FACTS = ("regularisation", "regularisation_start", "refined_from")
GOOD = 0.9
"""Phase SSIM from which on an iterative result leaves nothing to be gained."""


def measure_ours(cell: Cell, folder: Path) -> dict[str, Any]:
    """Reconstruct a cell by all of this package's means; what was found before is taken."""
    kept = folder / _OURS
    if kept.is_file():
        return read(kept)
    folder.mkdir(parents=True, exist_ok=True)
    scan = folder / "scan.h5"
    cell.simulate(scan)
    truth = Truth.of(scan)
    start = network(scan, truth, folder)
    found, metrics = ours(scan, truth, start, folder, uncertainty=True)
    best = plain(scan, truth, folder)[0]
    product = found.path
    told = {
        **asdict(cell),
        "network": told_of(start),
        "ours": told_of(found) | {name: metrics[name] for name in _FACTS},
        "plain": told_of(best),
        "uncertainty": judge_uncertainty(truth, product),
    }
    write(kept, told)
    logger.info("%s: best iterative %.3f (%s), ours %.3f", cell.name, best.ssim_phase, best.name, found.ssim_phase)
    return told


def measure_peer(cells: Sequence[Cell], folder: Path, python: str) -> None:
    """Let pty-chi reconstruct all cells that it has not, each for as long as ours took."""
    jobs = [job for job in (_job(cell, folder / cell.name) for cell in cells) if not job.is_done]
    run_jobs(python, jobs, folder / "peer-jobs.json")
    for job in jobs:
        (job.folder / _QUALITY).unlink(missing_ok=True)


def _job(cell: Cell, folder: Path) -> Job:
    return Job(folder / "scan.h5", folder, float(measure_ours(cell, folder)["ours"]["seconds"]))


def together(cells: Sequence[Cell], folder: Path) -> list[dict[str, Any]]:
    """Gather all that was found of the cells, and the gain over two iterative results of each.

    The best one has the best phase SSIM, the closest one has phases that correlate best with the truth.
    """
    return [measure_ours(cell, folder / cell.name) | _closeness(folder / cell.name) for cell in cells]


def _closeness(folder: Path) -> dict[str, Any]:
    """Compare ours with the iterative results by correlation and error of the phase, and with an object of ones."""
    kept = folder / _QUALITY
    if not kept.is_file():
        write(kept, judge_all(folder))
    found = read(kept)
    ours, iterative = found["ours"], found["iterative"]
    best, closest = (
        max(iterative, key=lambda one: float(one[measure])) for measure in ("ssim_phase", "phase_correlation")
    )
    return {
        "best": best,
        "gain": ours["ssim_phase"] - best["ssim_phase"],
        "closest": closest,
        "gain_over_closest": ours["ssim_phase"] - closest["ssim_phase"],
        "ours_correlation": ours["phase_correlation"],
        "ours_rmse_rad": ours["phase_rmse_rad"],
        "least_rmse_rad": min(one["phase_rmse_rad"] for one in iterative),
        "ones_ssim_phase": found["ones_ssim_phase"],
    }


def verdict(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count what the matrix is to show: cells of few photons or wide steps that gain 0.05, and the rest that lose."""
    poor = [one for one in cells if (one["photons"] == 1e3 or one["step_percent"] > 30)]
    hard = [one for one in poor if one["best"]["ssim_phase"] < GOOD]
    rest = [one for one in cells if one not in hard]
    return {
        "cells": len(cells),
        "poor": len(hard),
        "poor_gain_0.05": sum(one["gain"] >= 0.05 for one in hard),
        "poor_median_gain": _median([one["gain"] for one in hard]),
        "rest": len(rest),
        "rest_not_0.01_below": sum(one["gain"] >= -0.01 for one in rest),
        "rest_least_gain": min((one["gain"] for one in rest), default=None),
        "poor_gain_over_closest_0.05": sum(one["gain_over_closest"] >= 0.05 for one in hard),
        "poor_median_gain_over_closest": _median([one["gain_over_closest"] for one in hard]),
        "rest_not_0.01_below_closest": sum(one["gain_over_closest"] >= -0.01 for one in rest),
        "correlates_best": sum(one["ours_correlation"] >= one["closest"]["phase_correlation"] for one in cells),
        "least_error": sum(one["ours_rmse_rad"] <= one["least_rmse_rad"] for one in cells),
        "ones_above_ours": sum(one["ones_ssim_phase"] > one["ours"]["ssim_phase"] for one in cells),
        "rank_correlation_local": _median([one["uncertainty"]["rank_correlation_local"] for one in cells]),
        "rank_correlation_pixel": _median([one["uncertainty"]["rank_correlation_pixel"] for one in cells]),
        "coverage_90": _median([one["uncertainty"]["coverage_90"] for one in cells]),
    }


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def told_of(found: Found) -> dict[str, Any]:
    """Give what is kept of an object: how, how good, how long, and its file."""
    told = asdict(found)
    return told | {"path": str(Path(found.path.parent.name) / found.path.name), "seconds": round(found.seconds, 2)}


def read(path: Path) -> dict[str, Any]:
    """Read what was kept."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(path: Path, found: dict[str, Any]) -> None:
    """Keep what was found."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
