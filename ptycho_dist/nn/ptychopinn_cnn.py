"""The shape of PtychoPINN's convolutional network: one encoder, and a decoder each for amplitude and phase.

Blocks of two convolutions and a pooling lead from the whole frame to 8 by 8 pixels; in each decoder one block
fewer leads back, to half of the frame. There is no batch normalisation, so that samples stay independent.

Hoidn, Mishra, Mehta, Physics constrained unsupervised deep learning for rapid, high resolution scanning coherent
diffraction reconstruction, Sci. Rep. 13, 22789 (2023), DOI 10.1038/s41598-023-48351-7.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import NetworkSpec, register_network

SIDES_PX = (32, 64, 128, 256, 512)
_BOTTOM_PX, _BOTTOM_FILTERS, _TOP_FILTERS = 8, 128, 32


class PtychoPINNNetwork(nn.Module):
    """Maps (B, C_in, in, in) to (B, C_out, out, out); zero output at the start.

    Parameters
    ----------
    spec
        Sizes; ``in_px`` is one of :data:`SIDES_PX`. Width and depth are not used: the number of blocks
        follows ``in_px``, and ``n_filters_scale`` multiplies all channels.

    Raises
    ------
    ConfigError
        If a size does not fit.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        _check(spec)
        n_blocks = int(math.log2(spec.in_px // _BOTTOM_PX))
        down = [spec.n_filters_scale * _BOTTOM_FILTERS >> step for step in range(n_blocks)][::-1]
        pairs = zip([spec.in_channels, *down[:-1]], down, strict=True)
        self.encoder = nn.Sequential(*(_DoubleConvolution(*pair, nn.MaxPool2d(2)) for pair in pairs))
        self.amplitude = _Decoder(spec, n_blocks)
        self.phase = _Decoder(spec, n_blocks)

    def forward(self, x: Float[Tensor, "B C n n"]) -> Float[Tensor, "B D m m"]:
        """Predict changes to log amplitude and phase, in turn, of each pattern; the phase's within pi."""
        hidden = self.encoder(x)
        outputs = (self.amplitude(hidden), math.pi * torch.tanh(self.phase(hidden)))
        return torch.stack(outputs, dim=2).flatten(1, 2)


class _DoubleConvolution(nn.Module):
    """Two 3 by 3 convolutions, then a change of resolution."""

    def __init__(self, in_channels: int, out_channels: int, resize: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.second = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.resize = resize

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.second(functional.relu(self.first(x))))
        resized: Tensor = self.resize(hidden)
        return resized


class _Decoder(nn.Module):
    """From the bottom to half of the frame; what lies around that comes from a few channels of their own."""

    def __init__(self, spec: NetworkSpec, n_blocks: int) -> None:
        super().__init__()
        scale, self._out_px, self._inner_px = spec.n_filters_scale, spec.out_px, spec.in_px // 2
        up = [scale * _BOTTOM_FILTERS, *(scale * _TOP_FILTERS << step for step in reversed(range(n_blocks - 1)))]
        self.blocks = nn.Sequential(*(_DoubleConvolution(*pair, nn.Upsample(scale_factor=2)) for pair in pairwise(up)))
        images = spec.out_channels // 2
        self._outer = images if spec.out_px > self._inner_px else 0
        self.inner = _zero_start(nn.Conv2d(up[-1] - self._outer, images, 3, padding=1))
        if self._outer:
            self.widen = _DoubleConvolution(self._outer, scale * _TOP_FILTERS, nn.Upsample(scale_factor=2))
            self.border = _zero_start(nn.Conv2d(scale * _TOP_FILTERS, images, 3, padding=1))

    def forward(self, hidden: Tensor) -> Tensor:
        features = self.blocks(hidden)
        inner: Tensor = self.inner(features[:, self._outer :])
        if not self._outer:
            return _central(inner, self._out_px)
        margin = (self._out_px - self._inner_px) // 2
        border = _central(self.border(self.widen(features[:, : self._outer])), self._out_px)
        outside = border.new_ones(self._out_px, self._out_px)
        outside[margin : self._out_px - margin, margin : self._out_px - margin] = 0
        return functional.pad(inner, [margin] * 4) + border * outside


@register_network("ptychopinn_cnn", sees_whole_frame=True)
def build_ptychopinn_cnn(spec: NetworkSpec) -> nn.Module:
    """Build the network in PtychoPINN's shape."""
    return PtychoPINNNetwork(spec)


def _central(images: Tensor, side: int) -> Tensor:
    margin = (images.shape[-1] - side) // 2
    return images[..., margin : margin + side, margin : margin + side]


def _zero_start(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _check(spec: NetworkSpec) -> None:
    if spec.in_px not in SIDES_PX:
        listed = ", ".join(str(side) for side in SIDES_PX)
        msg = (
            f"input side = {spec.in_px}; the network ptychopinn_cnn expects one of {listed}. Crop or pad the patterns, "
            "or set model.architecture = lean."
        )
        raise ConfigError(msg)
    widest = spec.n_filters_scale * _TOP_FILTERS
    if spec.out_channels // 2 >= widest:
        msg = (
            f"{spec.out_channels // 2} patterns seen together with model.n_filters_scale = {spec.n_filters_scale}; "
            f"ptychopinn_cnn expects fewer than {widest}. Raise model.n_filters_scale or lower data.gridsize."
        )
        raise ConfigError(msg)
