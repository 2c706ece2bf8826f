"""Real ranks simulate a set, and train one network on it, as one rank does."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import open_scan
from tests.support.launch import run, run_well, step_losses

SIMULATE = ["--n_scans", 3, "--n_patterns", 14, "--N", 32, "--defocus_m", 2e-5, "--photons", 1e5]
TRAIN = ["--group_size", 4, "--batch_size", 3, "--max_steps", 12, "--accelerator", "cpu", "--width", 8, "--quiet",
         "--precision", "64-true"]  # fmt: skip
"""4 groups a scan: 12 groups, 4 steps an epoch; a rank often has groups of two scans."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "set"
    run_well(["simulate", folder, *SIMULATE])
    return folder


@pytest.fixture(scope="module")
def alone(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run_well(["train", scans, "--output_dir", folder, *TRAIN])
    return folder


@pytest.mark.exhaustive
def test_two_ranks_simulate_the_set_of_one(scans: Path, tmp_path: Path) -> None:
    done = run(["simulate", tmp_path / "set", *SIMULATE, "--devices", 2])
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'set'}\n"), done.stderr
    found, expected = ({one.name: one.read_bytes() for one in folder.iterdir()} for folder in (tmp_path / "set", scans))
    assert found == expected


def test_two_ranks_train_on_a_set_like_one(scans: Path, alone: Path, tmp_path: Path) -> None:
    run_well(["train", scans, "--output_dir", tmp_path, *TRAIN, "--devices", 2])
    losses = step_losses(alone)
    assert len(losses) == 12
    assert step_losses(tmp_path) == pytest.approx(losses, rel=1e-9, abs=0)
    found, expected = (load_bundle(folder / "bundle").state for folder in (tmp_path, alone))
    assert all(found[name].numpy() == pytest.approx(value.numpy(), abs=1e-9) for name, value in expected.items())


@pytest.mark.exhaustive
def test_two_ranks_fine_tune_and_predict_an_unseen_scan(scan: Path, alone: Path, tmp_path: Path) -> None:
    shared = ["--devices", 2, "--accelerator", "cpu", "--quiet", "--output_dir"]
    run_well(["infer", scan, "--model_path", alone, *shared, tmp_path / "unseen"])
    assert (tmp_path / "unseen" / "metrics.json").is_file()
    tuned = tmp_path / "tuned"
    run_well(["train", scan, "--init_from", alone, "--max_epochs", 1, "--group_size", 4, *shared, tuned])
    assert load_bundle(tuned / "bundle").payload_dict["model"]["width"] == 8


@pytest.mark.exhaustive
def test_changed_scan_of_a_set_stops_both_ranks(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for one in scans.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    path = folder / "scan-2.h5"
    content = bytearray(path.read_bytes())
    content[content.index(open_scan(path).positions_px.tobytes()) + 6] ^= 1
    path.write_bytes(content)
    done = run(["train", folder, "--output_dir", tmp_path / "run", *TRAIN, "--devices", 2])
    assert done.returncode == 2
    assert "scan-2.h5 has SHA-256" in done.stderr
    assert "the file was changed" in done.stderr
    assert not (tmp_path / "run" / "bundle").exists()


def held_out(output_dir: Path) -> list[tuple[int, float]]:
    """Read steps and Fourier errors of the held-out scans, as they were logged."""
    with (output_dir / "logs" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("held_out_fourier_error")]
    return [(int(row["step"]), float(row["held_out_fourier_error"])) for row in rows]


def test_two_ranks_judge_held_out_scans_and_keep_the_weights_that_one_keeps(scans: Path, tmp_path: Path) -> None:
    noisy = ["--val_fraction", 0.6, "--held_out_every", 3, "--learning_rate", 0.05, "--scheduler", "Default"]
    for ranks in (1, 2):
        run_well(["train", scans, "--output_dir", tmp_path / str(ranks), *TRAIN, *noisy, "--devices", ranks])
    (one, two) = (held_out(tmp_path / name) for name in ("1", "2"))
    assert [step for step, _ in one] == [2, 5, 8, 11]
    assert [step for step, _ in two] == [2, 5, 8, 11]
    assert [error for _, error in two] == pytest.approx([error for _, error in one], rel=1e-9)
    expected, found = (load_bundle(tmp_path / name / "bundle") for name in ("1", "2"))
    first, second = (bundle.payload_dict["history"] for bundle in (expected, found))
    assert first["kept_step"] == second["kept_step"]
    for name, value in expected.state.items():
        assert found.state[name].numpy() == pytest.approx(value.numpy(), abs=1e-9)
