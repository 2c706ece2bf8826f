"""What `ptycho-dist doctor` examines, and how it reports."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators

LAUNCHERS = ("srun", "torchrun", "mpirun", None)


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Under which launcher to examine, and the form of the report."""

    under: str | None = None
    """Start the examination under this launcher: srun, torchrun or mpirun; as it is where not set."""

    ranks: int = 2
    """Ranks to start under that launcher."""

    json: bool = False
    """Report as JSON, with all facts."""

    def __post_init__(self) -> None:
        validators.require_choice("doctor.under", self.under, LAUNCHERS)
        validators.require_int("doctor.ranks", self.ranks, 1)
        validators.require_bool("doctor.json", self.json)
