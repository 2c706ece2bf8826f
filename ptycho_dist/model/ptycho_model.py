"""The network between two pieces of physics: back-projection before, forward model after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from ptycho_dist.model.features import FEATURES, bounded, exponential, features
from ptycho_dist.physics.epie_step import backproject, centre
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.optics import Optics
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at
from ptycho_dist.physics.probe import orthogonalise

OUTPUTS = 2
"""Real output channels: real and imaginary part of the change to the object patch."""


@dataclass(frozen=True, kw_only=True)
class PatchSizes:
    """What a network sees and predicts.

    Parameters
    ----------
    N
        Side of a pattern in pixels.
    field_px
        The network sees this central square of the N by N frame.
    output_px
        The network predicts this central square of it.
    patterns_per_sample
        Patterns that the network sees together, as channels.
    """

    N: int
    field_px: int
    output_px: int
    patterns_per_sample: int = 1


class PtychoModel(nn.Module):
    """Counts to object patches; patches to a canvas; a canvas to counts.

    Parameters
    ----------
    networks
        One for each stage; each maps (B, 6 G, field, field) to (B, 2 G, output, output), where G patterns are
        seen together.
    optics
        Probe, scale and background of the scan.
    sizes
        Sides of what is seen and predicted.
    mask_NN
        Valid detector pixels; None where all are.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        optics: Optics,
        sizes: PatchSizes,
        mask_NN: Bool[Tensor, "N N"] | None = None,
    ) -> None:
        super().__init__()
        self.networks, self.optics = nn.ModuleList(networks), optics
        self.sizes, self.N, self.field_px, self.output_px = sizes, sizes.N, sizes.field_px, sizes.output_px
        self.steps = nn.Parameter(torch.full((len(self.networks),), 0.3))
        self.register_buffer("mask", mask_NN)

    mask: Tensor | None

    def with_optics(self, optics: Optics, mask_NN: Bool[Tensor, "N N"] | None = None) -> PtychoModel:
        """Return the same network for another scan, with its probe and mask; weights are shared, not copied."""
        other = PtychoModel(tuple(self.networks), optics, self.sizes, mask_NN)
        other.steps = self.steps
        return other

    def predict(self, counts_BNN: Float[Tensor, "B N N"]) -> Complex[Tensor, "B n n"]:
        """Object patches of side ``output_px``, each from its own pattern, or from those it is seen together with.

        Each stage holds the present patch against the pattern and lets a
        network turn the correction that physics asks for into a better patch.
        Patterns that are seen together follow each other in ``counts_BNN``.
        """
        physics = self.optics.forward_model
        patterns, probe = Patterns.of(counts_BNN, physics.propagator, self.mask), physics.probe_PNN.detach()
        principal = orthogonalise(probe)[0]
        exponent = torch.zeros(len(counts_BNN), self.output_px, self.output_px, dtype=probe.dtype, device=probe.device)
        patches: Tensor | None = None
        for stage, network in enumerate(self.networks):
            correction = backproject(patterns, physics, self.field_px, patches)
            seen = features(correction, principal, exponent)
            answer = network(seen.view(-1, self.sizes.patterns_per_sample * FEATURES, *seen.shape[2:]))
            change = answer.to(counts_BNN.dtype).reshape(-1, OUTPUTS, *answer.shape[2:])
            step = self.steps[stage] * centre(correction, self.output_px)
            exponent = bounded(exponent + step + torch.complex(change[:, 0], change[:, 1]))
            patches = exponential(exponent)
        return torch.ones_like(exponent) if patches is None else patches

    def predict_own(self, counts_BNN: Float[Tensor, "B N N"], count: int) -> Complex[Tensor, "C n n"]:
        """Object patches of the first ``count`` groups, of each that of its first pattern; see :meth:`predict`."""
        patches: Tensor = self.predict(counts_BNN)[:: self.sizes.patterns_per_sample][:count]
        return patches

    def assemble(
        self, patches_Bnn: Complex[Tensor, "B n n"], corners_px: Float[Tensor, "B 2"], canvas_px: tuple[int, int]
    ) -> Complex[Tensor, "H W"]:
        """Average overlapping patches, weighted by the probe's intensity; 1 where there is none.

        ``corners_px`` are the corners of the N by N frames.
        """
        geometry = PatchGeometry.build(corners_px + self.margin_px, self.output_px, canvas_px)
        weight = self.patch_weight()
        total = place_at(weight.expand(patches_Bnn.shape), geometry)
        known = total > 0
        share = torch.where(known, total.clamp_min(1e-12).reciprocal(), torch.zeros_like(total))
        return place_at(patches_Bnn * weight, geometry) * share + (~known).to(share.dtype)

    def misfit(
        self,
        kind: str,
        canvas_HW: Complex[Tensor, "H W"],
        corners_px: Float[Tensor, "B 2"],
        counts_BNN: Float[Tensor, "B N N"],
    ) -> Float[Tensor, " B"]:
        """Misfit of each pattern to the object on a canvas; ``kind`` as in physics.likelihood."""
        rows, columns = canvas_HW.shape
        objects = extract_at(canvas_HW, PatchGeometry.build(corners_px, self.N, (rows, columns)))
        physics = self.optics.forward_model
        return pattern_misfits(kind, objects, physics, Patterns.of(counts_BNN, physics.propagator, self.mask))

    def patch_weight(self) -> Float[Tensor, "n n"]:
        """Weight of each pixel of a predicted patch when patches are averaged."""
        return centre(self.optics.overlap_weight(), self.output_px)

    @property
    def margin_px(self) -> float:
        """Distance between the corners of a frame and of its predicted patch."""
        return (self.N - self.output_px) / 2
