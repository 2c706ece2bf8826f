"""The fault matrix: whatever happens to a rank, the job ends right, or says clearly why not and harms nothing.

``docs/reliability.md`` has the table of what is seen.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import open_scan
from ptycho_dist.version import package_version
from tests.support import disk as disk_support
from tests.support import netns
from tests.support.kill import checkpoint_of, has_ended, kill_rank, pid_of_rank, wait_until
from tests.support.launch import finish, free_port, rank_variables, run, run_well, start, step_losses
from tests.support.runs import simulate_tiny, training_payload, untrained_bundle
from tests.support.scans import make_scan, write_tike

LIMIT_S = 90.0
ENDLESS = {"max_steps": 100000, "max_epochs": 100000, "early_stop_patience": 100000}
"""Settings of a training that only a fault ends."""
Process = subprocess.Popen[str]


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a scan whose prediction takes a moment."""
    return simulate_tiny(tmp_path_factory.mktemp("larger") / "scan.h5", n_patterns=300)


@pytest.fixture(scope="module")
def bundle(larger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    with open_scan(larger) as found:
        return untrained_bundle(training_payload(larger, folder), found)


@pytest.fixture(scope="module")
def expected(larger: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Object of a prediction that nothing happened to."""
    folder = tmp_path_factory.mktemp("expected")
    run_well(infer(larger, bundle, folder))
    return object_of(folder)


def infer(scan: Path, bundle: Path, output_dir: Path, **changes: object) -> list[object]:
    settings = {"model_path": bundle, "output_dir": output_dir, "devices": 2, "accelerator": "cpu",
                "inference_batch_size": 4, "stitch_tile_px": 16} | changes  # fmt: skip
    return ["infer", scan, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def train(scan: Path, output_dir: Path, **changes: object) -> list[object]:
    settings = {"output_dir": output_dir, "devices": 2, "accelerator": "cpu", "width": 8, "depth": 1, "group_size": 4,
                "batch_size": 2, "max_steps": 24, "checkpoint_interval_s": 0} | changes  # fmt: skip
    return ["train", scan, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def object_of(folder: Path) -> bytes:
    return read_product(folder / "reconstruction.h5").object_.tobytes()


def start_run(arguments: list[object]) -> Process:
    return start(["-m", "ptycho_dist", *arguments])


@contextmanager
def earlier_results_intact(folder: Path) -> Iterator[None]:
    """Results of an earlier run are the same before and after."""
    kept = [path for name in ("reconstruction.h5", "metrics.json", "bundle") for path in (folder / name).rglob("*")]
    kept += [folder / name for name in ("reconstruction.h5", "metrics.json")]
    before = {path: path.read_bytes() for path in kept if path.is_file()}
    assert before, "there is nothing to keep intact"
    yield
    assert {path: path.read_bytes() for path in before} == before


def require_clear_end(ended: subprocess.CompletedProcess[str], words: str, code: int | None = None) -> None:
    assert ended.returncode == code if code is not None else ended.returncode != 0, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


def require_finished_right(arguments: list[object], folder: Path, expected: bytes) -> str:
    done = run(arguments, LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert object_of(folder) == expected
    assert sorted(path.name for path in (folder / "shards").iterdir()) == [
        "manifest.h5", "shard-00000-of-00002.h5", "shard-00001-of-00002.h5",
    ]  # fmt: skip
    return done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_rank_killed_in_prediction(larger: Path, bundle: Path, expected: bytes, tmp_path: Path, rank: int) -> None:
    arguments = infer(larger, bundle, tmp_path)
    run_well(arguments)
    with earlier_results_intact(tmp_path):
        (tmp_path / "shards").rename(tmp_path / "away")
        supervisor, shards = start_run(arguments), tmp_path / "shards"
        wait_until((shards / f"patches-{rank:05d}-of-00002.npy").exists, "the prediction", supervisor)
        kill_rank(supervisor, rank)
        require_clear_end(finish(supervisor, LIMIT_S), f"rank {rank} (pid ", 128 + signal.SIGKILL)
    require_finished_right(arguments, tmp_path, expected)


def test_only_what_is_missing_is_predicted_again(larger: Path, bundle: Path, expected: bytes, tmp_path: Path) -> None:
    arguments, shards = infer(larger, bundle, tmp_path), tmp_path / "shards"
    supervisor = start_run(arguments)
    wait_until((shards / "patches-00001-of-00002.npy").exists, "the prediction", supervisor)
    kill_rank(supervisor, 1, signal.SIGSTOP)
    wait_until((shards / "shard-00000-of-00002.h5").exists, "the shard of rank 0", supervisor)
    kill_rank(supervisor, 1)
    require_clear_end(finish(supervisor, LIMIT_S), "rank 1 (pid ", 128 + signal.SIGKILL)
    assert not (shards / "patches-00001-of-00002.json").exists()
    said = require_finished_right(arguments, tmp_path, expected)
    assert "shards of an unfinished run are kept; still to be made: 1 of 2" in " ".join(said.split())


@pytest.mark.exhaustive
@pytest.mark.parametrize("rank", [0, 1])
def test_rank_killed_in_stitching(larger: Path, bundle: Path, expected: bytes, tmp_path: Path, rank: int) -> None:
    arguments = infer(larger, bundle, tmp_path)
    supervisor = start_run(arguments)
    wait_until(lambda: list(tmp_path.glob(".reconstruction.h5.*.tmp")), "the stitching", supervisor)
    kill_rank(supervisor, rank)
    require_clear_end(finish(supervisor, LIMIT_S), f"rank {rank} (pid ", 128 + signal.SIGKILL)
    (tmp_path / "shards" / "shard-00001-of-00002.h5").unlink()
    said = require_finished_right(arguments, tmp_path, expected)
    assert "still to be made: 1 of 2" in said


@pytest.mark.exhaustive
def test_reconstruct_killed_in_prediction_does_not_train_again(larger: Path, tmp_path: Path) -> None:
    changes = {"max_steps": 8, "checkpoint_interval_s": 1e6, "inference_batch_size": 4}
    arguments = ["reconstruct", *train(larger, tmp_path, **changes)[1:]]
    supervisor = start_run(arguments)
    wait_until((tmp_path / "shards" / "patches-00001-of-00002.npy").exists, "the prediction", supervisor)
    kill_rank(supervisor, 1)
    require_clear_end(finish(supervisor, LIMIT_S), "rank 1 (pid ", 128 + signal.SIGKILL)
    weights = (tmp_path / "bundle" / "weights.safetensors").stat().st_mtime_ns
    done = run(arguments, LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert "the training was finished before" in done.stderr
    assert (tmp_path / "bundle" / "weights.safetensors").stat().st_mtime_ns == weights
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["training_s"] > 0
    assert not (tmp_path / "unfinished.json").exists()


def test_damaged_shard_is_made_again(larger: Path, bundle: Path, expected: bytes, tmp_path: Path) -> None:
    arguments = infer(larger, bundle, tmp_path)
    supervisor = start_run(arguments)
    wait_until(lambda: list(tmp_path.glob(".reconstruction.h5.*.tmp")), "the stitching", supervisor)
    kill_rank(supervisor, 0)
    finish(supervisor, LIMIT_S)
    path = tmp_path / "shards" / "shard-00000-of-00002.h5"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "still to be made: 0 of 2" in require_finished_right(arguments, tmp_path, expected)


def test_rank_that_hangs_ends_the_others_in_time(scan: Path, tmp_path: Path) -> None:
    supervisor = start_run(train(scan, tmp_path, timeout_s=15, **ENDLESS))
    wait_until(checkpoint_of(tmp_path, 4).exists, "step 4", supervisor)
    kill_rank(supervisor, 1, signal.SIGSTOP)
    stopped = time.monotonic()
    ended = finish(supervisor, LIMIT_S)
    assert time.monotonic() - stopped < 60
    assert ended.returncode != 0


@pytest.mark.exhaustive
def test_rank_that_is_twenty_times_slower_changes_nothing(
    larger: Path, bundle: Path, expected: bytes, tmp_path: Path
) -> None:
    supervisor = start_run(infer(larger, bundle, tmp_path, timeout_s=10))
    wait_until((tmp_path / "shards" / "patches-00001-of-00002.npy").exists, "the prediction", supervisor)
    slow_down(supervisor, rank=1, seconds=12.0)
    ended = finish(supervisor, LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    assert object_of(tmp_path) == expected


SLOW_STITCHING = """
import time
from ptycho_dist import cli
from ptycho_dist.inference.product import StitchWork
write = StitchWork.write
def slow(*arguments):
    time.sleep(15)
    write(*arguments)
StitchWork.write = slow
cli.program()
"""


def test_stitching_that_takes_longer_than_the_timeout(larger: Path, bundle: Path, tmp_path: Path) -> None:
    port, arguments = free_port(), infer(larger, bundle, tmp_path, timeout_s=12)
    ranks = [start(["-c", SLOW_STITCHING, *arguments], rank_variables(rank, 2, port)) for rank in (0, 1)]
    for ended in [finish(rank, LIMIT_S) for rank in ranks]:
        assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["stitching_s"] > 15


def slow_down(supervisor: Process, rank: int, seconds: float) -> None:
    """Let a rank run for 5 of each 100 milliseconds."""
    until, pid = time.monotonic() + seconds, pid_of_rank(supervisor.pid, rank)
    with suppress(ProcessLookupError):  # it has ended
        while time.monotonic() < until and supervisor.poll() is None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.095)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)


def train_on_copy(scan: Path, tmp_path: Path) -> tuple[Path, Process]:
    """Train on a copy of a scan that may be harmed, too large for a cache; returns when it trains."""
    copy = tmp_path / "scan.h5"
    copy.write_bytes(scan.read_bytes())
    supervisor = start_run(train(copy, tmp_path / "run", **ENDLESS))
    wait_until(checkpoint_of(tmp_path / "run", 4).exists, "step 4", supervisor)
    return copy, supervisor


def test_scan_that_is_cut_short_in_training(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "whole.h5", n_patterns=1500)
    copy, supervisor = train_on_copy(scan, tmp_path)
    with copy.open("r+b") as file:
        file.truncate(4096)
    require_clear_end(finish(supervisor, LIMIT_S), f"'patterns' in {copy} cannot be read", 2)
    copy.write_bytes(scan.read_bytes())
    done = run(train(copy, tmp_path / "run", max_steps=100000, resume="false", max_epochs=1), LIMIT_S)
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
def test_scan_with_a_read_error_in_training(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "whole.h5", n_patterns=1500)
    copy, supervisor = train_on_copy(scan, tmp_path)
    with copy.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (copy.stat().st_size - 16384))
    require_clear_end(finish(supervisor, LIMIT_S), "cannot be read", 2)


def test_error_of_one_rank_is_told_by_all(larger: Path, bundle: Path, tmp_path: Path) -> None:
    bad = write_with_nan(larger, tmp_path / "scan.npz")
    port, arguments = free_port(), [*infer(bad, bundle, tmp_path / "run"), "--mask_saturated", "false"]
    ranks = [start(["-m", "ptycho_dist", *arguments], rank_variables(rank, 2, port)) for rank in (0, 1)]
    ended = [finish(rank, LIMIT_S) for rank in ranks]
    for one in ended:
        require_clear_end(one, "scan.npz holds nan", 2)
    assert "OtherRankError: rank 1 failed: DataFormatError" in ended[0].stderr


def write_with_nan(scan: Path, path: Path) -> Path:
    """Write the scan with a NaN in a pattern that rank 1 of 2 predicts, and that no header samples."""
    with open_scan(scan) as found:
        count = found.header.n_patterns
        order = canonical_order(found.positions_px)[count // 2 + 40 :]
        victim = next(row for row in order if row not in sample_index(count))
        counts = found.read_patterns(np.arange(count))
        counts[victim, 3, 4] = np.nan
        probe = found.probe
        assert probe is not None
        np.savez(path, data=np.fft.ifftshift(counts, axes=(1, 2))[None], scan=found.positions_px[None],
                 probe=probe[None, None, None])  # fmt: skip
    return path


def test_rank_with_another_version_of_the_package(scan: Path, tmp_path: Path) -> None:
    fake = tmp_path / "site" / "ptycho_dist-9.9.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: ptycho-dist\nVersion: 9.9\n")
    port, arguments = free_port(), train(scan, tmp_path / "run")
    other = {"PYTHONPATH": str(tmp_path / "site")}
    ranks = [
        start(["-P", "-m", "ptycho_dist", *arguments], rank_variables(rank, 2, port) | (other if rank else {}))
        for rank in (0, 1)
    ]
    for ended in [finish(rank, LIMIT_S) for rank in ranks]:
        require_clear_end(ended, f"ptycho-dist is '{package_version()}' on rank 0 but '9.9' on rank 1", 2)


def test_port_that_is_taken(scan: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        arguments = train(scan, tmp_path, timeout_s=5)
        port = holder.getsockname()[1]
        ranks = [start(["-m", "ptycho_dist", *arguments], rank_variables(rank, 2, port)) for rank in (0, 1)]
        for ended in [finish(rank, LIMIT_S) for rank in ranks]:
            require_clear_end(ended, f"127.0.0.1:{port}", 2)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 32 MiB."""
    reason = disk_support.missing()
    if reason is not None:
        pytest.skip(f"NOT RUN: {reason}")
    with disk_support.small_disk(tmp_path / "disk", 32) as folder:
        yield folder


def test_disk_that_is_full_at_a_checkpoint(scan: Path, disk: Path, tmp_path: Path) -> None:
    run_well(train(scan, tmp_path / "whole"))
    supervisor = start_run(train(scan, disk / "run", **ENDLESS))
    wait_until(checkpoint_of(disk / "run", 6).exists, "step 6", supervisor)
    filler = disk_support.fill(disk)
    ended = finish(supervisor, LIMIT_S)
    require_clear_end(ended, "No space left on device", 2)
    filler.unlink()
    saved = sorted((disk / "run" / "checkpoints").glob("step-*.ckpt.sha256"))
    assert saved
    done = run(train(scan, disk / "run", **(ENDLESS | {"max_epochs": 1})), LIMIT_S)
    assert "training.max_epochs was 100000, now 1" in done.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("phase", ["prediction", "stitching"])
def test_disk_that_is_full_at_a_shard_or_at_the_result(
    larger: Path, bundle: Path, expected: bytes, disk: Path, phase: str
) -> None:
    arguments = infer(larger, bundle, disk / "run")
    run_well(arguments)
    with earlier_results_intact(disk / "run"):
        (disk / "run" / "shards").rename(disk / "away")
        supervisor, run_dir = start_run(arguments), disk / "run"
        if phase == "prediction":
            wait_until((run_dir / "shards" / "manifest.h5").exists, "the prediction", supervisor)
        else:
            wait_until(lambda: list(run_dir.glob(".reconstruction.h5.*.tmp")), "the stitching", supervisor)
        filler = disk_support.fill(disk)
        require_clear_end(finish(supervisor, LIMIT_S), "No space left on device", 2)
        filler.unlink()
        assert not list(run_dir.glob(".*.tmp"))
    require_finished_right(arguments, run_dir, expected)


def test_loss_that_is_no_number_on_one_rank(tmp_path: Path) -> None:
    made = make_scan(n_patterns=16, N=32)
    made.counts[5, 0, :4] = 3e38
    path = write_tike(tmp_path / "scan.npz", made)
    port, arguments = free_port(), train(path, tmp_path / "run")
    ranks = [start(["-m", "ptycho_dist", *arguments], rank_variables(rank, 2, port)) for rank in (0, 1)]
    for ended in [finish(rank, LIMIT_S) for rank in ranks]:
        require_clear_end(ended, "and the training has gone back 8 times already; expected finite losses", 2)
        last = ended.stderr.strip().splitlines()[-1]
        assert ("on rank 0)" in last) != ("on rank 1)" in last)


def torchrun_argv(arguments: list[object], port: int) -> list[object]:
    return [sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", 1, "--max-restarts", 0,
            "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{netns.ADDRESSES[0]}:{port}", "--rdzv-id", f"cut{port}",
            "-m", "ptycho_dist", *arguments]  # fmt: skip


def start_on_two_hosts(arguments: list[object], hosts: netns.TwoHosts, output_dir: Path) -> list[Process]:
    """Start torchrun on two hosts, and wait until they train."""
    argv = torchrun_argv(arguments, free_port())
    agents = [hosts.start(host, argv) for host in (0, 1)]
    wait_until(checkpoint_of(output_dir, 4).exists, "step 4", agents[0])
    return agents


@pytest.mark.netns
@pytest.mark.exhaustive
def test_cable_that_is_cut_for_5_seconds_changes_nothing(scan: Path, tmp_path: Path, two_hosts: netns.TwoHosts) -> None:
    run_well(train(scan, tmp_path / "whole", max_steps=60))
    arguments = train(scan, tmp_path / "run", devices=1, max_steps=60, timeout_s=60)
    agents = start_on_two_hosts(arguments, two_hosts, tmp_path / "run")
    two_hosts.cut()
    time.sleep(5.0)
    two_hosts.heal()
    for ended in [finish(agent, 2 * LIMIT_S) for agent in agents]:
        assert ended.returncode == 0, ended.stderr
    assert step_losses(tmp_path / "run") == step_losses(tmp_path / "whole")


@pytest.mark.netns
def test_cable_that_is_cut_for_ever_ends_all_ranks_in_time(
    scan: Path, tmp_path: Path, two_hosts: netns.TwoHosts
) -> None:
    arguments = train(scan, tmp_path / "run", devices=1, timeout_s=15, **ENDLESS)
    agents = start_on_two_hosts(arguments, two_hosts, tmp_path / "run")
    ranks = [pid_of_rank(agent.pid, rank) for rank, agent in enumerate(agents)]
    two_hosts.cut()
    for agent, rank in zip(agents, ranks, strict=True):
        wait_until(lambda pid=rank: has_ended(pid), "the end of its rank", limit_s=LIMIT_S)
        agent.kill()  # torchrun itself may wait for minutes for the host of the rendezvous
        said = agent.communicate()[1]
        words = [line for line in said.splitlines() if line.startswith("ptycho-dist: ")]
        assert any("another rank" in line for line in words), said
