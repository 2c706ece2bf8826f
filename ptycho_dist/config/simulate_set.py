"""What `ptycho-dist simulate FOLDER --n_scans` makes: many scans that differ, to train one network on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ptycho_dist.config import validators
from ptycho_dist.config.simulate import PICTURES
from ptycho_dist.errors import ConfigError


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
