"""Probes from a few numbers of the optics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptycho_dist.config.probe_choice import AUTO, KINDS
from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.start_probes.frame import _BUILDERS, ProbeFrame, build
from ptycho_dist.simulate.probes import ZonePlate

N, PIXEL, ENERGY = 128, 20e-9, 8800.0


def frame(**changes: object) -> ProbeFrame:
    given: dict[str, object] = {"N": N, "pixel_size_m": PIXEL, "energy_eV": ENERGY, "mean_NN": np.ones((N, N))}
    return ProbeFrame(**(given | changes))  # type: ignore[arg-type]


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two waves, 1 where they are the same up to a factor."""
    return float(abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other))


def full_width(profile: np.ndarray) -> float:
    above = np.flatnonzero(profile >= profile.max() / 2)
    return float(len(above))


def test_every_kind_that_can_be_named_can_be_built() -> None:
    assert set(_BUILDERS.entries()) == set(KINDS) - {AUTO}


@pytest.mark.parametrize("defocus_m", [0.0, 1.2e-4, -2e-4])
def test_a_zone_plate_is_that_of_the_simulator_in_focus_and_out_of_it(defocus_m: float) -> None:
    zone, stop = PIXEL / (2 * 0.2), 0.25
    numbers = {"diameter_m": 1e-4, "outermost_zone_m": zone, "central_stop_m": stop * 1e-4, "defocus_m": defocus_m}
    made = build("zone_plate", frame(), numbers)
    plate = ZonePlate(
        pupil_radius=0.2, central_stop=stop, defocus_m=defocus_m, pixel_size_m=PIXEL, energy_eV=ENERGY
    ).probe(N)
    assert made.curvature is not None
    assert alike(made.wave(made.curvature), plate) > 0.9999
    if defocus_m:
        assert alike(made.wave(-made.curvature), plate) < 0.9


def test_a_pinhole_in_contact_is_a_disc() -> None:
    made = build("pinhole", frame(), {"diameter_m": 40 * PIXEL})
    wave = np.abs(made.wave(0.0))
    assert made.curvature == 0
    assert full_width(wave[N // 2]) == pytest.approx(40, abs=1)
    assert full_width(wave[:, N // 2]) == pytest.approx(40, abs=1)


def test_a_focus_of_mirrors_has_its_widths() -> None:
    made = build("gaussian", frame(), {"fwhm_m": 12 * PIXEL, "fwhm_x_m": 30 * PIXEL})
    intensity = np.abs(made.wave(0.0)) ** 2
    assert full_width(intensity[:, N // 2]) == pytest.approx(12, abs=1)
    assert full_width(intensity[N // 2]) == pytest.approx(30, abs=1)


def test_an_electron_probe_has_the_relativistic_wavelength() -> None:
    """2.508 pm at 200 keV (Kirkland, Advanced Computing in Electron Microscopy, Table 2.2)."""
    at_200_keV = frame(energy_eV=2e5, pixel_size_m=2e-11)
    assert at_200_keV.wavelength_m(is_electron=True) == pytest.approx(2.508e-12, rel=1e-3)
    made = build("electron", at_200_keV, {"semi_angle_rad": 0.02})
    radius = math.sqrt(np.abs(made.spectrum_NN).sum() / math.pi) / N
    assert radius == pytest.approx(0.02 / 2.508e-12 * 2e-11, rel=0.02)


def test_spherical_aberration_widens_the_focus() -> None:
    at_200_keV = frame(energy_eV=2e5, pixel_size_m=2e-11)
    sharp, wide = (
        np.abs(build("electron", at_200_keV, {"semi_angle_rad": 0.02, "spherical_aberration_m": cs}).wave(0.0)).max()
        for cs in (0.0, 1e-3)
    )
    assert wide < 0.8 * sharp


def test_the_mean_pattern_is_the_light_of_the_probe() -> None:
    mean = np.random.default_rng(0).uniform(0, 9, (N, N))
    made = build("mean_pattern", frame(mean_NN=mean, energy_eV=math.nan), {})
    light = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(made.wave(30.0))))) ** 2
    np.testing.assert_allclose(light / light.sum(), mean / mean.sum(), atol=1e-12)
    assert made.curvature is None


@pytest.mark.parametrize(
    ("kind", "numbers", "changes", "said"),
    [
        ("zone_plate", {"diameter_m": 1e-4, "outermost_zone_m": 1e-9}, {}, "fills 2.56e"),
        ("pinhole", {"diameter_m": 1e-3}, {}, "5e.04 object pixels wide"),
        ("gaussian", {"fwhm_m": 1e-12}, {}, "between a pixel and the frame"),
        ("electron", {"semi_angle_rad": 0.02}, {"energy_eV": math.nan}, "needs energy_eV"),
        ("mean_pattern", {"defocus_m": 1e-4}, {"pixel_size_m": math.nan}, "needs pixel_size_m"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(
    kind: str, numbers: dict[str, float], changes: dict[str, float], said: str
) -> None:
    with pytest.raises(PhysicsError, match=said):
        build(kind, frame(**changes), numbers)
