"""Real ranks refine together: the same answer on any number of them, and no loss when killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import Product, read_product
from tests.support.kill import kill_rank, wait_until
from tests.support.launch import finish, run, run_well, start
from tests.support.truth import Truth, make_truth

ITERATIONS = 12


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_truth(tmp_path_factory.mktemp("truth") / "scan.h5", across=6)


def command(truth: Truth, output_dir: Path, devices: int, *more: object) -> list[object]:
    return ["refine", truth.path, "--output_dir", output_dir, "--devices", devices, "--iterations", ITERATIONS,
            "--position_start", 3, "--flux", "--background", "pixel", "--n_modes", 2, "--accelerator", "cpu",
            *more]  # fmt: skip


def errors(folder: Path) -> list[float]:
    lines = (folder / "logs" / "refine.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


def product(folder: Path) -> Product:
    return read_product(folder / "reconstruction.h5")


@pytest.fixture(scope="module")
def alone(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    run_well(command(truth, folder, 1))
    return folder


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_ranks_refine_to_the_answer_of_one(truth: Truth, alone: Path, tmp_path: Path, devices: int) -> None:
    run_well(command(truth, tmp_path, devices))
    assert errors(tmp_path) == pytest.approx(errors(alone), abs=1e-4)
    found, expected = product(tmp_path), product(alone)
    assert np.allclose(found.object_, expected.object_, atol=2e-3)
    assert np.allclose(found.positions_px, expected.positions_px, atol=1e-2)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["ranks"] == devices
    assert metrics["fourier_error"] == pytest.approx(json.loads((alone / "metrics.json").read_text())["fourier_error"],
                                                     abs=1e-4)  # fmt: skip


@pytest.mark.parametrize("devices", [pytest.param(2, marks=pytest.mark.exhaustive), 3])
def test_ranks_regularise_as_one_does(tmp_path: Path, devices: int) -> None:
    scan = tmp_path / "few.h5"
    run_well(["simulate", scan, "--N", 32, "--n_patterns", 40, "--photons", 500, "--step_px", 4])
    settings = {"iterations": 3, "regularisation": "auto", "regularised_passes": 5, "accelerator": "cpu"}
    more = [word for name, value in settings.items() for word in (f"--{name}", value)]
    for ranks in (1, devices):
        run_well(["refine", scan, "--output_dir", tmp_path / str(ranks), "--devices", ranks, "--uncertainty", *more])
    found, expected = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in (str(devices), "1"))
    for name in ("regularisation", "regularisation_start"):
        assert found[name] == expected[name]
    one, other = product(tmp_path / str(devices)), product(tmp_path / "1")
    assert np.allclose(one.object_, other.object_, atol=2e-3)
    assert np.allclose(one.extras["uncertainty"], other.extras["uncertainty"], atol=2e-3)


@pytest.mark.exhaustive
def test_more_ranks_than_patterns_of_a_batch_is_fine(truth: Truth, alone: Path, tmp_path: Path) -> None:
    run_well(command(truth, tmp_path / "three", 3, "--batch_size", 2))
    run_well(command(truth, tmp_path / "one", 1, "--batch_size", 2))
    assert errors(tmp_path / "three") == pytest.approx(errors(tmp_path / "one"), abs=1e-4)


def test_killed_ranks_resume(truth: Truth, tmp_path: Path) -> None:
    run_well(command(truth, tmp_path / "whole", 2))
    killed = tmp_path / "killed"
    endless = command(truth, killed, 2, "--checkpoint_interval_s", 0)
    supervisor = start(["-m", "ptycho_dist", *endless])
    wait_until((killed / "refinement.safetensors").exists, "a saved state", supervisor)
    kill_rank(supervisor, 1)
    assert finish(supervisor, 60.0).returncode == 128 + signal.SIGKILL
    done = run(endless)
    assert done.returncode == 0, done.stderr
    assert "resuming from iteration" in done.stderr
    assert errors(killed) == errors(tmp_path / "whole")
    assert np.array_equal(product(killed).object_, product(tmp_path / "whole").object_)
    assert not (killed / "refinement.safetensors").exists()
