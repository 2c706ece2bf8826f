"""The network between two pieces of physics: back-projection before, forward model after."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from ptycho_dist.physics.backprojection import backproject
from ptycho_dist.physics.forward import ForwardModel
from ptycho_dist.physics.likelihood import MISFITS
from ptycho_dist.physics.patches import PatchGeometry, extract_at, place_at

FEATURES = 4
"""Real input channels of a network: the back-projected correction, and the wave it corrects."""
OUTPUTS = 2
"""Real output channels: real and imaginary part of the change to the object patch."""


class PtychoModel(nn.Module):
    """Counts to object patches; patches to a canvas; a canvas to counts.

    Parameters
    ----------
    network
        Maps (B, 4, field, field) to (B, 2, output, output).
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
        network: nn.Module,
        optics: ForwardModel,
        sizes: tuple[int, int, int],
        mask_NN: Bool[Tensor, "N N"] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.optics = network, optics
        self.N, self.field_px, self.output_px = sizes
        self.step = nn.Parameter(torch.tensor(0.3))
        self.register_buffer("mask", mask_NN)

    mask: Tensor | None

    def predict(self, counts_BNN: Float[Tensor, "B N N"]) -> Complex[Tensor, "B n n"]:
        """Object patches of side ``output_px``, each from its own pattern alone."""
        probe = self.optics.scaled_probe.detach()
        correction = backproject(counts_BNN, probe, self.mask)
        change = self.network(self._features(correction, probe)).to(counts_BNN.dtype)
        exponent = self.step * _centre(correction, self.output_px) + torch.complex(change[:, 0], change[:, 1])
        return torch.exp(exponent)

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

    def _features(self, correction_BNN: Tensor, probe_PNN: Tensor) -> Tensor:
        near = _centre(correction_BNN, self.field_px)
        wave = near * _centre(probe_PNN[0] / probe_PNN[0].abs().max(), self.field_px)
        return torch.stack([near.real, near.imag, wave.real, wave.imag], dim=1)


def _centre(images: Tensor, side: int) -> Tensor:
    margin = (images.shape[-1] - side) // 2
    inside = slice(margin, margin + side)
    return images[..., inside, inside]
