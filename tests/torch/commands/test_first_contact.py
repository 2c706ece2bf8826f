"""What a new user is told: extent, step and overlap of a scan, and what to run next."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.commands.inspect import describe
from ptycho_dist.commands.inspect_scan import results_folder
from ptycho_dist.commands.parsing import parse
from ptycho_dist.commands.registry import commands
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5

STEP_PX, ACROSS, N = 4.0, 5, 32


def raster(path: Path, pixel_size_m: float = math.nan, *, across: int = ACROSS, has_probe: bool = True) -> Path:
    """Write a raster scan with a flat probe of 15 by 15 pixels."""
    y, x = np.divmod(np.arange(across**2), across)
    probe = np.zeros((1, N, N), np.complex64)
    probe[:, 8:23, 8:23] = 10
    patterns = np.random.default_rng(0).poisson(9.0, (across**2, N, N)).astype(np.float32)
    content = ScanContent(
        patterns=[patterns], positions_px=STEP_PX * np.stack([y, 2 * x], axis=1), probe=probe, pixel_size_m=pixel_size_m
    )
    return write_scan_h5(path, content if has_probe else replace(content, probe=None))


def test_inspect_tells_extent_step_and_overlap_in_pixels_and_micrometres(tmp_path: Path) -> None:
    text = describe(raster(tmp_path / "scan.h5", 5e-8))
    assert "positions span 16 x 32 px = 0.8 x 1.6 um (y, x); the object 48 x 64 px" in text
    assert "step         4 px = 0.2 um to the nearest neighbour (median)" in text
    found = re.search(r"overlap      (\d+)% of the probe's diameter, ([\d.]+) px = ([\d.]+) um", text)
    assert found is not None
    diameter_px = 2 * math.sqrt(math.ceil(0.9 * 225) / math.pi)
    assert float(found[2]) == pytest.approx(diameter_px, rel=0.01)
    assert float(found[3]) == pytest.approx(diameter_px * 0.05, rel=0.01)
    assert int(found[1]) == round(100 * (1 - STEP_PX / diameter_px))


def test_lengths_stay_in_pixels_where_the_pixel_size_is_unknown(tmp_path: Path) -> None:
    text = describe(raster(tmp_path / "scan.h5"))
    assert "positions span 16 x 32 px (y, x)" in text
    assert " um" not in text


def test_a_scan_without_a_probe_or_with_one_point_is_described(tmp_path: Path) -> None:
    text = describe(raster(tmp_path / "scan.h5", has_probe=False))
    assert "step         4 px" in text
    assert "overlap" not in text
    assert "step         unknown: all positions are one" in describe(raster(tmp_path / "one.h5", across=1))


@pytest.mark.parametrize(
    ("scan", "folder"),
    [
        ("runs/first/scan.h5", "runs/first"),
        ("/data/runs/first/scan.h5", "/data/runs/first"),
        ("runs/scan.h5", "runs/scan"),
        ("scan.npz", "runs/scan"),
        ("/data/fly.npz", "runs/fly"),
    ],
)
def test_the_suggested_folder_is_that_of_the_readme(scan: str, folder: str) -> None:
    assert results_folder(Path(scan)) == Path(folder)


def test_every_suggested_command_is_understood(tmp_path: Path) -> None:
    text = describe(raster(tmp_path / "my scan.h5"))
    lines = re.findall(r"ptycho-dist (\w+) (.+)$", text, re.MULTILINE)
    assert [name for name, _ in lines] == ["reconstruct", "infer", "refine", "inspect"]
    for name, words in lines:
        typed = parse(commands()[name], shlex.split(words))
        assert typed.paths[commands()[name].operand] == tmp_path / "my scan.h5"
    assert "--iterations passes" in text


@pytest.mark.parametrize("name", ["reconstruct", "refine"])
def test_help_says_what_a_refinement_adds_and_costs(name: str) -> None:
    assert "--iterations" in commands()[name].description
