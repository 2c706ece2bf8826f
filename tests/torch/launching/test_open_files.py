"""Few open files: the limit is raised, and where that does not suffice no file is called damaged."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho_dist.commands.error_messages import tell
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.launching.exit_codes import exit_code
from ptycho_dist.launching.open_files import is_out_of_files
from ptycho_dist.simulate.run import simulate
from tests.support.launch import run_well
from tests.torch.assembly.test_stitch import write_all, write_one

HOLD = "import sys, resource; from pathlib import Path; folder = Path(sys.argv[1])\n"


def run(code: str, folder: Path, soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that may hold so many files open."""
    return subprocess.run(
        [sys.executable, "-c", HOLD + code, str(folder)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=False,
    )


def test_soft_limit_is_raised_to_the_hard_one_in_a_command(tmp_path: Path) -> None:
    code = (
        "from ptycho_dist.cli import main\n"
        "main(['simulate', str(folder / 's.h5'), '--n_patterns', '20', '--N', '32', '--defocus_m', '2e-5'])\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert run(code, tmp_path, 100, 300).stdout.splitlines()[-1] == "(300, 300)"


def test_many_shards_are_stitched_with_few_open_files(tmp_path: Path) -> None:
    write_all(tmp_path, 200, 100)
    code = (
        "from ptycho_dist.assembly.shards import read_manifest\n"
        "from ptycho_dist.assembly.stitch import require_complete, stitch\n"
        "manifest = read_manifest(folder)\n"
        "print(len(list(stitch(require_complete(folder, manifest), manifest, 8))))"
    )
    done = run(code, tmp_path, 40, 40)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4


EXHAUSTED = """
import torch, h5py
from ptycho_dist.assembly.shards import damage_of, read_manifest
from ptycho_dist.data.formats.hdf5_patterns import H5Patterns
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.errors import PtychoDistError
import numpy as np, os
scan = folder / "scan.h5"
with h5py.File(scan) as file:
    shape = file["patterns"].shape
left, held = LEFT, []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for one in held[:left]:
    os.close(one)
try:
    WORK
except OSError as error:
    print("errno", error.errno)
else:
    print("no error")
"""
READ = (
    "print('zeros', int((H5Patterns(scan, 'patterns', shape).read(np.arange(shape[0])).sum(axis=(1, 2)) == 0).sum()))"
)


def test_scan_in_parts_is_whole_or_an_error_but_never_zeros(tmp_path: Path) -> None:
    run_well(["simulate", tmp_path / "scan.h5", "--n_patterns", 48, "--N", 32, "--defocus_m", 2e-5, "--devices", 2])
    for left in range(6):
        done = run(EXHAUSTED.replace("LEFT", str(left)).replace("WORK", READ), tmp_path, 60, 60)
        expected = ["errno", "24"] if left < 4 else ["zeros", "0", "no", "error"]
        assert done.stdout.split() == expected, (left, done.stdout, done.stderr)


def test_shard_is_not_called_damaged_when_too_many_files_are_open(tmp_path: Path) -> None:
    manifest = write_all(tmp_path, 20, 2)
    simulate(SimulateConfig(output_file=tmp_path / "scan.h5", n_patterns=20, N=32, defocus_m=2e-5))
    work = "print(damage_of(folder, shard(20, 0, 2), 'f' * 64))"
    done = run(EXHAUSTED.replace("LEFT", "0").replace("WORK", work), tmp_path, 60, 60)
    assert done.stdout.split() == ["errno", "24"], done.stderr
    write_one(tmp_path, manifest, 0)


@pytest.mark.parametrize(
    "error",
    [
        OSError(24, "Too many open files", "/a/shard"),
        RuntimeError("unable to open </torch_1>: Too many open files (24)"),
    ],
)
def test_too_many_open_files_is_told_in_one_line(error: Exception) -> None:
    assert is_out_of_files(error)
    assert exit_code(error) == 2
    told = tell(error)
    assert told is not None
    assert "no file is damaged" in told
    assert "ulimit -Hn" in told
