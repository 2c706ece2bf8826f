"""When the network pays: what is counted of the matrix, one judge for all, and pages that say what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptycho_dist
from benchmarks.network.cells import DOSES, OBJECTS, STEPS, all_cells
from benchmarks.network.judge import Truth
from benchmarks.network.matrix import verdict
from benchmarks.network.peer import METHODS
from benchmarks.network.pictures import Row, draw_rows
from benchmarks.network.quality import judge_all
from benchmarks.network.report import PAGES, ROOT, inserted, parts
from ptycho_dist.evaluate.metrics import Placed

MEASURED = ROOT / "benchmarks" / "results" / "network.json"


def found(photons: float, step: float, best: float, ours: float) -> dict[str, Any]:
    uncertainty = {"rank_correlation_local": 0.6, "rank_correlation_pixel": 0.3, "coverage_90": 0.9}
    return {
        "photons": photons,
        "step_percent": step,
        "best": {"ssim_phase": best},
        "gain": ours - best,
        "gain_over_closest": ours - best + 0.03,
        "closest": {"phase_correlation": 0.8},
        "ours": {"ssim_phase": ours},
        "ours_correlation": 0.7 + ours / 5,
        "ours_rmse_rad": 1 - ours,
        "least_rmse_rad": 0.25,
        "ones_ssim_phase": 0.45,
        "uncertainty": uncertainty,
    }


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "scan.h5"
    ptycho_dist.simulate_scan(path, N=32, n_patterns=36, step_px=4, photons=1e4, seed=2)
    return path


def test_the_matrix_has_a_cell_for_each_dose_step_and_object() -> None:
    cells = all_cells(DOSES, STEPS, tuple(OBJECTS))
    assert len({cell.name for cell in cells}) == len(DOSES) * len(STEPS) * len(OBJECTS) == 60


def test_few_photons_and_wide_steps_are_counted_apart_from_the_rest() -> None:
    cells = [
        found(1e3, 5, 0.5, 0.6),  # few photons: gains
        found(1e3, 10, 0.5, 0.52),  # few photons: gains too little
        found(1e5, 40, 0.3, 0.4),  # wide steps: gains
        found(1e3, 20, 0.95, 0.96),  # nothing to be gained: belongs to the rest
        found(1e5, 5, 0.9, 0.895),  # rest: as good
        found(1e5, 20, 0.9, 0.8),  # rest: worse
    ]
    told = verdict(cells)
    assert (told["poor"], told["poor_gain_0.05"]) == (3, 2)
    assert (told["rest"], told["rest_not_0.01_below"]) == (3, 2)
    assert told["rest_least_gain"] == pytest.approx(-0.1)
    assert (told["poor_gain_over_closest_0.05"], told["rest_not_0.01_below_closest"]) == (3, 2)
    assert (told["correlates_best"], told["least_error"], told["ones_above_ours"]) == (5, 3, 1)


def test_an_empty_object_of_a_flat_picture_does_not_pass_for_the_closest(scan: Path, tmp_path: Path) -> None:
    truth = Truth.of(scan)
    shutil.copy(scan, tmp_path / "scan.h5")
    ptycho_dist.refine_object(scan, output_dir=tmp_path / "ours", iterations=3, accelerator="cpu", devices=1)
    shape, corners = truth.placed.object_.shape, np.asarray(truth.placed.origin_px)
    middle = (truth.positions_px.max(axis=0) + truth.positions_px.min(axis=0)) / 2 + truth.probe.shape[-1] / 2
    start = np.rint(corners + np.array(shape) / 2 - middle).astype(int)
    true = np.roll(truth.placed.object_, start, axis=(0, 1))
    for method in METHODS:
        empty, broken = np.ones_like(true), np.full_like(true, np.nan)
        np.savez(
            tmp_path / f"{method}.npz", objects=np.stack([empty, true, broken]), epochs=[1, 2, 3], seconds=[1, 2, 3]
        )
    judged = judge_all(tmp_path)
    names = [one["name"] for one in judged["iterative"]]
    assert names == [f"pty-chi {name} {epoch}" for name in METHODS for epoch in (1, 2)], (
        "what is not finite is left out"
    )
    closest = max(judged["iterative"], key=lambda one: one["phase_correlation"])
    assert closest["name"] == f"pty-chi {METHODS[0]} 2"
    assert closest["phase_correlation"] > 0.9
    assert judged["ones_ssim_phase"] < closest["ssim_phase"]
    assert judged["ours"]["phase_correlation"] > 0.3


def test_the_judge_finds_the_truth_itself_whatever_its_place_and_ramp(scan: Path) -> None:
    truth = Truth.of(scan)
    y, x = truth.placed.origin_px
    ramp = np.exp(0.05j * np.arange(truth.placed.object_.shape[1]))
    assert truth.ssim(Placed(2 * ramp * truth.placed.object_, (y, x))) > 0.99
    assert truth.ssim(Placed(truth.placed.object_, (y + 2, x - 1))) > 0.99
    assert truth.ssim(Placed(np.ones_like(truth.placed.object_), (y, x))) < 0.5


def test_the_judge_gives_noise_a_low_mark_and_no_error(scan: Path) -> None:
    truth = Truth.of(scan)
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(2, *truth.placed.object_.shape))
    assert truth.ssim(Placed(noise[0] + 1j * noise[1], truth.placed.origin_px)) < 0.3


def test_a_picture_of_two_objects_is_drawn(scan: Path, tmp_path: Path) -> None:
    truth = Truth.of(scan)
    flat = Placed(np.ones_like(truth.placed.object_), truth.placed.origin_px)
    row = Row("scan", truth, (("flat", flat), ("truth", truth.placed)))
    draw_rows(tmp_path / "picture.png", ("flat", "truth"), [row])
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_between_the_marks_of_a_page_is_replaced_alone() -> None:
    page = "before\n<!-- bench-network: begin -->\nold\n<!-- bench-network: end -->\nafter"
    assert inserted(page, "new \\1") == page.replace("old", "new \\1")


@pytest.mark.parametrize("name", list(PAGES))
def test_pages_say_what_was_measured(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    part = parts(json.loads(MEASURED.read_text(encoding="utf-8")))[PAGES[name]]
    assert part in text
    assert inserted(text, part) == text
