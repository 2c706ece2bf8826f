"""When the network pays: what is counted of the matrix, one judge for all, and pages that say what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ptycho_dist
from benchmarks.network.cells import DOSES, OBJECTS, STEPS, all_cells
from benchmarks.network.judge import Truth
from benchmarks.network.matrix import verdict
from benchmarks.network.pictures import Row, draw_rows
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
