"""What `ptycho-dist simulate` makes: a scan with a known object, or a set of scans that differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ptycho_dist.config import validators
from ptycho_dist.config.command_settings import ORDERS, SPATIAL
from ptycho_dist.config.plausibility import require_possible
from ptycho_dist.errors import ConfigError

PICTURES = ("astronaut", "brick", "camera", "coins", "grass", "gravel", "moon", "page", "text")

MAX_PHOTONS = 1e15
"""Photons in a frame beyond which float32 patterns and integer counts lose their meaning."""
MAX_OBJECT_PX = 16384
"""Side of the largest object that is simulated (about 2 GiB)."""


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """A simulated far-field scan: object from two pictures, zone-plate probe, Fermat spiral, Poisson noise."""

    output_file: Path
    """HDF5 file to write; it holds patterns, positions, probe and the true object."""

    n_patterns: int = 1000
    """Number of diffraction patterns."""

    N: int = 64
    """Detector pixels along one side of a pattern."""

    photons: float = 3e5
    """Photons that illuminate the object in one frame; the object absorbs some of them."""

    step_px: float = 4.5
    """Mean distance of neighbouring scan points in object pixels."""

    jitter_px: float = 0.5
    """Standard deviation of a random offset of each scan point, in object pixels."""

    pupil_radius: float = 0.2
    """Radius of the zone plate's aperture in the detector plane, as a share of N."""

    central_stop: float = 0.25
    """Radius of the central stop, as a share of the aperture's radius."""

    defocus_m: float = 1.2e-4
    """Distance from the focus to the object, in metres."""

    probe_file: Path | None = None
    """Scan file whose supplied probe takes the place of the zone plate's; its patterns are of N pixels, too."""

    aberration_rad: float = 0.0
    """Rms phase of random smooth aberrations of the probe in the detector plane, in radians; drawn with the seed."""

    n_modes: int = 1
    """Incoherent probe modes; each further one has a tenth of the energy of the one before."""

    phase_picture: str = "camera"
    """scikit-image picture that becomes the phase: astronaut, brick, camera, coins, grass, gravel, moon, page, text."""

    amplitude_picture: str = "coins"
    """scikit-image picture that becomes the amplitude; one of the same."""

    picture_seed: int | None = None
    """Seed of a random part, rotation and contrast of each picture; where not set, its middle, upright."""

    phase_range_rad: float = 1.5
    """Phase of the darkest to the brightest picture value spans 0 to this, in radians."""

    amplitude_min: float = 0.6
    """Amplitude of the darkest picture value; the brightest is 1."""

    pixel_size_m: float = 2e-8
    """Object pixel in metres."""

    energy_eV: float = 8000.0
    """Photon energy in electronvolts."""

    detector_distance_m: float = 2.0
    """Distance from object to detector in metres; metadata only."""

    seed: int = 0
    """Seed of scan points, noise and aberrations."""

    order: str = SPATIAL
    """Order in which patterns are stored: spatial (neighbours side by side) or as_measured. Numbers stay the same."""

    def __post_init__(self) -> None:
        validators.require_int("simulate.n_patterns", self.n_patterns, 1)
        validators.require_int("simulate.N", self.N, 16)
        validators.require_int("simulate.n_modes", self.n_modes, 1)
        validators.require_int("simulate.seed", self.seed, 0)
        validators.require_optional_int("simulate.picture_seed", self.picture_seed, 0)
        for name in ("photons", "step_px", "pixel_size_m", "energy_eV", "detector_distance_m"):
            validators.require_positive(f"simulate.{name}", getattr(self, name))
        for name in ("pixel_size_m", "energy_eV", "detector_distance_m"):
            require_possible(f"simulate.{name}", getattr(self, name))
        if self.photons < 1 or self.photons > MAX_PHOTONS:
            msg = (
                f"simulate.photons = {self.photons!r}; expected 1 to {MAX_PHOTONS:g} photons a frame. "
                "Change simulate.photons."
            )
            raise ConfigError(msg)
        _require_extent(self.n_patterns, self.step_px, self.N)
        for name in ("jitter_px", "phase_range_rad", "defocus_m", "aberration_rad"):
            validators.require_positive(f"simulate.{name}", getattr(self, name), zero_allowed=True)
        for name, top in (("pupil_radius", 0.5), ("central_stop", 1.0), ("amplitude_min", 1.0)):
            validators.require_positive(f"simulate.{name}", getattr(self, name), zero_allowed=name == "central_stop")
            if getattr(self, name) >= top:
                msg = (
                    f"simulate.{name} = {getattr(self, name)!r}; expected a number below {top}. Change simulate.{name}."
                )
                raise ConfigError(msg)
        validators.require_choice("simulate.order", self.order, ORDERS)
        for name in ("phase_picture", "amplitude_picture"):
            validators.require_choice(f"simulate.{name}", getattr(self, name), PICTURES)


def _require_extent(n_patterns: int, step_px: float, N: int) -> None:
    side = math.sqrt(n_patterns) * step_px + N
    if side > MAX_OBJECT_PX:
        msg = (
            f"simulate.n_patterns = {n_patterns} with simulate.step_px = {step_px} needs an object of about "
            f"{side:.0f} pixels a side; expected at most {MAX_OBJECT_PX}. Lower simulate.step_px or n_patterns."
        )
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """How the scans of a set differ from the one that the simulate section describes.

    A factor f lets a quantity lie anywhere between 1/f and f times that of the simulate section, evenly in
    its logarithm; a factor of 1 leaves it alone. Aberrations lie between none and simulate.aberration_rad.
    """

    n_scans: int | None = None
    """Scans of the set; where not set, one scan is simulated and no set."""

    pictures: tuple[str, ...] = PICTURES
    """scikit-image pictures from which the objects are drawn; a random part of each, turned at random."""

    photons_factor: float = 10.0
    """Factor between which the photons of scans vary."""

    step_factor: float = 1.3
    """Factor between which the scan steps vary."""

    depth_factor: float = 2.0
    """Factor between which the phase range, and the absorption (1 - amplitude_min), of objects vary."""

    probe_factor: float = 1.3
    """Factor between which aperture and defocus of the probes vary; unused with a probe_file."""

    def __post_init__(self) -> None:
        validators.require_optional_int("set.n_scans", self.n_scans, 1)
        self._check_pictures()
        for name in ("photons_factor", "step_factor", "depth_factor", "probe_factor"):
            validators.require_positive(f"set.{name}", getattr(self, name))
            if getattr(self, name) < 1:
                msg = f"set.{name} = {getattr(self, name)!r}; expected a factor >= 1. Change set.{name}."
                raise ConfigError(msg)
        if self.n_scans is None:
            self._refuse_unused()

    def _check_pictures(self) -> None:
        if not isinstance(self.pictures, tuple) or not self.pictures or set(self.pictures) - set(PICTURES):
            listed = ", ".join(PICTURES)
            msg = f"set.pictures = {self.pictures!r}; expected some of {listed}. Change set.pictures."
            raise ConfigError(msg)

    def _refuse_unused(self) -> None:
        """Refuse settings of a set where none is made."""
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if value != field.default:
                msg = (
                    f"set.{field.name} = {value!r} without set.n_scans; expected the number of scans too. Change "
                    "set.n_scans."
                )
                raise ConfigError(msg)
