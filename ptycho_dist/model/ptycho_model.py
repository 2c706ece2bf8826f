"""The network between two pieces of physics: back-projection before, forward model after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from ptycho_dist.model.features import (
    EXCHANGE_FEATURES,
    FEATURES,
    bounded,
    exchange_features,
    exponential,
    features,
    light_channel,
    relative_wave,
)
from ptycho_dist.model.neighbours import Neighbours, Sides
from ptycho_dist.model.stage_object import StageObject
from ptycho_dist.physics.bodies import Body
from ptycho_dist.physics.epie_step import backproject, centre, correction_of, damped
from ptycho_dist.physics.intensity import ForwardModel, Modelled
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.misfit import pattern_misfits
from ptycho_dist.physics.optics import Optics
from ptycho_dist.physics.patches import PatchGeometry, extract_at
from ptycho_dist.physics.probe import orthogonalise, probe_intensity

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
    exchange
        Whether overlapping patches agree on one object after each stage.
    body
        How patches are moved to and from canvases; None for what suits the device.
    """

    N: int
    field_px: int
    output_px: int
    patterns_per_sample: int = 1
    exchange: bool = False
    body: Body | None = None

    @property
    def features(self) -> int:
        """Real input channels for each pattern."""
        return EXCHANGE_FEATURES if self.exchange else FEATURES

    @property
    def sides(self) -> Sides:
        """Sides of frame, field and patch."""
        return Sides(self.N, self.field_px, self.output_px, self.body)


@dataclass(frozen=True)
class _Known:
    """What all stages know of some patterns, whatever the object; not differentiated.

    The wave is that of the probe's principal mode, relative to its largest magnitude.
    """

    patterns: Patterns
    physics: ForwardModel
    damping_P1ff: Tensor
    wave_ff: Tensor
    light_B2ff: Tensor


