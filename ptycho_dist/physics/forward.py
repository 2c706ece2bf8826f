"""The forward model: probe times object, to the far field, as counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.probe import disc, intensity_scale, probe_intensity
from ptycho_dist.physics.propagation import far_field_intensity

_BACKGROUND_START = 0.03
"""Square root of the background at the start, relative to the mean counts of a pixel."""
_FLOOR = 1e-3


@dataclass(frozen=True, kw_only=True)
class OpticsOptions:
    """What of the physics is trained, and what is known of it.

    Parameters
    ----------
    probe_trainable, scale_trainable
        Whether the probe, and the scale between modelled and measured intensity, are trained.
    support_px
        Diameter of the disc outside which the probe is zero; None where it may be anywhere.
    probe_mask_NN
        Where the probe may differ from zero, bool, shape (N, N), besides; None where anywhere.
    background
        Counts that do not come from the object: none, uniform, or one value for each pixel.
    """

    probe_trainable: bool = False
    scale_trainable: bool = False
    support_px: float | None = None
    probe_mask_NN: Bool[Tensor, "N N"] | None = None
    background: str = "none"


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
    optics
        What is trained.

    Raises
    ------
    PhysicsError
        If nothing of the probe lies within its support.
    """

    def __init__(self, probe_PNN: Complex[Tensor, "P N N"], mean_counts: float, optics: OpticsOptions) -> None:
        super().__init__()
        N = probe_PNN.shape[-1]
        support = _support(optics, N)
        probe = probe_PNN if support is None else _within(probe_PNN, support)
        self.register_buffer("support", support, persistent=False)
        self._add("probe_parts", torch.view_as_real(probe).clone(), trainable=optics.probe_trainable)
        scale = torch.tensor(intensity_scale(probe, mean_counts)).log()
        self._add("log_scale", scale, trainable=optics.scale_trainable)
        self._counts_per_pixel = mean_counts / N**2
        self.register_parameter("background_root", _background_start(optics.background, N))
        self.register_parameter("scan_log_scales", None)

    probe_parts: Tensor
    log_scale: Tensor
    support: Tensor | None
    background_root: nn.Parameter | None
    scan_log_scales: nn.Parameter | None

    def add_scan_scales(self, n_scans: int) -> None:
        """Train a factor on the scale of each scan of a set; its logarithm, 0 at the start."""
        self.scan_log_scales = nn.Parameter(torch.zeros(n_scans))

    def _add(self, name: str, value: Tensor, *, trainable: bool) -> None:
        if trainable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @property
    def probe(self) -> Complex[Tensor, "P N N"]:
        """Probe modes in the scale of the file, zero outside their support."""
        probe = torch.view_as_complex(self.probe_parts)
        return probe if self.support is None else probe * self.support

    @property
    def scaled_probe(self) -> Complex[Tensor, "P N N"]:
        """Probe modes whose far field squares to counts."""
        return self.probe * self.log_scale.exp()

    @property
    def background(self) -> Float[Tensor, "N N"] | None:
        """Counts in each pixel that do not come from the object, never negative; zero frequency at the corner.

        In the order of a Fourier transform, as in :class:`~ptycho_dist.physics.patterns.Patterns`.
        """
        if self.background_root is None:
            return None
        counts = self.background_root.square() * self._counts_per_pixel
        return torch.fft.ifftshift(counts) if counts.ndim else counts.expand(self.probe_parts.shape[-3:-1])

    def overlap_weight(self) -> Float[Tensor, "N N"]:
        """How much a pattern knows of each object pixel: probe intensity, at most 1, never 0."""
        intensity = probe_intensity(self.probe.detach())
        return intensity / intensity.max() + _FLOOR

    def forward(self, objects_BNN: Complex[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
        """Modelled counts, DC at the centre, of object patches."""
        counts = far_field_intensity(self.scaled_probe[:, None] * objects_BNN)
        return counts if self.background is None else counts + torch.fft.fftshift(self.background)


def _background_start(kind: str, N: int) -> nn.Parameter | None:
    if kind == "none":
        return None
    return nn.Parameter(torch.full(() if kind == "uniform" else (N, N), _BACKGROUND_START))


def _support(optics: OpticsOptions, N: int) -> Tensor | None:
    """Where the probe may differ from zero: disc and mask, where both are given the pixels of both."""
    inside = None if optics.support_px is None else disc(N, optics.support_px)
    mask = optics.probe_mask_NN
    return inside if mask is None else mask if inside is None else mask & inside.to(mask.device)


def _within(probe_PNN: Tensor, support_NN: Tensor) -> Tensor:
    """Cut a probe to its support."""
    inside = probe_PNN * support_NN.to(probe_PNN.device)
    if not float(probe_intensity(inside).sum()) > 0:
        msg = (
            f"the support of the probe holds {int(support_NN.sum())} pixels and none of the supplied probe's energy; "
            "expected some. Enlarge model.probe_support_px or probe_mask in the scan file, or centre the probe."
        )
        raise PhysicsError(msg)
    return inside
