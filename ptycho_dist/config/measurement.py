"""How patterns came about, and what of it is known or fitted: one description for every stage."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators
from ptycho_dist.config.plausibility import require_possible
from ptycho_dist.config.scan_options import ScanOptions

BACKGROUNDS = ("none", "uniform", "pixel")


@dataclass(frozen=True, kw_only=True)
class MeasurementConfig(ScanOptions):
    """How a scan is read, how its waves travel, and which parts of the model are fixed."""

    propagation: str = "far_field"
    """far_field, or near_field (angular spectrum; needs pixel size, energy and detector distance)."""

    source_distance_m: float | None = None
    """Near field in a cone beam: from source to object in metres; a parallel beam where not set."""

    probe_support_px: float | None = None
    """Diameter, in object pixels, of the disc in the middle of the frame outside which the probe is kept at zero."""

    n_modes: int | None = None
    """Incoherent probe modes; those of the scan or the start where not set. More are added, fitted ones orthogonal."""

    probe_trainable: bool = True
    """Fit the probe together with the object, from the supplied start; false keeps it, up to its scale."""

    background: str = "none"
    """Fitted counts that do not come from the object: none, uniform, or pixel (a value for each detector pixel)."""

    def __post_init__(self) -> None:
        ScanOptions.__post_init__(self)
        for name in ("source_distance_m", "probe_support_px"):
            validators.require_optional_positive(f"data.{name}", getattr(self, name))
        require_possible("data.source_distance_m", self.source_distance_m)
        validators.require_optional_int("data.n_modes", self.n_modes, 1)
        validators.require_bool("data.probe_trainable", self.probe_trainable)
        validators.require_choice("data.background", self.background, BACKGROUNDS)
