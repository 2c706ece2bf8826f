"""A scan that is larger than the memory its ranks may have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from ptycho_dist.data.scan import open_scan
from tests.support.launch import finish, start

GIB = 2**30
LIMITED = (
    "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2);"
    "sys.argv[:2] = ['ptycho_dist']; runpy.run_module('ptycho_dist', run_name='__main__')"
)
"""Runs the program where the private memory of each of its processes is limited."""
PATTERNS, N = 34_000, 128


def run_within(limit_bytes: float, *arguments: object) -> subprocess.CompletedProcess[str]:
    return finish(start(["-c", LIMITED, int(limit_bytes), *arguments]), 2400)


def succeed(limit_bytes: float, *arguments: object) -> None:
    done = run_within(limit_bytes, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.exhaustive
def test_all_stages_go_through_a_scan_larger_than_memory(tmp_path: Path) -> None:
    scan, limit = tmp_path / "scan.h5", 2 * GIB
    two = ("--devices", 2)
    succeed(limit, "simulate", scan, "--n_patterns", PATTERNS, "--N", N, "--step_px", 8, *two)
    with open_scan(scan) as found:
        assert len(found) * N * N * 4 > limit  # in float32, as patterns are worked on
    succeed(limit, "train", scan, "--output_dir", tmp_path / "trained", "--max_steps", 20, *two)
    bundle = tmp_path / "trained" / "bundle"
    predicted = tmp_path / "predicted"
    succeed(limit, "infer", scan, "--model_path", bundle, "--output_dir", predicted, *two)
    refined, start_from = tmp_path / "refined", predicted / "reconstruction.h5"
    few = ("--iterations", 1, "--memory_GiB", 0.15, "--start_from", "network")
    succeed(limit, "refine", scan, "--start", start_from, "--output_dir", refined, *few, *two)
    errors = [json.loads((one / "metrics.json").read_text())["fourier_error"] for one in (predicted, refined)]
    assert errors[1] < errors[0]


@pytest.mark.exhaustive
def test_an_object_larger_than_memory_is_simulated_and_refined(tmp_path: Path) -> None:
    scan, limit = tmp_path / "scan.h5", 2 * GIB
    succeed(limit, "simulate", scan, "--n_patterns", 34_000, "--N", N, "--step_px", 88, "--devices", 2)
    with open_scan(scan) as found:
        assert found.object_ is not None
        assert found.object_.nbytes > 0.99 * limit
    few = ("--iterations", 1, "--memory_GiB", 0.1, "--start_from", "ones")
    succeed(2.75 * GIB, "refine", scan, "--output_dir", tmp_path / "refined", *few, "--devices", 8)
    assert json.loads((tmp_path / "refined" / "metrics.json").read_text())["fourier_error"] < 0.2


@pytest.mark.exhaustive
def test_what_does_not_go_into_memory_ends_with_an_error(tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    succeed(4 * GIB, "simulate", scan, "--n_patterns", 4000, "--N", N, "--step_px", 9, "--devices", 2)
    arguments = ("refine", scan, "--start_from", "ones", "--output_dir", tmp_path / "o", "--iterations", 1)
    done = run_within(GIB // 2, *arguments, "--memory_GiB", 4)
    assert done.returncode != 0
    assert "memory" in done.stderr.lower()
