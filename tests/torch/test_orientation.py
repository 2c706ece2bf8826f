"""How patterns lie to positions is found, and not guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from skimage.io import imread

from ptycho_dist.cli import main
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import Turn
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.orientation import TURNS, Orientation, Trial, composed, find_orientation, same_object, write_map
from tests.support.runs import simulate_tiny

SETTINGS: Any = (
    DataConfig(N=32),
    PyTorchExecutionConfig(accelerator="cpu", cpu_loops="compiled"),
    single_rank(),
)
DAILY = ((Turn(True, False, True), True), (Turn(False, True, False), False))
"""Tried every day; the others with the exhaustive tests."""


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_tiny(tmp_path_factory.mktemp("upright") / "scan.h5", n_patterns=120)


def turned(upright: Path, to: Path, turn: Turn, *, with_probe: bool) -> Path:
    """Copy a scan; its patterns are turned, as another detector would have them."""
    with open_scan(upright) as scan:
        content = ScanContent(
            patterns=[np.ascontiguousarray(turn(scan.counts()))],
            positions_px=scan.positions_px,
            probe=scan.probe if with_probe else None,
        )
        return write_scan_h5(to, content)


@pytest.mark.parametrize(
    ("turn", "with_probe"),
    [
        pytest.param(turn, with_probe, marks=() if (turn, with_probe) in DAILY else pytest.mark.exhaustive)
        for turn in TURNS
        for with_probe in (True, False)
    ],
)
def test_each_wrong_orientation_is_found(turn: Turn, with_probe: bool, upright: Path, tmp_path: Path) -> None:
    path = turned(upright, tmp_path / "turned.h5", turn, with_probe=with_probe)
    found = find_orientation(path, ScanOptions(), SETTINGS)
    assert found.is_clear
    both = composed(turn, found.best.turn)
    assert both == Turn() if with_probe else same_object(both, Turn())


@pytest.mark.parametrize("name", ["negate_y", "swap_positions"])
def test_wrong_axes_of_the_positions_are_made_good_by_turned_patterns(name: str, upright: Path) -> None:
    found = find_orientation(upright, ScanOptions(**{name: True}), SETTINGS)
    assert found.is_clear
    wanted = Turn(flip_rows=True) if name == "negate_y" else Turn(transpose=True)
    assert same_object(found.best.turn, wanted)


def test_what_is_right_already_stays(upright: Path) -> None:
    found = find_orientation(upright, ScanOptions(), SETTINGS)
    assert found.best.turn == Turn()
    assert found.verdict().startswith("the patterns lie as the settings have it")


def test_orientations_that_explain_alike_leave_it_undecided() -> None:
    trials = [Trial(turn, 0.2 + 0.001 * number, np.ones((8, 8), np.complex64)) for number, turn in enumerate(TURNS)]
    assert Orientation(trials, Turn()).verdict().startswith("undecided")


def test_of_two_conjugate_objects_the_given_one_is_taken() -> None:
    errors = {Turn(flip_rows=True, flip_columns=True): 0.100, Turn(): 0.101}
    trials = [Trial(turn, errors.get(turn, 0.3), np.ones((8, 8), np.complex64)) for turn in TURNS]
    found = Orientation(sorted(trials, key=lambda one: one.fourier_error), Turn())
    assert found.is_clear
    assert found.best.turn == Turn()


@pytest.mark.parametrize("then", TURNS)
@pytest.mark.parametrize("first", TURNS)
def test_two_turns_are_one(first: Turn, then: Turn) -> None:
    image = np.random.default_rng(0).random((7, 7))
    np.testing.assert_array_equal(composed(first, then)(image), then(first(image)))


def test_a_map_is_written_again_with_the_patterns_turned(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "patterns: {path: /a, axes: [frame, y, x]}\npositions: {y: {path: /y, unit: um}, x: {path: /x, unit: um}}\n"
        "transform: {transpose: true}\n"
    )
    write_map(path, tmp_path / "turned.yaml", Turn(flip_rows=True))
    told = yaml.safe_load((tmp_path / "turned.yaml").read_text())
    assert told["transform"] == {"transpose": True, "flip_rows": True, "flip_columns": False}
    assert told["patterns"]["path"] == "/a"


def test_the_command_says_the_flags_and_draws(
    upright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = turned(upright, tmp_path / "turned.h5", Turn(flip_columns=True), with_probe=True)
    assert main(["orient", str(path), "--figure", str(tmp_path / "all.png")]) == 0
    told = capsys.readouterr().out
    assert "turn the patterns: --flip_columns true" in told
    assert imread(tmp_path / "all.png").shape[1] > 500


def test_there_is_no_map_to_write_where_a_reader_opens_the_scan(
    upright: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["orient", str(upright), "--write_map", str(tmp_path / "m.yaml")]) == 2
    assert "is opened by a reader" in capsys.readouterr().err


def test_a_folder_is_no_scan(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="expected one scan"):
        find_orientation(tmp_path, ScanOptions(), SETTINGS)
