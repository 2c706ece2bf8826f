"""The network between two pieces of physics: back-projection before, forward model after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from ptycho_dist.physics.backprojection import backproject
from ptycho_dist.physics.forward import ForwardModel
from ptycho_dist.physics.likelihood import MISFITS
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at

FEATURES = 6
"""Real input channels of a network: the correction to the object, to the wave, and the present exponent."""
OUTPUTS = 2
"""Real output channels: real and imaginary part of the change to the object patch."""


class PtychoModel(nn.Module):
    """Counts to object patches; patches to a canvas; a canvas to counts.

    Parameters
    ----------
    networks
        One for each stage; each maps (B, 6, field, field) to (B, 2, output, output).
    optics
        Forward model with the probe.
    sizes
        (N, field_px, output_px): the network sees the central ``field_px`` of
        the N by N frame and predicts the central ``output_px``.
    mask_NN
        Valid detector pixels; None where all are.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        optics: ForwardModel,
        sizes: tuple[int, int, int],
        mask_NN: Bool[Tensor, "N N"] | None = None,
    ) -> None:
        super().__init__()
        self.networks, self.optics = nn.ModuleList(networks), optics
        self.N, self.field_px, self.output_px = sizes
        self.steps = nn.Parameter(torch.full((len(self.networks),), 0.3))
        self.register_buffer("mask", mask_NN)

    mask: Tensor | None

    def with_optics(self, optics: ForwardModel, mask_NN: Bool[Tensor, "N N"] | None = None) -> PtychoModel:
        """Return the same network for another scan, with its probe and mask; weights are shared, not copied."""
        other = PtychoModel(tuple(self.networks), optics, (self.N, self.field_px, self.output_px), mask_NN)
        other.steps = self.steps
        return other

    def predict(self, counts_BNN: Float[Tensor, "B N N"]) -> Complex[Tensor, "B n n"]:
        """Object patches of side ``output_px``, each from its own pattern alone.

        Each stage holds the present patch against the pattern and lets a
        network turn the correction that physics asks for into a better patch.
        """
        probe = self.optics.scaled_probe.detach()
        exponent = torch.zeros(len(counts_BNN), self.output_px, self.output_px, dtype=probe.dtype, device=probe.device)
        patches: Tensor | None = None
        for stage, network in enumerate(self.networks):
            correction = self._correction(counts_BNN, probe, patches)
            change = network(self._features(correction, probe, exponent)).to(counts_BNN.dtype)
            step = self.steps[stage] * _centre(correction, self.output_px)
            exponent = exponent + step + torch.complex(change[:, 0], change[:, 1])
            patches = torch.polar(torch.exp(exponent.real), exponent.imag)
        return torch.ones_like(exponent) if patches is None else patches

    def assemble(
        self, patches_Bnn: Complex[Tensor, "B n n"], corners_px: Float[Tensor, "B 2"], canvas_px: tuple[int, int]
    ) -> Complex[Tensor, "H W"]:
        """Average overlapping patches, weighted by the probe's intensity; 1 where there is none.

        ``corners_px`` are the corners of the N by N frames.
        """
        geometry = PatchGeometry.build(corners_px + self.margin_px, self.output_px, canvas_px)
        weight = self.patch_weight().expand_as(patches_Bnn)
        total = place_at(weight.contiguous(), geometry)
        weighted = place_at(patches_Bnn * weight, geometry)
        return torch.where(total > 0, weighted / total.clamp_min(1e-12), torch.ones_like(weighted))

    def expected_counts(
        self, canvas_HW: Complex[Tensor, "H W"], corners_px: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B N N"]:
        """Return the counts that the object on a canvas scatters at each position."""
        rows, columns = canvas_HW.shape
        objects = extract_at(canvas_HW, PatchGeometry.build(corners_px, self.N, (rows, columns)))
        counts: Tensor = self.optics(objects)
        return counts

    def misfit(
        self, kind: str, canvas_HW: Complex[Tensor, "H W"], corners_px: Float[Tensor, "B 2"],
        counts_BNN: Float[Tensor, "B N N"],
    ) -> Float[Tensor, " B"]:  # fmt: skip
        """Misfit of each pattern to the object on a canvas; ``kind`` as in physics.likelihood."""
        return MISFITS[kind](self.expected_counts(canvas_HW, corners_px), counts_BNN, self.mask)

    def patch_weight(self) -> Float[Tensor, "n n"]:
        """Weight of each pixel of a predicted patch when patches are averaged."""
        return _centre(self.optics.overlap_weight(), self.output_px)

    @property
    def margin_px(self) -> float:
        """Distance between the corners of a frame and of its predicted patch."""
        return (self.N - self.output_px) / 2

    def _correction(self, counts_BNN: Tensor, probe_PNN: Tensor, patches_Bnn: Tensor | None) -> Tensor:
        """Relative correction that physics asks for, outside the patch of an object of ones."""
        if patches_Bnn is None:
            return backproject(counts_BNN, probe_PNN, self.mask)
        margin = (self.N - self.output_px) // 2
        objects = functional.pad(patches_Bnn - 1, (margin,) * 4) + 1
        return backproject(counts_BNN, probe_PNN, self.mask, objects) / objects

    def _features(self, correction_BNN: Tensor, probe_PNN: Tensor, exponent_Bnn: Tensor) -> Tensor:
        near = _centre(correction_BNN, self.field_px)
        wave = near * _centre(probe_PNN[0] / probe_PNN[0].abs().max(), self.field_px)
        margin = (self.field_px - self.output_px) // 2
        present = functional.pad(exponent_Bnn, (margin,) * 4)
        return torch.stack([near.real, near.imag, wave.real, wave.imag, present.real, present.imag], dim=1)


def _centre(images: Tensor, side: int) -> Tensor:
    margin = (images.shape[-1] - side) // 2
    inside = slice(margin, margin + side)
    return images[..., inside, inside]
