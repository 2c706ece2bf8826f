"""Real ranks on a real GPU; needs one NVIDIA GPU, of which other tests see nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launch import calm_environment, finish

Words = list[object]
SMALL: Words = ["--accelerator", "gpu", "--width", 8, "--depth", 1, "--max_epochs", 2, "--refine.iterations", 2]
LIMIT_S = 240.0


def has_gpu() -> bool:
    """Tell whether torch uses a GPU here, in a process that may see it."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return False
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], env=seeing("0"), check=False).returncode == 0


def seeing(gpus: str) -> dict[str, str]:
    """Variables of a process that sees some GPUs."""
    return calm_environment({"CUDA_VISIBLE_DEVICES": gpus})


def start(words: Words, gpus: str = "0") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=seeing(gpus), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not has_gpu(), reason="NOT RUN: torch finds no CUDA device")]
TORCHRUN: Words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def test_one_process_reconstructs_on_gpu_0(scan: Path, tmp_path: Path) -> None:
    ended = finish(start(["-m", "ptycho_dist", "reconstruct", scan, "--output_dir", tmp_path, *SMALL]), LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["fourier_error"] > 0


def test_one_rank_of_a_launcher_reconstructs_on_gpu_0(scan: Path, tmp_path: Path) -> None:
    words = [*TORCHRUN, 1, "-m", "ptycho_dist", "reconstruct", scan, "--output_dir", tmp_path, *SMALL]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_with_clipping_trains_on_a_gpu(scan: Path, tmp_path: Path, precision: str) -> None:
    more = ["--precision", precision, "--gradient_clip_val", 0.5, "--accum_steps", 2]
    words = ["-m", "ptycho_dist", "train", scan, "--output_dir", tmp_path, *SMALL[:-2], *more]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode == 0, ended.stderr


def test_two_ranks_on_one_gpu_are_refused_by_name_and_leave_nothing_but_logs(scan: Path, tmp_path: Path) -> None:
    words = [*TORCHRUN, 2, "-m", "ptycho_dist", "train", scan, "--output_dir", tmp_path / "out", "--accelerator", "gpu"]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode != 0
    assert "both use GPU" in ended.stderr
    assert "--gpus-per-task=1" in ended.stderr
    assert "Traceback" not in "".join(line for line in ended.stderr.splitlines() if "ptycho" in line)
    assert {one.name for one in (tmp_path / "out").glob("*")} <= {"logs"}


def test_our_supervisor_starts_no_more_ranks_than_gpus(scan: Path, tmp_path: Path) -> None:
    words = ["-m", "ptycho_dist", "train", scan, "--output_dir", tmp_path, "--accelerator", "gpu", "--devices", 2]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode == 2, ended.stderr
    assert "this process sees 1" in ended.stderr


def test_doctor_says_which_gpu(scan: Path, tmp_path: Path) -> None:
    words = ["-m", "ptycho_dist", "doctor", scan, "--output_dir", tmp_path, "--accelerator", "gpu", "--json"]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout[ended.stdout.index("{") :])
    assert report["ranks"][0]["gpu"]
