"""Simulated sets: scans that differ, the same files on any number of ranks, an index that comes last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.config.simulate import SetConfig, SimulateConfig
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.data.set_index import INDEX_NAME, read_index
from ptycho_dist.distributed.rank_group import RankGroup
from ptycho_dist.errors import ConfigError, OtherRankError
from ptycho_dist.simulate import sets
from ptycho_dist.simulate.objects import picture
from ptycho_dist.simulate.probes import aberrated, incoherent_modes
from ptycho_dist.simulate.run import make_probe, simulate
from ptycho_dist.simulate.sets import scans_of
from tests.support.scans import make_scan, write_tike
from tests.support.sets import BASE, simulate_small_set
from tests.support.threads import on_ranks
from tests.torch.simulate.test_simulate import PLATE


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("world", [2, 3, 5])
def test_set_has_the_same_bytes_for_any_number_of_ranks(tmp_path: Path, world: int) -> None:
    alone = contents(simulate_small_set(tmp_path / "alone"))
    ended = on_ranks(world, lambda ranks: simulate_small_set(tmp_path / "shared", ranks=ranks))
    assert ended == [tmp_path / "shared"] * world
    assert contents(tmp_path / "shared") == alone
    assert sorted(alone) == ["scan-0.h5", "scan-1.h5", "scan-2.h5", INDEX_NAME]


def test_scans_of_a_set_are_ordinary_scans_that_differ(tmp_path: Path) -> None:
    with open_set(simulate_small_set(tmp_path / "set")) as scans:
        opened = [scans.scan(number) for number in range(3)]
        assert len({scan.header.checksum for scan in opened}) == 3
        assert len({round(scan.header.mean_counts) for scan in opened}) == 3
        probes = [np.abs(scan.probe[0]) / np.abs(scan.probe[0]).max() for scan in opened if scan.probe is not None]
        assert np.abs(probes[0] - probes[1]).max() > 0.05
        assert open_scan(tmp_path / "set" / "scan-1.h5").header == opened[1].header


def test_each_scan_of_a_set_can_be_simulated_alone(tmp_path: Path) -> None:
    folder = simulate_small_set(tmp_path / "set")
    config = scans_of(SimulateConfig(output_file=tmp_path / "alone", **BASE), SetConfig(n_scans=3))[2]
    assert simulate(config).read_bytes() == (folder / "scan-2.h5").read_bytes()


def test_draws_stay_within_their_factors_and_repeat_with_the_seed() -> None:
    base = SimulateConfig(output_file=Path("set"), amplitude_min=0.4, aberration_rad=1.0)
    recipe = SetConfig(n_scans=200, pictures=("moon", "page"), photons_factor=5.0, step_factor=1.2)
    drawn = scans_of(base, recipe)
    assert drawn == scans_of(base, recipe)
    photons = np.array([one.photons / base.photons for one in drawn])
    steps = np.array([one.step_px / base.step_px for one in drawn])
    assert (photons.min(), photons.max()) == (pytest.approx(1 / 5, rel=0.2), pytest.approx(5, rel=0.2))
    assert 1 / 1.2 <= steps.min() < 0.9 < 1.1 < steps.max() <= 1.2
    assert {one.phase_picture for one in drawn} == {"moon", "page"}
    assert all(one.phase_picture != one.amplitude_picture for one in drawn)
    assert max(one.aberration_rad for one in drawn) <= 1.0
    assert len({one.seed for one in drawn}) == 200


def test_factor_of_one_leaves_a_quantity_alone() -> None:
    base = SimulateConfig(output_file=Path("set"))
    recipe = SetConfig(n_scans=3, photons_factor=1.0, step_factor=1.0, depth_factor=1.0, probe_factor=1.0)
    for one in scans_of(base, recipe):
        same = ("photons", "step_px", "phase_range_rad", "amplitude_min", "pupil_radius", "defocus_m")
        assert [getattr(one, name) for name in same] == pytest.approx([getattr(base, name) for name in same])


def test_set_whose_rank_fails_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = simulate_small_set(tmp_path / "set")
    write = sets.simulate

    def fail(config: SimulateConfig, ranks: RankGroup) -> Path:
        if config.output_file.name == "scan-2.h5":
            msg = "a full disk"
            raise OSError(msg)
        return write(config, ranks)

    monkeypatch.setattr(sets, "simulate", fail)
    ended = on_ranks(2, lambda ranks: simulate_small_set(tmp_path / "set", ranks=ranks))
    assert [type(one) for one in ended] == [OtherRankError, OSError]
    assert not (folder / INDEX_NAME).exists()


def test_settings_that_a_drawn_scan_cannot_have_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"simulate\.pupil_radius"):
        simulate_small_set(tmp_path / "set", n_scans=20, pupil_radius=0.45)
    assert not (tmp_path / "set").exists()


def test_probe_is_taken_from_a_scan_file(tmp_path: Path) -> None:
    source = write_tike(tmp_path / "source.npz", make_scan(N=32, n_modes=2))
    config = SimulateConfig(output_file=tmp_path / "s.h5", probe_file=source, n_modes=2, **BASE)
    probe, supplied = open_scan(simulate(config)).probe, open_scan(source).probe
    assert probe is not None
    assert supplied is not None
    np.testing.assert_allclose(probe / np.linalg.norm(probe), supplied / np.linalg.norm(supplied), atol=1e-6)
    assert (np.abs(probe) ** 2).sum() == pytest.approx(BASE["photons"], rel=1e-5)


@pytest.mark.parametrize(("changes", "words"), [({"n_modes": 3}, "holds 2 probe modes"), ({"N": 64}, "of 32 pixels")])
def test_probe_file_that_does_not_suit_is_refused(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    source = write_tike(tmp_path / "source.npz", make_scan(N=32, n_modes=2))
    config = SimulateConfig(output_file=tmp_path / "s.h5", probe_file=source, **(BASE | changes))
    with pytest.raises(ConfigError, match=rf"simulate\.probe_file = .*{words}"):
        simulate(config)


def test_aberrations_have_the_asked_strength_and_keep_modes_orthogonal() -> None:
    modes = incoherent_modes(PLATE.probe(64), 2)
    changed = aberrated(modes, 0.8, np.random.default_rng(3))
    spectrum, other = np.fft.fft2(modes[0]), np.fft.fft2(changed[0])
    light = (np.abs(np.fft.fft2(modes)) ** 2).sum(axis=0)
    inside = light > 1e-6 * light.max()
    np.testing.assert_allclose(np.abs(other), np.abs(spectrum), atol=1e-9)
    smooth = np.angle(other[inside] / spectrum[inside])
    weight = light[inside] / light[inside].sum()
    assert np.sqrt((weight * smooth**2).sum()) == pytest.approx(0.8, rel=0.2)
    assert abs(np.vdot(changed[0], changed[1])) < 1e-9
    assert np.linalg.norm(changed) == pytest.approx(np.linalg.norm(modes))


def test_aberrations_differ_with_the_seed(tmp_path: Path) -> None:
    config = SimulateConfig(output_file=tmp_path / "s.h5", aberration_rad=0.5, **BASE)
    other = SimulateConfig(output_file=tmp_path / "s.h5", aberration_rad=0.5, seed=1, **BASE)
    assert np.array_equal(make_probe(config), make_probe(config))
    assert np.abs(make_probe(config) - make_probe(other)).max() > 0.05 * np.abs(make_probe(config)).max()


def test_picture_seed_gives_another_part_of_the_picture() -> None:
    parts = [picture("camera", (40, 50), np.random.default_rng(seed)) for seed in (0, 1, 2)]
    assert all((part.shape, part.min(), part.max()) == ((40, 50), 0, 1) for part in parts)
    assert all(np.corrcoef(parts[0].ravel(), other.ravel())[0, 1] < 0.9 for other in parts[1:])
    np.testing.assert_array_equal(parts[1], picture("camera", (40, 50), np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--photons_factor", "3"], "set.photons_factor = 3.0 without set.n_scans"),
        (["--n_scans", "2", "--pictures", "[cat]"], "set.pictures = ('cat',)"),
        (["--n_scans", "2", "--step_factor", "0.5"], "set.step_factor = 0.5; expected a factor >= 1"),
    ],
)
def test_wrong_settings_of_a_set_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["simulate", str(tmp_path / "set.h5"), *arguments, "--quiet"]) == 2
    assert words in capsys.readouterr().err


def test_recipe_of_a_set_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("simulate: {n_patterns: 4, N: 16}\nset: {n_scans: 2, pictures: [moon, page], photons_factor: 2}\n")
    assert main(["simulate", str(tmp_path / "set"), "--config", str(file), "--quiet"]) == 0
    assert [entry.n_patterns for entry in read_index(tmp_path / "set")] == [4, 4]
