"""Entry scripts: short, clean, and each one run for real in its CPU form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launch import calm_environment, run_well, step_losses
from tests.support.slurm import SlurmCluster

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*REPOSITORY.glob("launch/*"), *REPOSITORY.glob("slurm/*"), REPOSITORY / ".ci" / "run"])
MAX_LINES = 60
STEPS = 4
SMALL = ["--width", 8, "--depth", 1, "--group_size", 4, "--batch_size", 2, "--max_steps", STEPS, "--accelerator", "cpu"]
CPU = {"GPUS_PER_NODE": "0", "PYTHON": sys.executable, "BIN": str(Path(sys.executable).parent)}
SBATCH = ["--ntasks-per-node=2", "--cpus-per-task=1"]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_scripts_are_found() -> None:
    names = {"launch/local.sh", "launch/torchrun.sh", "launch/mpirun.sh", "slurm/train.sbatch", "slurm/infer.sbatch",
             "slurm/reconstruct.sbatch", "slurm/refine.sbatch", "slurm/pipeline.sh"}  # fmt: skip
    assert names <= {name_of(path) for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_script_is_short_and_clean(path: Path) -> None:
    assert len(path.read_text(encoding="ascii").splitlines()) < MAX_LINES
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, path], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("local.sh", marks=pytest.mark.exhaustive),
        "torchrun.sh",
        pytest.param("mpirun.sh", marks=pytest.mark.exhaustive),
    ],
)
def test_launch_script_trains_on_two_ranks(
    name: str, scan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name == "mpirun.sh":
        request.getfixturevalue("mpi")
    devices = ["--devices", 2] if name == "local.sh" else []
    done = launch(name, ["train", scan, "--output_dir", tmp_path, *SMALL, *devices], {"NPROC": "2"})
    assert done.returncode == 0, done.stderr
    assert "2 rank(s)" in done.stderr
    assert len(step_losses(tmp_path)) == STEPS


def test_torchrun_script_asks_for_a_run_id_when_there_are_several_hosts() -> None:
    done = launch("torchrun.sh", ["train"], {"NNODES": "2", "ENDPOINT": "localhost"})
    assert done.returncode != 0
    assert "RUN_ID" in done.stderr


def launch(name: str, words: list[object], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "launch" / name, *map(str, words)],
        check=False, capture_output=True, text=True, timeout=120, env=calm_environment(CPU | env),
    )  # fmt: skip


@pytest.mark.slurm
def test_reconstruct_sbatch_leaves_an_object(slurm: SlurmCluster, scan: Path, tmp_path: Path) -> None:
    job = slurm.submit(
        *SBATCH, REPOSITORY / "slurm" / "reconstruct.sbatch", *SMALL,
        env=CPU | {"SCAN": str(scan), "OUTPUT_DIR": str(tmp_path)},
    )  # fmt: skip
    ended = slurm.wait(job, 150)
    assert (ended.state, ended.restarts) == ("COMPLETED", 0), ended.log
    assert "2 rank(s), launcher slurm" in ended.log
    assert (tmp_path / "reconstruction.h5").is_file()


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_refine_sbatch_refines_a_start(slurm: SlurmCluster, scan: Path, tmp_path: Path) -> None:
    run_well(["refine", scan, "--output_dir", tmp_path / "first", "--iterations", 2, "--accelerator", "cpu"])
    job = slurm.submit(
        *SBATCH, REPOSITORY / "slurm" / "refine.sbatch", "--iterations", "2", "--accelerator", "cpu",
        env=CPU | {"SCAN": str(scan), "OUTPUT_DIR": str(tmp_path), "START": str(tmp_path / "first/reconstruction.h5")},
    )  # fmt: skip
    ended = slurm.wait(job, 150)
    assert (ended.state, ended.restarts) == ("COMPLETED", 0), ended.log
    assert (tmp_path / "reconstruction.h5").is_file()


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_pipeline_trains_then_predicts_each_scan_then_stitches(slurm: SlurmCluster, scan: Path, tmp_path: Path) -> None:
    flags = f"{' '.join(SBATCH)} --output={tmp_path}/%x-%j.log"
    env = {"OUTPUT_DIR": str(tmp_path), "SBATCH_FLAGS": flags, "STITCH_SBATCH_FLAGS": f"--output={tmp_path}/%x-%j.log",
           "TRAIN_FLAGS": " ".join(map(str, SMALL)), "INFER_FLAGS": "--accelerator cpu"}  # fmt: skip
    submitted = slurm.client(REPOSITORY / "slurm" / "pipeline.sh", scan, scan, scan, env=CPU | env)
    assert submitted.returncode == 0, submitted.stderr
    jobs = dict(line.split() for line in submitted.stdout.splitlines())
    assert list(jobs) == ["train", "infer", "stitch"]
    stitched = slurm.wait(jobs["stitch"], 240)
    assert stitched.state == "COMPLETED", [one.log for job in jobs.values() for one in slurm.wait_all(job)]
    assert [one.state for one in slurm.wait_all(jobs["infer"])] == ["COMPLETED", "COMPLETED"]
    for task in (1, 2):
        assert (tmp_path / f"scan-{task}" / "reconstruction.h5").is_file()
        assert (tmp_path / f"scan-{task}" / "metrics.json").is_file()


@pytest.mark.slurm
@pytest.mark.parametrize("name", ["train", "infer", "reconstruct", "refine"])
def test_sbatch_file_is_accepted_in_its_gpu_form(slurm: SlurmCluster, name: str) -> None:
    gpus = ["--gpus-per-node=4", "--cpus-per-task=1"]
    done = slurm.client("sbatch", "--test-only", *gpus, REPOSITORY / "slurm" / f"{name}.sbatch")
    assert done.returncode == 0, done.stderr
