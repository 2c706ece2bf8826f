"""The optics of one scan as a module: probe, intensity scale and background, trained or fixed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from ptycho_dist.errors import PhysicsError
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.probe import disc, intensity_scale, probe_intensity
from ptycho_dist.physics.propagators import Propagator, make_propagator
from ptycho_dist.types import FAR_FIELD, Propagation

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
    propagation
        From the object to the detector.
    """

    probe_trainable: bool = False
    scale_trainable: bool = False
    support_px: float | None = None
    probe_mask_NN: Bool[Tensor, "N N"] | None = None
    background: str = "none"
    propagation: Propagation = FAR_FIELD


class Optics(nn.Module):
    """Holds what the forward model of one scan is made of.

    The probe keeps the scale of the file; ``intensity_scale`` joins it to
    counts. Only what is trained is a parameter, the rest are buffers.

    Parameters
    ----------
    probe_PNN
        Supplied start of the probe modes, complex, shape (P, N, N).
    mean_counts
        Mean photons in a pattern.
    options
        What is trained.

    Raises
    ------
    PhysicsError
        If nothing of the probe lies within its support.
    """

    def __init__(self, probe_PNN: Complex[Tensor, "P N N"], mean_counts: float, options: OpticsOptions) -> None:
        super().__init__()
        N = probe_PNN.shape[-1]
        support = support_of(N, options.support_px, options.probe_mask_NN)
        self.propagation = options.propagation
        probe = probe_PNN if support is None else within_support(probe_PNN, support)
        self.register_buffer("support", support, persistent=False)
        self._add("probe_parts", torch.view_as_real(probe).clone(), trainable=options.probe_trainable)
        scale = torch.tensor(intensity_scale(probe, mean_counts)).log()
        self._add("log_scale", scale, trainable=options.scale_trainable)
        self._counts_per_pixel = mean_counts / N**2
        self.register_parameter("background_root", _background_start(options.background, N))
        self.register_parameter("scan_log_scales", None)
        self._propagator: tuple[tuple[torch.device, torch.dtype], Propagator] | None = None

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
        """Probe modes whose propagated waves square to counts."""
        return self.probe * self.log_scale.exp()

    @property
    def background(self) -> Float[Tensor, "N N"] | None:
        """Counts in each pixel that do not come from the object, never negative; in detector order."""
        if self.background_root is None:
            return None
        counts = self.background_root.square() * self._counts_per_pixel
        return self.propagator.arrange(counts) if counts.ndim else counts.expand(self.probe_parts.shape[-3:-1])

    @property
    def propagator(self) -> Propagator:
        """Propagator on the device and in the precision of the probe."""
        like = torch.view_as_complex(self.probe_parts.detach())
        if self._propagator is None or self._propagator[0] != (like.device, like.dtype):
            made = make_propagator(self.propagation, like.shape[-1], like)
            self._propagator = (like.device, like.dtype), made
        return self._propagator[1]

    @property
    def forward_model(self) -> ForwardModel:
        """From object patches to counts."""
        return ForwardModel(self.scaled_probe, self.propagator, self.background)

    def overlap_weight(self) -> Float[Tensor, "N N"]:
        """How much a pattern knows of each object pixel: probe intensity, at most 1, never 0."""
        intensity = probe_intensity(self.probe.detach())
        return intensity / intensity.max() + _FLOOR


def _background_start(kind: str, N: int) -> nn.Parameter | None:
    if kind == "none":
        return None
    return nn.Parameter(torch.full(() if kind == "uniform" else (N, N), _BACKGROUND_START))


def support_of(N: int, diameter_px: float | None, probe_mask_NN: Tensor | None) -> Bool[Tensor, "N N"] | None:
    """Where a probe may differ from zero: disc and mask, where both are given the pixels of both; None for anywhere."""
    inside = None if diameter_px is None else disc(N, diameter_px)
    if probe_mask_NN is None or inside is None:
        return probe_mask_NN if inside is None else inside
    return probe_mask_NN & inside.to(probe_mask_NN.device)


def within_support(probe_PNN: Complex[Tensor, "P N N"], support_NN: Bool[Tensor, "N N"]) -> Complex[Tensor, "P N N"]:
    """Cut a probe to its support.

    Raises
    ------
    PhysicsError
        If nothing of the probe lies within it.
    """
    inside: Tensor = probe_PNN * support_NN.to(probe_PNN.device)
    if not float(probe_intensity(inside).sum()) > 0:
        msg = (
            f"the support of the probe holds {int(support_NN.sum())} pixels and none of the supplied probe's energy; "
            "expected some. Enlarge data.probe_support_px or probe_mask in the scan file, or centre the probe."
        )
        raise PhysicsError(msg)
    return inside
