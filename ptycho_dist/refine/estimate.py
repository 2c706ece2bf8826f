"""What is refined."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.physics.propagators import Propagator
from ptycho_dist.physics.sampling import participation
from ptycho_dist.physics.windows import Windows
from ptycho_dist.types import IntArray


def light_sums(light: Tensor) -> Tensor:
    """Sum of light, and of its square, float64, shape (2,)."""
    wide = light.double()
    return torch.stack([wide.sum(), wide.square().sum()])


@dataclass
class Estimate:
    """The unknowns of a scan; changed in place by the methods.

    Parameters
    ----------
    object_HW
        Transmission, complex, shape (H, W).
    probe_PNN
        Modes whose propagated waves square to counts, complex, shape (P, N, N).
    positions_px
        Patch corners (y, x) on the canvas, float64, shape (B, 2), on the CPU.
    flux_B
        Photons of each pattern's illumination over their mean, float64, shape (B,), on the CPU.
    background_NN
        Counts that do not come from the object, float, shape (N, N), in detector order; None without.
    body
        How patches are moved; None for what suits the device.
    """

    object_HW: Tensor
    probe_PNN: Tensor
    positions_px: Tensor
    flux_B: Tensor
    background_NN: Tensor | None = None
    body: Body | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All arrays by name."""
        named = {
            "object": self.object_HW,
            "probe": self.probe_PNN,
            "positions_px": self.positions_px,
            "flux": self.flux_B,
        }
        return named if self.background_NN is None else {**named, "background": self.background_NN}

    def forward_model(self, propagator: Propagator) -> ForwardModel:
        """Return the model from object patches to counts, at a flux of 1."""
        return ForwardModel(self.probe_PNN, propagator, self.background_NN)

    def windows(self) -> Windows:
        """Where all patterns are on the object."""
        return self.windows_at(self.positions_px)

    def windows_at(self, positions_px: Tensor) -> Windows:
        """Where patterns at some positions (B, 2) are on the object."""
        return Windows(positions_px, self.N, self.canvas_px, self.object_HW.device, self.body)

    def some(self, numbers: IntArray) -> Estimate:
        """Return that of some patterns, by ascending numbers; object, probe and background are shared with this."""
        return replace(self, positions_px=self.positions_px[numbers], flux_B=self.flux_B[numbers])

    def light(self) -> Tensor:
        """Sum the light of all patterns on the object, in counts, (H, W), at positions rounded to whole pixels."""
        rows, columns = self.canvas_px
        visits = torch.zeros(rows * columns, dtype=torch.float64)
        corner = self.positions_px.round().to(torch.int64)
        visits.index_add_(0, corner[:, 0] * columns + corner[:, 1], self.flux_B)
        intensity = probe_intensity(self.probe_PNN)
        spectrum = torch.fft.rfft2(visits.view(rows, columns))
        spectrum *= torch.fft.rfft2(intensity.double().cpu(), s=(rows, columns))
        spread = torch.fft.irfft2(spectrum, s=(rows, columns)).clamp_min_(0)
        found: Tensor = spread.to(intensity)
        return found

    def lit_pixels(self) -> float:
        """Participation number of the object's pixels by their light; 0 without any."""
        return participation(*light_sums(self.light()).tolist())

    def copy(self) -> Estimate:
        """Copy it, so that a change of the copy leaves this one alone."""
        background = None if self.background_NN is None else self.background_NN.clone()
        return replace(
            self,
            object_HW=self.object_HW.clone(),
            probe_PNN=self.probe_PNN.clone(),
            positions_px=self.positions_px.clone(),
            flux_B=self.flux_B.clone(),
            background_NN=background,
        )

    def dimmed(self, share: float) -> Estimate:
        """Copy it for patterns that have a share of its photons."""
        background = None if self.background_NN is None else self.background_NN * share
        return replace(self.copy(), probe_PNN=self.probe_PNN * math.sqrt(share), background_NN=background)

    def move(self, shifts_px: Tensor) -> None:
        """Shift the positions (B, 2), as far as the patches stay on the canvas."""
        most = torch.tensor(self.canvas_px, dtype=torch.float64) - self.N - 1
        self.positions_px = (self.positions_px + shifts_px).clamp_min(0).minimum(most)

    @property
    def canvas_px(self) -> tuple[int, int]:
        """Canvas rows and columns."""
        rows, columns = self.object_HW.shape
        return rows, columns

    @property
    def N(self) -> int:  # noqa: N802  # the letter of shapes
        """Detector pixels along one side."""
        return int(self.probe_PNN.shape[-1])
