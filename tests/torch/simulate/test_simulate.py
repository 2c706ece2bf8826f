"""Simulated scans: known object, right physics, right noise, same file for the same seed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.config.simulate import PICTURES, SimulateConfig
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.simulate.objects import PictureObject, picture
from ptycho_dist.simulate.probes import ZonePlate, incoherent_modes
from ptycho_dist.simulate.run import fermat_spiral, simulate

PLATE = ZonePlate(pupil_radius=0.2, central_stop=0.25, defocus_m=1.2e-4, pixel_size_m=2e-8, energy_eV=8e3)


def _config(tmp_path: Path, **changes: Any) -> SimulateConfig:
    settings: dict[str, Any] = {"output_file": tmp_path / "s.h5", "n_patterns": 80, "N": 32, "defocus_m": 2e-5}
    return SimulateConfig(**(settings | changes))


def test_simulated_patterns_follow_the_stored_object_and_probe(tmp_path: Path) -> None:
    scan = open_scan(simulate(_config(tmp_path, jitter_px=0.0, n_modes=2, photons=1e7)))
    assert scan.object_ is not None
    assert scan.probe is not None
    assert scan.object_origin_px is not None
    corner = scan.positions_px[0] - scan.object_origin_px
    assert corner == pytest.approx(np.rint(corner)), "the first point of the spiral lies on whole pixels"
    y, x = np.rint(corner).astype(int)
    waves = np.fft.fftshift(np.fft.fft2(scan.probe * scan.object_[y : y + 32, x : x + 32], norm="ortho"), axes=(1, 2))
    expected = (np.abs(waves) ** 2).sum(0)
    noise = (scan.read_patterns(np.array([0]))[0] - expected) / np.sqrt(np.maximum(expected, 1))
    assert np.abs(noise[expected > 20]).max() < 6
    assert noise[expected > 20].std() == pytest.approx(1.0, abs=0.1)


def test_simulated_header_and_truth(tmp_path: Path) -> None:
    scan = open_scan(simulate(_config(tmp_path, photons=2e5)))
    header = scan.header
    assert (header.n_patterns, header.N, header.n_modes, header.units_known) == (80, 32, 1, True)
    assert 0.3 * 2e5 < header.mean_counts < 2e5
    assert scan.object_ is not None
    assert scan.probe is not None
    assert (np.abs(scan.probe) ** 2).sum() == pytest.approx(2e5, rel=1e-4)
    assert scan.object_origin_px is not None
    index = scan.positions_px - scan.object_origin_px
    assert index.min() >= 0
    assert (index.max(axis=0) + 32 + 1 <= scan.object_.shape).all()


def test_simulation_repeats_with_the_seed_only(tmp_path: Path) -> None:
    rows = np.arange(80)
    first = open_scan(simulate(_config(tmp_path))).read_patterns(rows)
    again = open_scan(simulate(_config(tmp_path, output_file=tmp_path / "t.h5"))).read_patterns(rows)
    other = open_scan(simulate(_config(tmp_path, seed=1))).read_patterns(rows)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_probe_energy_lies_in_an_annulus_and_widens_out_of_focus() -> None:
    probe = PLATE.probe(64)
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(probe))) ** 2
    radius = np.hypot(*np.mgrid[-32:32, -32:32])
    inside = (radius < 0.2 * 64 + 1) & (radius > 0.25 * 0.2 * 64 - 1)
    assert spectrum[inside].sum() / spectrum.sum() > 0.999
    focus = ZonePlate(pupil_radius=0.2, central_stop=0.25, defocus_m=0, pixel_size_m=2e-8, energy_eV=8e3).probe(64)
    widths = [(np.abs(wave) ** 2 > 0.1 * (np.abs(wave) ** 2).max()).sum() for wave in (focus, probe)]
    assert widths[1] > 4 * widths[0]


def test_modes_are_orthogonal_with_falling_energy() -> None:
    modes = incoherent_modes(PLATE.probe(64), 3).reshape(3, -1)
    gram = modes @ modes.conj().T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-12)
    np.testing.assert_allclose(np.diag(gram).real, np.array([1, 0.1, 0.01]) / 1.11)


def test_fermat_spiral_fills_a_square_evenly() -> None:
    points = fermat_spiral(1000, 4.5, 0.0, np.random.default_rng(0))
    side = 4.5 * np.sqrt(1000)
    assert np.abs(points).max() == pytest.approx(side / 2, rel=0.05)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(1000)
    assert np.percentile(distance.min(axis=1), 1) > 0.8 * 4.5


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_need_no_download(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = picture(name, (40, 30))
    assert values.shape == (40, 30)
    assert (values.min(), values.max()) == (0, 1)


def test_object_has_the_asked_ranges() -> None:
    made = PictureObject(amplitude="coins", phase="camera", amplitude_min=0.6, phase_range_rad=1.5).make((50, 60))
    assert np.abs(made).min() == pytest.approx(0.6, abs=1e-6)
    assert np.abs(made).max() == pytest.approx(1.0, abs=1e-6)
    assert np.ptp(np.angle(made)) == pytest.approx(1.5, abs=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_patterns", 0), ("photons", -1.0), ("pupil_radius", 0.6), ("phase_picture", "cat"), ("amplitude_min", 1.0)],
)
def test_config_refuses_bad_values(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"simulate.{field}"):
        _config(tmp_path, **{field: value})
