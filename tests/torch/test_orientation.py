"""How patterns lie to positions is found, and not guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
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
from ptycho_dist.evaluate.fourier import FourierErrors
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


def _trial(turn: Turn, error: float, noise: float = 0.0) -> Trial:
    """Give a trial of 16 patterns of 1000 photons, all with one Fourier error."""
    photons = np.full(16, 1000.0)
    errors = FourierErrors(error**2 * photons, photons, noise**2 * photons)
    return Trial(turn, errors, np.ones((8, 8), np.complex64))


def test_orientations_that_explain_alike_leave_it_undecided() -> None:
    trials = [_trial(turn, 0.2 + 0.001 * number) for number, turn in enumerate(TURNS)]
    assert Orientation(trials, Turn()).verdict().startswith("undecided")


def test_of_two_conjugate_objects_the_given_one_is_taken() -> None:
    errors = {Turn(flip_rows=True, flip_columns=True): 0.100, Turn(): 0.101}
    trials = [_trial(turn, errors.get(turn, 0.3)) for turn in TURNS]
    found = Orientation(sorted(trials, key=lambda one: one.fourier_error), Turn())
    assert found.is_clear
    assert found.best.turn == Turn()


def test_noise_that_all_share_does_not_hide_a_difference() -> None:
    trials = [_trial(turn, 0.180, noise=0.16) for turn in TURNS[1:]]
    found = Orientation([_trial(TURNS[0], 0.172, noise=0.16), *trials], Turn(), 1.0)
    assert found.is_clear
    assert not Orientation([_trial(TURNS[0], 0.172), *(_trial(one.turn, 0.180) for one in trials)], Turn()).is_clear


def test_a_difference_that_chance_makes_decides_nothing() -> None:
    first, others = _trial(Turn(), 0.17, noise=0.16), [_trial(turn, 0.18, noise=0.16) for turn in TURNS[1:]]
    scatter = np.tile([-4.0, 4.0], 8)
    uncertain = replace(first, errors=replace(first.errors, misfit=first.errors.misfit + scatter))
    assert Orientation([first, *others], Turn(), 1.0).is_clear
    found = Orientation([uncertain, *others], Turn(), 1.0)
    assert not found.is_clear
    assert "photon noise is most of every error" in found.verdict()


def test_noise_that_is_unknown_is_said_to_be() -> None:
    found = Orientation([_trial(turn, 0.2) for turn in TURNS], Turn(), None)
    assert "--counts_per_photon" in found.verdict()


def _is_found(scan: Path, settings: Any, to: Path, *, with_probe: bool) -> bool:
    turn = Turn(False, True, False)
    found = find_orientation(turned(scan, to, turn, with_probe=with_probe), ScanOptions(), settings)
    return found.is_clear and same_object(composed(turn, found.best.turn), Turn())


def test_two_modes_and_few_photons_are_enough(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5", n_patterns=120, photons=1500, n_modes=2)
    settings = (replace(SETTINGS[0], n_modes=2), *SETTINGS[1:])
    assert _is_found(scan, settings, tmp_path / "turned.h5", with_probe=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize("with_probe", [True, False])
@pytest.mark.parametrize("n_modes", [1, 2])
@pytest.mark.parametrize("photons", [1e6, 1e5, 2e4, 5e3])
@pytest.mark.parametrize("kind", ["camera", "weak"])
def test_few_photons_are_enough(kind: str, photons: float, n_modes: int, with_probe: bool, tmp_path: Path) -> None:
    weak = {"phase_picture": "grass", "amplitude_picture": "moon", "phase_range_rad": 0.8, "step_px": 6.0}
    picture: dict[str, Any] = weak | {"seed": 3, "pupil_radius": 0.15} if kind == "weak" else {}
    size: dict[str, Any] = {"n_patterns": 300, "N": 64, "defocus_m": 6e-5}
    scan = simulate_tiny(tmp_path / "scan.h5", photons=photons, n_modes=n_modes, **(size | picture))
    settings = (DataConfig(N=64, n_modes=n_modes), *SETTINGS[1:])
    is_too_dim = (kind, photons, n_modes) == ("weak", 5e3, 2)  # the only one that is left undecided
    assert _is_found(scan, settings, tmp_path / "turned.h5", with_probe=with_probe) != is_too_dim


@pytest.mark.parametrize("photons", [1e5, 1000.0])
def test_positions_in_a_wrong_order_are_not_decided(photons: float, tmp_path: Path) -> None:
    path = simulate_tiny(tmp_path / "scan.h5", n_patterns=120, photons=photons)
    with h5py.File(path, "a") as file:
        file["positions_px"][:] = np.random.default_rng(0).permutation(file["positions_px"][:])
    assert not find_orientation(path, ScanOptions(), SETTINGS).is_clear


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
