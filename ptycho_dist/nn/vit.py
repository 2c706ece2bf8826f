"""A vision transformer: patches of the image are tokens that attend to each other.

Dosovitskiy et al., An image is worth 16x16 words, ICLR (2021), arXiv:2010.11929. The encoder is that of torch. Layer
normalisation and attention act within a sample, so samples stay independent.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.lean import PATCH_PX, check_sizes, from_tokens, to_tokens, zero_start
from ptycho_dist.nn.registry import NetworkSpec, register_network

_HEAD_WIDTH = 16
_LONGEST = 100.0
"""Longest wave of the places, over 2 pi, in tokens."""


class VisionTransformer(nn.Module):
    """Maps (B, C_in, in, in) to (B, C_out, out, out); zero output at the start.

    Parameters
    ----------
    spec
        Sizes; ``in_px`` must be a multiple of 8, ``width`` of 16; ``depth`` counts encoder layers.

    Raises
    ------
    ConfigError
        If a size does not fit.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        check_sizes("vit", spec, _HEAD_WIDTH)
        if spec.depth < 1:
            msg = f"model.depth = {spec.depth}; the network vit expects at least one layer. Set model.depth = 1."
            raise ConfigError(msg)
        area, width = PATCH_PX**2, spec.width
        self._out_px, self._tokens = spec.out_px, spec.in_px // PATCH_PX
        self.stem = nn.Linear(spec.in_channels * area, width)
        layer = nn.TransformerEncoderLayer(
            width, width // _HEAD_WIDTH, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, spec.depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = zero_start(nn.Linear(width, spec.out_channels * area))

    def forward(self, x: Float[Tensor, "B C n n"]) -> Float[Tensor, "B D m m"]:
        """Predict the output channels on the central square."""
        tokens = self.stem(to_tokens(x, PATCH_PX))
        tokens = tokens + places(self._tokens, tokens.shape[-1]).to(tokens)
        hidden = self.encoder(tokens.flatten(1, 2)).view(tokens.shape)
        full = from_tokens(self.head(hidden), PATCH_PX)
        margin = (full.shape[-1] - self._out_px) // 2
        return full[:, :, margin : margin + self._out_px, margin : margin + self._out_px]


def places(side: int, width: int) -> Float[Tensor, "side side width"]:
    """Sines and cosines of row and column, a quarter of the channels each (Vaswani et al., arXiv:1706.03762, 3.5)."""
    rates = torch.exp(-math.log(_LONGEST) * torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
    shape = (side, side, width // 2)
    return torch.cat([waves[:, None].expand(shape), waves[None].expand(shape)], dim=-1)


@register_network("vit")
def build_vit(spec: NetworkSpec) -> nn.Module:
    """Build the vision transformer."""
    return VisionTransformer(spec)
