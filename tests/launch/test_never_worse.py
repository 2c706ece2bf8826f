"""Real ranks decide alike: which start is refined, which probe is predicted with, and whether a fine-tuning is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.formats.product_h5 import read_product
from tests.support.launch import run_well
from tests.support.runs import simulate_tiny
from tests.support.wrong_probe import bundle_without_probe, with_wrong_probe

SHARED = ["--accelerator", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    exact = simulate_tiny(folder / "exact.h5", n_patterns=100, step_px=3.0)
    bundle_without_probe(exact, folder / "net")
    return with_wrong_probe(exact, folder / "wrong.h5", 4.0)


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.mark.parametrize("devices", [2, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_ranks_find_the_probe_of_one_and_predict_the_same_bits(wrong: Path, tmp_path: Path, devices: int) -> None:
    for number in (1, devices):
        run_well(["infer", wrong, "--model_path", wrong.parent / "net", "--output_dir", tmp_path / str(number),
                  "--probe_patterns", 50, "--devices", number, *SHARED])  # fmt: skip
    one, several = (read_product(tmp_path / str(number) / "reconstruction.h5") for number in (1, devices))
    assert metrics(tmp_path / str(devices))["probe_used"] == "found"
    assert one.object_.tobytes() == several.object_.tobytes()
    assert one.probe.tobytes() == several.probe.tobytes()


@pytest.mark.parametrize("devices", [2, pytest.param(3, marks=pytest.mark.exhaustive)])
def test_ranks_refine_from_the_start_that_one_chooses(scan: Path, tmp_path: Path, devices: int) -> None:
    start = tmp_path / "start.npz"
    random = np.random.default_rng(0)
    np.savez(start, object=np.exp(1j * random.uniform(-3, 3, (80, 80))))
    for number in (1, devices):
        run_well(["refine", scan, "--start", start, "--start_from", "both", "--iterations", 7,
                  "--output_dir", tmp_path / str(number), "--devices", number, *SHARED])  # fmt: skip
    one, several = (metrics(tmp_path / str(number)) for number in (1, devices))
    for name in ("refined_from", "starts_compared_iterations"):
        assert several[name] == one[name]
    for name in ("fourier_error_from_network", "fourier_error_from_ones", "fourier_error"):
        assert several[name] == pytest.approx(one[name], rel=1e-3)


@pytest.mark.exhaustive
def test_ranks_undo_a_fine_tuning_that_one_undoes(wrong: Path, tmp_path: Path) -> None:
    exact = wrong.with_name("exact.h5")
    for number in (1, 2):
        run_well(["train", exact, "--init_from", wrong.parent / "net", "--output_dir", tmp_path / str(number),
                  "--max_epochs", 1, "--learning_rate", 0.5, "--group_size", 4, "--devices", number,
                  *SHARED])  # fmt: skip
    one, two = (load_bundle(tmp_path / str(number) / "bundle") for number in (1, 2))
    assert (one.payload_dict["history"]["kept"], two.payload_dict["history"]["kept"]) == ("init", "init")
    assert all(np.array_equal(one.state[name].numpy(), value.numpy()) for name, value in two.state.items())