class PtychoModel(nn.Module):
    """Counts to object patches; patches to a canvas; a canvas to counts.

    Parameters
    ----------
    networks
        One for each stage; each maps (B, 6 G, field, field) to (B, 2 G, output, output), where G patterns are
        seen together; 8 G channels where patches are exchanged.
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
        Patterns that are seen together follow each other in ``counts_BNN``. Where patches are exchanged, each
        pattern has none to exchange with here.
        """
        if self.sizes.exchange:
            return self._predict_apart(counts_BNN)
        physics = self.optics.forward_model
        patterns, probe = Patterns.of(counts_BNN, physics.propagator, self.mask), physics.probe_PNN.detach()
        principal = orthogonalise(probe)[0]
        exponent = torch.zeros(len(counts_BNN), self.output_px, self.output_px, dtype=probe.dtype, device=probe.device)
        patches: Tensor | None = None
        for stage in range(len(self.networks)):
            correction = backproject(patterns, physics, self.field_px, patches)
            seen = features(correction, principal, exponent)
            exponent = bounded(exponent + self._change(stage, correction, seen))
            patches = exponential(exponent)
        return torch.ones_like(exponent) if patches is None else patches

    def _change(
        self, stage: int, correction_Bff: Complex[Tensor, "B f f"], seen: Float[Tensor, "B C f f"]
    ) -> Complex[Tensor, "B n n"]:
        """Change of the exponent: a step along the correction, and what the network adds to it."""
        channels = self.sizes.patterns_per_sample * self.sizes.features
        answer = self.networks[stage](seen.view(-1, channels, *seen.shape[2:]))
        change = answer.to(seen.dtype).reshape(-1, OUTPUTS, *answer.shape[2:])
        step = self.steps[stage] * centre(correction_Bff, self.output_px)
        return step + torch.complex(change[:, 0], change[:, 1])

    def _predict_apart(self, counts_BNN: Float[Tensor, "B N N"]) -> Complex[Tensor, "B n n"]:
        count, N = len(counts_BNN), self.N
        down = torch.arange(count, dtype=torch.float64, device=counts_BNN.device) * N
        corners = torch.stack([down, torch.zeros_like(down)], dim=1)
        *_, last = self.stages(counts_BNN, corners, (count * N, N))
        return last.patches_Bnn

    def neighbours(self, corners_px: Float[Tensor, "B 2"], canvas_px: tuple[int, int]) -> Neighbours:
        """Place patterns on a canvas by the corners of their frames."""
        return Neighbours.alone(corners_px, canvas_px, self.sizes.sides, self.patch_weight())

    def improve(
        self,
        stage: int,
        counts_BNN: Float[Tensor, "B N N"],
        canvas_HW: Complex[Tensor, "H W"],
        near: Neighbours,
        photons_per_count: float = 1.0,
    ) -> Complex[Tensor, "B n n"]:
        """Object patches that one stage makes of the present object; differentiable in the weights of that stage.

        Parameters
        ----------
        stage
            Number of the stage, from 0.
        counts_BNN
            Patterns, scaled as in training.
        canvas_HW
            Present object; ones before the first stage.
        near
            Where the patterns lie on it.
        photons_per_count
            What one of the scaled counts stands for: so the network knows how much light there was.
        """
        known = self._known(counts_BNN, near, photons_per_count)
        frames = extract_at(canvas_HW.detach(), near.frames)
        return self._improve(stage, frames, Modelled.of(frames, known.physics), known)

    def _known(self, counts_BNN: Float[Tensor, "B N N"], near: Neighbours, photons_per_count: float) -> _Known:
        """Prepare what all stages use."""
        physics = self.optics.forward_model.fixed()
        patterns = Patterns.of(counts_BNN, physics.propagator, self.mask)
        wave = relative_wave(orthogonalise(physics.probe_PNN)[0], self.field_px)
        damping = damped(physics.probe_PNN, self.field_px)
        return _Known(patterns, physics, damping, wave, self._light(near, photons_per_count))

    def _improve(
        self, stage: int, objects: Complex[Tensor, "B N N"], modelled: Modelled, known: _Known
    ) -> Complex[Tensor, "B n n"]:
        propagator = known.physics.propagator
        correction = correction_of(known.patterns, modelled, propagator, objects, known.damping_P1ff)
        seen = exchange_features(correction, known.wave_ff, centre(objects, self.field_px), known.light_B2ff)
        exponent = bounded(self._change(stage, correction, seen))
        improved: Tensor = centre(objects, self.output_px) * exponential(exponent)
        return improved

    def stages(
        self,
        counts_BNN: Float[Tensor, "B N N"],
        corners_px: Float[Tensor, "B 2"],
        canvas_px: tuple[int, int],
        photons_per_count: float = 1.0,
    ) -> Iterator[StageObject]:
        """Yield the patches that each stage makes, and the object on which they agree; for each stage alone.

        Where patches are not exchanged, only the last stage ends in an object.
        """
        near, weight = self.neighbours(corners_px, canvas_px), self.patch_weight()
        if not self.sizes.exchange:
            patches = self.predict(counts_BNN)
            patterns = Patterns.of(counts_BNN, self.optics.propagator, self.mask)
            yield StageObject(patches, near.average(patches, weight), near, patterns, self.optics.forward_model)
            return
        known = self._known(counts_BNN, near, photons_per_count)
        alike = self.optics.probe.new_ones(1, self.N, self.N)
        objects, modelled = alike.expand(len(counts_BNN), self.N, self.N), Modelled.of(alike, known.physics)
        for stage in range(len(self.networks)):
            patches = self._improve(stage, objects, modelled, known)
            canvas = near.average(patches, weight)
            made = StageObject(patches, canvas, near, known.patterns, self.optics.forward_model)
            yield made
            if stage + 1 < len(self.networks):
                objects, modelled = made.frames_BNN.detach(), made.modelled

    def object_of(
        self,
        counts_BNN: Float[Tensor, "B N N"],
        corners_px: Float[Tensor, "B 2"],
        canvas_px: tuple[int, int],
        photons_per_count: float = 1.0,
    ) -> Complex[Tensor, "H W"]:
        """Object that all stages make of some patterns; parameters as of :meth:`stages`."""
        *_, last = self.stages(counts_BNN, corners_px, canvas_px, photons_per_count)
        return last.canvas_HW

    def _light(self, near: Neighbours, photons_per_count: float) -> Float[Tensor, "B 2 f f"]:
        """Photons that fell on each pixel: in the pattern itself, and in all patterns."""
        intensity = probe_intensity(self.optics.scaled_probe.detach())
        own = centre(intensity, self.field_px) * photons_per_count
        every = near.weight_at_fields() * (intensity.max() * photons_per_count)
        return torch.stack([light_channel(own).expand_as(every), light_channel(every)], dim=1)

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
        return self.neighbours(corners_px, canvas_px).average(patches_Bnn, self.patch_weight())

    def misfit(
        self,
        kind: str,
        canvas_HW: Complex[Tensor, "H W"],
        corners_px: Float[Tensor, "B 2"],
        counts_BNN: Float[Tensor, "B N N"],
    ) -> Float[Tensor, " B"]:
        """Misfit of each pattern to the object on a canvas; ``kind`` as in physics.likelihood."""
        rows, columns = canvas_HW.shape
        where = PatchGeometry.build(corners_px, self.N, (rows, columns), self.sizes.body)
        patterns = Patterns.of(counts_BNN, self.optics.propagator, self.mask)
        return pattern_misfits(kind, extract_at(canvas_HW, where), self.optics.forward_model, patterns)

    def patch_weight(self) -> Float[Tensor, "n n"]:
        """Weight of each pixel of a predicted patch when patches are averaged."""
        return centre(self.optics.overlap_weight(), self.output_px)

    @property
    def margin_px(self) -> float:
        """Distance between the corners of a frame and of its predicted patch."""
        return (self.N - self.output_px) / 2
