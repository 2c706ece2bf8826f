"""One scan under every launcher: the same loss curve, and from one bundle the same object bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from tests.support.launch import finish_all, free_port, run, run_torchrun, step_losses
from tests.support.mpi import mpirun
from tests.support.netns import ADDRESSES, TwoHosts
from tests.support.runs import training_payload, untrained_bundle
from tests.support.slurm import SlurmCluster

STEPS = 6
LIMIT_S = 150.0
TOLERANCE = 1e-9
CALM = ["--accelerator", "cpu", "--quiet"]
TRAIN = ["--width", 8, "--depth", 1, "--group_size", 4, "--batch_size", 2, "--max_steps", STEPS,
         "--precision", "64-true"]  # fmt: skip
PROGRAM = [sys.executable, "-m", "ptycho_dist"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
Words = list[object]
Done = subprocess.CompletedProcess[str]


class Launches:
    """How each launcher starts two ranks of a command; clusters are started when first asked for."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def spawn(self, words: Words) -> Done:
        return run([*words, "--devices", 2], LIMIT_S)

    def torchrun(self, words: Words) -> Done:
        return run_torchrun(words, 2, LIMIT_S)

    def torchrun_on_two_hosts(self, words: Words) -> Done:
        pair: TwoHosts = self._request.getfixturevalue("two_hosts")
        launcher = [*TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d",
                    "--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--rdzv-id", "run-1", "-m", "ptycho_dist"]  # fmt: skip
        processes = [pair.start(host, [*launcher, *words]) for host in (0, 1)]
        first, second = finish_all(processes, LIMIT_S)
        return first if first.returncode else second

    def srun_on_one_node(self, words: Words) -> Done:
        return self._slurm.srun("-N1", "--ntasks-per-node=2", *PROGRAM, *words, limit_s=LIMIT_S)

    def srun_on_two_nodes(self, words: Words) -> Done:
        return self._slurm.srun("-N2", "--ntasks-per-node=1", *PROGRAM, *words, limit_s=LIMIT_S)

    def srun_with_torchrun(self, words: Words) -> Done:
        endpoint = f"{self._slurm.nodes[0]}:{free_port()}"
        launcher = [*TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d",
                    "--rdzv-endpoint", endpoint, "--rdzv-id", endpoint, "-m", "ptycho_dist"]  # fmt: skip
        return self._slurm.srun("-N2", "--ntasks-per-node=1", *launcher, *words, limit_s=LIMIT_S)

    def mpirun(self, words: Words) -> Done:
        self._request.getfixturevalue("mpi")
        return mpirun(2, [*PROGRAM, *words], limit_s=LIMIT_S)

    @property
    def _slurm(self) -> SlurmCluster:
        cluster: SlurmCluster = self._request.getfixturevalue("slurm")
        return cluster


LAUNCHES = [
    pytest.param(Launches.spawn, id="spawn"),
    pytest.param(Launches.torchrun, id="torchrun", marks=pytest.mark.exhaustive),
    pytest.param(Launches.torchrun_on_two_hosts, id="torchrun-2-hosts", marks=pytest.mark.netns),
    pytest.param(Launches.srun_on_one_node, id="srun-1-node", marks=[pytest.mark.slurm, pytest.mark.exhaustive]),
    pytest.param(Launches.srun_on_two_nodes, id="srun-2-nodes", marks=pytest.mark.slurm),
    pytest.param(Launches.srun_with_torchrun, id="srun-torchrun", marks=[pytest.mark.slurm, pytest.mark.exhaustive]),
    pytest.param(Launches.mpirun, id="mpirun", marks=pytest.mark.mpi),
]
Launch = Callable[[Launches, Words], Done]


@pytest.fixture(scope="module")
def alone(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train and predict as one plain rank; the common bundle is in ``common/bundle``."""
    folder = tmp_path_factory.mktemp("alone")
    with open_scan(scan) as found:
        untrained_bundle(training_payload(scan, folder / "common"), found)
    for words in (train(scan, folder), infer(scan, folder, folder)):
        done = run(words)
        assert done.returncode == 0, done.stderr
    losses = step_losses(folder)
    assert losses[-1] != pytest.approx(losses[0], rel=1e-2), "the training changes nothing, so nothing is proven"
    return folder


def train(scan: Path, output_dir: Path) -> Words:
    return ["train", scan, "--output_dir", output_dir, *TRAIN, *CALM]


def infer(scan: Path, alone: Path, output_dir: Path) -> Words:
    bundle = alone / "common" / "bundle"
    return ["infer", scan, "--model_path", bundle, "--output_dir", output_dir, "--inference_batch_size", 4, *CALM]


@pytest.mark.parametrize("launch", LAUNCHES)
def test_launch_gives_the_loss_curve_and_the_object_of_one_plain_rank(
    launch: Launch, alone: Path, scan: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    launches = Launches(request)
    for words in (train(scan, tmp_path), infer(scan, alone, tmp_path)):
        done = launch(launches, words)
        assert done.returncode == 0, done.stderr
    losses = step_losses(tmp_path)
    assert len(losses) == STEPS
    assert losses == pytest.approx(step_losses(alone), rel=TOLERANCE, abs=0)
    assert len(list((tmp_path / "shards").glob("shard-*"))) == 2
    found, expected = (read_product(folder / "reconstruction.h5") for folder in (tmp_path, alone))
    assert np.abs(expected.object_ - 1).max() > 0.05
    assert found.object_.tobytes() == expected.object_.tobytes()
