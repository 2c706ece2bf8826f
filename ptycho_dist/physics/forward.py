"""The forward model: probe times object, to the far field, as counts."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ptycho_dist.physics.probe import intensity_scale, probe_intensity
from ptycho_dist.physics.propagation import far_field_intensity


class ForwardModel(nn.Module):
    """Counts that an object patch scatters under the probe.

    The probe keeps the scale of the file; ``intensity_scale`` joins it to
    counts. Only what is trained is a parameter, the rest are buffers.

    Parameters
    ----------
    probe_PNN
        Supplied start of the probe modes, complex, shape (P, N, N).
    mean_counts
        Mean photons in a pattern.
    probe_trainable, scale_trainable
        What is trained.
    """

    def __init__(
        self, probe_PNN: Complex[Tensor, "P N N"], mean_counts: float, *, probe_trainable: bool, scale_trainable: bool
    ) -> None:
        super().__init__()
        scale = torch.tensor(intensity_scale(probe_PNN, mean_counts)).log()
        self._add("probe_parts", torch.view_as_real(probe_PNN).clone(), trainable=probe_trainable)
        self._add("log_scale", scale, trainable=scale_trainable)

    probe_parts: Tensor
    log_scale: Tensor

    def _add(self, name: str, value: Tensor, *, trainable: bool) -> None:
        if trainable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @property
    def probe(self) -> Complex[Tensor, "P N N"]:
        """Probe modes in the scale of the file."""
        return torch.view_as_complex(self.probe_parts)

    @property
    def scaled_probe(self) -> Complex[Tensor, "P N N"]:
        """Probe modes whose far field squares to counts."""
        return self.probe * self.log_scale.exp()

    def overlap_weight(self) -> Float[Tensor, "N N"]:
        """How much a pattern knows of each object pixel: probe intensity, at most 1, never 0."""
        intensity = probe_intensity(self.probe.detach())
        return intensity / intensity.max() + _FLOOR

    def forward(self, objects_BNN: Complex[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
        """Modelled counts, DC at the centre, of object patches."""
        return far_field_intensity(self.scaled_probe[:, None] * objects_BNN)


_FLOOR = 1e-3
