"""The normalised error: near 1 for what is right, far above for what is wrong, below where nothing is constrained."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ptycho_dist as ptd
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.data.formats.product_h5 import NORMALISED, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate import normalised
from ptycho_dist.evaluate.normalised import count_unknowns
from ptycho_dist.results import run_evaluate
from tests.support.truth import make_truth

ITERATIONS = 60


def noisy(folder: Path, **content: Any) -> Path:
    """Write a scan with Poisson noise; ``change`` is done to its file afterwards."""
    change = content.pop("change", None)
    path = make_truth(folder / "scan.h5", photons=content.pop("photons", 1e5), **content).path
    with h5py.File(path, "r+") as file:
        counts = np.random.default_rng(0).poisson(file["patterns"][()])
        del file["patterns"]
        file.create_dataset("patterns", data=counts.astype("u4")).attrs["units"] = "counts"
        if change is not None:
            change(file)
    return path


def refined(path: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    settings = {"iterations": ITERATIONS, "accelerator": "cpu"} | settings
    return dict(ptd.refine_object(path, output_dir=folder, **settings).metrics)


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        ({}, {}),
        ({"photons": 3e3}, {}),
        ({"photons": 1e6}, {"iterations": 100}),
        ({"n_modes": 2}, {}),
        ({"background": 2.0}, {"data.background": "pixel"}),
        ({"flux": np.random.default_rng(1).uniform(0.7, 1.3, 49)}, {"flux": True}),
        ({}, {"method": "lsqml"}),
    ],
    ids=["plain", "few photons", "many photons", "modes", "background", "flux", "lsqml"],
)
def test_what_is_right_is_at_the_noise(tmp_path: Path, content: dict[str, Any], settings: dict[str, Any]) -> None:
    found = refined(noisy(tmp_path, **content), tmp_path / "o", **settings)
    assert 0.88 < found["normalised_error"] < 1.2
    assert found["explains_patterns"] is True
    assert found["verdict"].startswith("explains the frames to photon noise")
    assert found["n_frames_standing_out"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda positions: positions[:, ::-1], "turned axes"),
        (lambda positions: positions * [-1, 1], "turned axes"),
        (lambda positions: positions * 1.5, "another defocus"),
    ],
    ids=["swapped", "flipped", "scaled"],
)
def test_what_is_wrong_is_far_above_the_noise(tmp_path: Path, change: Any, words: str) -> None:
    def spoil(file: h5py.File) -> None:
        file["positions_px"][...] = change(file["positions_px"][()])

    found = refined(noisy(tmp_path, change=spoil), tmp_path / "o", iterations=20)
    assert found["normalised_error"] > 1.4
    assert found["explains_patterns"] is False
    assert words in found["verdict"]


def test_frames_that_do_not_overlap_are_better_than_noise_allows(tmp_path: Path) -> None:
    def spread(file: h5py.File) -> None:
        file["positions_px"][...] *= 20

    found = refined(noisy(tmp_path, change=spread), tmp_path / "o", iterations=100)
    assert found["normalised_error"] < 0.8
    assert found["verdict"].endswith("overlap 0%, the frames do not constrain each other")
    assert found["explains_patterns"] is False


def test_frames_that_stand_out_are_named_everywhere(tmp_path: Path) -> None:
    bad = [7, 30]

    def exchange(file: h5py.File) -> None:
        file["patterns"][bad] = file["patterns"][[12, 18]]

    path = noisy(tmp_path, change=exchange)
    found = refined(path, tmp_path / "o")
    assert set(bad) <= set(found["frames_standing_out"])
    product = read_product(tmp_path / "o" / "reconstruction.h5")
    assert product.verdict == found["verdict"]
    errors = product.extras[NORMALISED]
    assert set(np.argsort(errors)[-2:].tolist()) == set(bad)
    with (tmp_path / "o" / "frames.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["pattern"]) for row in rows] == list(range(49))
    assert [float(row["normalised_error"]) for row in rows] == pytest.approx(errors.tolist(), rel=1e-4)


def test_network_refinement_and_evaluation_give_the_same_number(tmp_path: Path) -> None:
    path = noisy(tmp_path)
    settings = {"max_epochs": 2, "width": 8, "refine.iterations": 3, "accelerator": "cpu"}
    made = ptd.reconstruct(path, output_dir=tmp_path / "o", **settings)
    network = json.loads((tmp_path / "o" / "network_metrics.json").read_text())
    assert made.metrics["network_normalised_error"] == network["normalised_error"]
    assert made.maps[NORMALISED].shape == (49,)
    for name, expected in (("network.h5", network), ("reconstruction.h5", made.metrics)):
        request = RunRequest(scan=path, output_dir=tmp_path / "e", product=tmp_path / "o" / name, overrides={})
        assert run_evaluate(request)["normalised_error"] == pytest.approx(expected["normalised_error"], rel=1e-6)


def test_without_photon_counts_the_number_is_missing_with_a_reason(tmp_path: Path) -> None:
    path = make_truth(tmp_path / "scan.h5").path
    metrics = refined(path, tmp_path / "o", iterations=2)
    assert metrics["normalised_error"] is None
    reasons = json.loads((tmp_path / "o" / "metrics.json").read_text())["null_reasons"]
    assert "say --counts_per_photon" in reasons["normalised_error"]
    said = refined(path, tmp_path / "s", iterations=2, counts_per_photon=1.0)
    assert said["normalised_error"] > 0


@pytest.mark.parametrize("step", [0.01, 7.3, 20.0])
def test_normalised_counts_are_judged_by_their_step(tmp_path: Path, step: float) -> None:
    def scale(file: h5py.File) -> None:
        counts = file["patterns"][()] * np.float32(step)
        del file["patterns"], file.attrs["mean_counts"]
        file.create_dataset("patterns", data=counts).attrs["units"] = "counts"

    found = refined(noisy(tmp_path, change=scale), tmp_path / "o")
    assert found["counts_per_photon"] == pytest.approx(step, rel=1e-3)
    assert 0.88 < found["normalised_error"] < 1.2


def test_dark_patterns_count_where_the_model_has_light(tmp_path: Path) -> None:
    path = noisy(tmp_path)
    with h5py.File(path, "r+") as file:
        file["patterns"][7] = file["patterns"][30] = 0
    found = refined(path, tmp_path / "o", drop_frames="none")
    assert set(found["frames_standing_out"]) >= {7, 30}
    assert found["explains_patterns"] is False


def test_an_evaluation_reads_the_scan_as_the_product_was_made_or_says_why_not(tmp_path: Path) -> None:
    def to_nm(file: h5py.File) -> None:
        file["positions_px"][...] *= 10
        file.attrs["pixel_size_m"] = np.nan

    path = noisy(tmp_path, change=to_nm)
    options = {"position_unit": "nm", "pixel_size_m": 1e-8, "drop_frames": "5,17"}
    made = refined(path, tmp_path / "o", iterations=5, **options)
    asked = {"scan": path, "output_dir": tmp_path / "e", "product": tmp_path / "o" / "reconstruction.h5"}
    again = run_evaluate(RunRequest(**asked, overrides={}))
    assert again["normalised_error"] == pytest.approx(made["normalised_error"], rel=1e-6)
    with pytest.raises(ConfigError, match=r"drop_frames = '6,17'.* was made with '5,17'.*Leave --drop_frames out"):
        run_evaluate(RunRequest(**asked, overrides={"data.drop_frames": "6,17"}))


def test_patterns_are_named_by_their_numbers_in_the_file(tmp_path: Path) -> None:
    path = noisy(tmp_path)
    with h5py.File(path, "r+") as file:
        file["patterns"][7] = file["patterns"][30] = 0
    found = refined(path, tmp_path / "o", drop_frames="3,7")
    assert 30 in found["frames_standing_out"]
    assert "1 of 47 patterns (30) hold no count" in found["scan_findings"][0]["text"]
    with (tmp_path / "o" / "frames.csv").open() as stream:
        numbers = [int(row["pattern"]) for row in csv.DictReader(stream)]
    assert numbers == [number for number in range(49) if number not in (3, 7)]


def test_unknowns_are_counted_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_truth(tmp_path / "scan.h5", across=9).path
    refined(path, tmp_path / "o", iterations=1)
    product = read_product(tmp_path / "o" / "reconstruction.h5")
    counted = np.ones(81, np.bool_)
    counted[3] = False
    with open_scan(path) as scan:
        whole = count_unknowns(product, scan, counted)
        for side in (7, 32, 50):
            monkeypatch.setattr(normalised, "_BLOCK_PX", side)
            assert count_unknowns(product, scan, counted) == pytest.approx(whole, rel=1e-9)
        monkeypatch.setattr(normalised, "_BLOCK_PX", 32)
        assert count_unknowns(product, scan, np.zeros(81, np.bool_)) < whole / 2
