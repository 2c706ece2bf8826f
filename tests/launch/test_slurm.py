"""A training that SLURM or a fault interrupts resumes by itself, as if nothing had happened."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from ptycho_dist.data.scan import open_scan
from tests.support.kill import checkpoint_of, kill_rank, wait_until
from tests.support.launch import finish, run_well, start
from tests.support.runs import simulate_tiny, training_payload, untrained_bundle
from tests.support.slurm import SlurmCluster

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 240


def settings(steps: int) -> list[object]:
    return ["--group_size", 4, "--batch_size", 2, "--max_steps", steps, "--max_epochs", steps, "--width", 8,
            "--depth", 1, "--early_stop_patience", steps, "--accelerator", "cpu"]  # fmt: skip


SETTINGS = settings(STEPS)
LONG_STEPS = 4000
"""More than any machine does in the minute after which SLURM looks at time limits."""
WALL_S = 240.0


def curve(folder: Path) -> list[tuple[str, str]]:
    """Every logged loss of a step, as text."""
    with (folder / "logs" / "metrics.csv").open() as file:
        return [(row["step"], row["train_loss_step"]) for row in csv.DictReader(file) if row["train_loss_step"]]


def has_steps(folder: Path, count: int) -> bool:
    log = folder / "logs" / "metrics.csv"
    return log.is_file() and log.read_text().count("\n") > count


@pytest.fixture(scope="module")
def whole(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train with two ranks and no interruption."""
    folder = tmp_path_factory.mktemp("whole")
    run_well(["train", scan, "--output_dir", folder, "--devices", 2, *SETTINGS])
    assert len(curve(folder)) == STEPS
    return folder


def submit(slurm: SlurmCluster, scan: Path, output_dir: Path, steps: int = STEPS) -> str:
    """Submit slurm/train.sbatch in its CPU form, and wait until it has trained some steps."""
    env = {"SCAN": str(scan), "OUTPUT_DIR": str(output_dir), "PYTHON": sys.executable, "GPUS_PER_NODE": "0"}
    script = REPOSITORY / "slurm" / "train.sbatch"
    job = slurm.submit("--ntasks-per-node=2", "--cpus-per-task=1", "--time=10", script, *settings(steps), env=env)
    slurm.wait_for(job, lambda facts: facts[0]["JobState"] == "RUNNING")
    wait_until(lambda: has_steps(output_dir, 30), "30 logged steps")
    return job


def require_resumed(slurm: SlurmCluster, job: str, output_dir: Path) -> None:
    ended = slurm.wait(job, WALL_S)
    assert (ended.state, ended.restarts) == ("COMPLETED", 1), ended.log
    assert "stopped by SIGUSR1" in ended.log
    assert "resuming from" in ended.log
    assert "Traceback" not in ended.log
    assert (output_dir / "bundle" / "bundle.json").is_file()


@pytest.mark.slurm
def test_job_saves_and_queues_itself_again_on_sigusr1(
    slurm: SlurmCluster, scan: Path, whole: Path, tmp_path: Path
) -> None:
    job = submit(slurm, scan, tmp_path)
    done = slurm.client("scancel", "--signal=USR1", job)
    assert done.returncode == 0, done.stderr
    require_resumed(slurm, job, tmp_path)
    assert curve(tmp_path) == curve(whole)


@pytest.mark.slurm
@pytest.mark.exhaustive
def test_job_saves_and_queues_itself_again_before_its_time_limit(
    slurm: SlurmCluster, scan: Path, tmp_path: Path
) -> None:
    job = submit(slurm, scan, tmp_path, LONG_STEPS)
    slurm.scontrol("update", f"jobid={job}", "EndTime=now+60")
    slurm.wait_for(job, lambda facts: facts[0]["JobState"] == "PENDING", WALL_S)
    slurm.scontrol("update", f"jobid={job}", "TimeLimit=10")
    require_resumed(slurm, job, tmp_path)
    assert len(curve(tmp_path)) == LONG_STEPS


@pytest.mark.slurm
def test_stopped_task_of_an_array_queues_itself_again_and_no_other(
    slurm: SlurmCluster, scan: Path, tmp_path: Path
) -> None:
    larger = simulate_tiny(tmp_path / "larger.h5", n_patterns=6000)
    with open_scan(scan) as found:
        bundle = untrained_bundle(training_payload(scan, tmp_path / "trained"), found)
    (tmp_path / "scans.txt").write_text(f"{scan}\n{larger}\n")
    env = {"SCAN_LIST": str(tmp_path / "scans.txt"), "MODEL": str(bundle), "OUTPUT_DIR": str(tmp_path / "many"),
           "PYTHON": sys.executable, "GPUS_PER_NODE": "0"}  # fmt: skip
    flags = ["--array=1-2", "--ntasks-per-node=1", "--cpus-per-task=1", "--time=10"]
    job = slurm.submit(*flags, REPOSITORY / "slurm" / "infer.sbatch", "--inference_batch_size", 1, env=env)
    wait_until(lambda: list(tmp_path.glob("many/scan-2/shards/patches-*.npy")), "the prediction of the last task")
    assert slurm.client("scancel", "--signal=USR1", f"{job}_2").returncode == 0
    ended = {one["ArrayTaskId"]: one for one in slurm.wait_for(job, has_completed, WALL_S)}
    assert {task: int(one["Restarts"]) for task, one in ended.items()} == {"1": 0, "2": 1}
    assert "taking" not in slurm.log(ended["1"])
    for task in (1, 2):
        assert (tmp_path / "many" / f"scan-{task}" / "reconstruction.h5").is_file()


def has_completed(facts: list[dict[str, str]]) -> bool:
    return all(one["JobState"] == "COMPLETED" for one in facts)


def test_torchrun_starts_killed_ranks_again_and_they_resume(scan: Path, whole: Path, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 3]
    words = ["train", scan, "--output_dir", tmp_path, *SETTINGS, "--checkpoint_interval_s", 0]
    agent = start([*launcher, "-m", "ptycho_dist", *words])
    wait_until(checkpoint_of(tmp_path, 30).exists, "step 30", agent)
    kill_rank(agent, 1)
    ended = finish(agent, WALL_S)
    assert ended.returncode == 0, ended.stderr
    assert "resuming from" in ended.stderr
    assert curve(tmp_path) == curve(whole)
