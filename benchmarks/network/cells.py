"""Scans of the matrix: few to many photons, dense to sparse steps, three objects of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ptycho_dist

DOSES = (1e2, 1e3, 1e4, 1e5)
"""Photons in a frame."""
STEPS = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Distance of patterns in percent of the diameter that 90 % of the probe's power lies in."""
OBJECTS = {"moon": ("moon", "camera"), "astronaut": ("astronaut", "brick"), "coins": ("coins", "gravel")}
"""Pictures of phase and amplitude."""
_DIAMETER_PX = 21.6
"""Of the probe of ``simulate`` at 64 pixels."""
_N_PATTERNS = 100


@dataclass(frozen=True)
class Cell:
    """A scan.

    Parameters
    ----------
    photons
        In a frame.
    step_percent
        Distance of patterns over the diameter of the probe.
    object_name
        Which of ``OBJECTS``.
    """

    photons: float
    step_percent: float
    object_name: str

    @property
    def name(self) -> str:
        """Name for files."""
        return f"{self.object_name}-{self.photons:g}-{self.step_percent:g}"

    def simulate(self, path: Path) -> None:
        """Write it, with the true probe as the supplied one."""
        phase, amplitude = OBJECTS[self.object_name]
        ptycho_dist.simulate_scan(
            path,
            overwrite=True,
            N=64,
            n_patterns=_N_PATTERNS,
            photons=self.photons,
            step_px=self.step_percent / 100 * _DIAMETER_PX,
            phase_picture=phase,
            amplitude_picture=amplitude,
        )


def all_cells(doses: tuple[float, ...], steps: tuple[float, ...], objects: tuple[str, ...]) -> list[Cell]:
    """Cells of the matrix, object by object."""
    return [Cell(photons, step, name) for name in objects for photons in doses for step in steps]
