"""Real ranks on a real GPU; needs one NVIDIA GPU, of which other tests see nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from tests.support.kill import wait_until
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


@pytest.mark.parametrize("accum_steps", [1, 2])
@pytest.mark.parametrize("precision", ["64-true", "16-mixed", "bf16-mixed"])
def test_every_precision_with_clipping_trains_on_a_gpu(
    scan: Path, tmp_path: Path, precision: str, accum_steps: int
) -> None:
    more = ["--precision", precision, "--gradient_clip_val", 0.5, "--accum_steps", accum_steps]
    words = ["-m", "ptycho_dist", "train", scan, "--output_dir", tmp_path, *SMALL[:-2], *more]
    ended = finish(start(words), LIMIT_S)
    assert ended.returncode == 0, ended.stderr


def test_commands_one_by_one_work_on_a_gpu_and_give_the_same_bits_again(scan: Path, tmp_path: Path) -> None:
    objects = []
    for name in ("one", "other"):
        folder, gpu = tmp_path / name, ["--accelerator", "gpu"]
        commands: list[Words] = [
            ["train", scan, "--output_dir", folder / "t", *SMALL[:-2]],
            ["infer", scan, "--model_path", folder / "t" / "bundle", "--output_dir", folder / "i", *gpu],
            [
                "refine",
                scan,
                "--start",
                folder / "i" / "reconstruction.h5",
                "--output_dir",
                folder / "r",
                "--iterations",
                3,
                *gpu,
            ],
        ]
        for words in commands:
            ended = finish(start(["-m", "ptycho_dist", *words]), LIMIT_S)
            assert ended.returncode == 0, ended.stderr
        objects.append([product_arrays(folder / part) for part in ("i", "r")])
    assert objects[0] == objects[1]


def product_arrays(folder: Path) -> dict[str, bytes]:
    """Object and probe of the product in a folder."""
    product = read_product(next(folder.glob("*.h5")))
    return {"object": product.object_.tobytes(), "probe": product.probe.tobytes()}


def test_stopped_training_resumes_on_a_gpu_with_the_same_bits(scan: Path, tmp_path: Path) -> None:
    words = ["-m", "ptycho_dist", "train", scan, *SMALL[:-4], "--max_epochs", 60, "--checkpoint_interval_s", 0.5]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert finish(start([*words, "--output_dir", whole]), LIMIT_S).returncode == 0
    process = start([*words, "--output_dir", parts])
    wait_until(lambda: any(parts.glob("checkpoints/step-*.ckpt")), "a checkpoint", limit_s=LIMIT_S)
    process.send_signal(signal.SIGTERM)
    assert finish(process, LIMIT_S).returncode != 0
    assert not (parts / "bundle").exists()
    ended = finish(start([*words, "--output_dir", parts]), LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    assert "resuming from" in ended.stderr
    weights = [next((one / "bundle").glob("*.safetensors")).read_bytes() for one in (whole, parts)]
    assert weights[0] == weights[1]


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
