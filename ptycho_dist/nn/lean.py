"""The default network: a patchify stem, residual blocks on few pixels, a patch head.

All convolutions run at one eighth of the input's resolution, which is what
makes it fast on a CPU. Group normalisation keeps samples independent, so that
the result does not depend on the batch or the number of ranks.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import NetworkSpec, register_network

PATCH_PX = 8
_GROUPS = 8


class ResidualBlock(nn.Module):
    """Pre-normalised residual block of a 3 by 3 and a pointwise layer, the identity at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = zero_start(nn.Linear(width, width))

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Add the block's change."""
        hidden = functional.gelu(self.first(self.norm(x))).permute(0, 2, 3, 1)
        residual: Tensor = self.second(hidden).permute(0, 3, 1, 2)
        return x + residual


class LeanNetwork(nn.Module):
    """Maps (B, C_in, in, in) to (B, C_out, out, out); zero output at the start.

    The weights do not depend on the sizes: a network of one size works on frames of any other.

    Parameters
    ----------
    spec
        Sizes; ``in_px`` must be a multiple of 8 and ``width`` of 8.

    Raises
    ------
    ConfigError
        If a size does not fit.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        check_sizes("lean", spec, _GROUPS)
        self._margin = (spec.in_px - spec.out_px) // 2
        area = PATCH_PX**2
        self.stem = nn.Linear(spec.in_channels * area, spec.width)
        self.blocks = nn.Sequential(*(ResidualBlock(spec.width) for _ in range(spec.depth)))
        self.norm = nn.GroupNorm(_GROUPS, spec.width)
        self.head = zero_start(nn.Linear(spec.width, spec.out_channels * area))

    def forward(self, x: Float[Tensor, "B C n n"]) -> Float[Tensor, "B D m m"]:
        """Predict the output channels on the central square."""
        tokens = self.stem(to_tokens(x, PATCH_PX)).permute(0, 3, 1, 2)
        hidden = functional.gelu(self.norm(self.blocks(tokens))).permute(0, 2, 3, 1)
        skipped = self._margin // PATCH_PX
        near = hidden[:, skipped : hidden.shape[1] - skipped, skipped : hidden.shape[2] - skipped]
        full = from_tokens(self.head(near), PATCH_PX)
        rest = self._margin - skipped * PATCH_PX
        inside = slice(rest, full.shape[-1] - rest)
        return full[:, :, inside, inside]


def to_tokens(images: Float[Tensor, "B C n n"], patch_px: int) -> Float[Tensor, "B h w F"]:
    """Cut images into square patches, one row of numbers each."""
    batch, channels, rows, columns = images.shape
    h, w = rows // patch_px, columns // patch_px
    cut = images.reshape(batch, channels, h, patch_px, w, patch_px).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(batch, h, w, channels * patch_px**2)


def from_tokens(tokens: Float[Tensor, "B h w F"], patch_px: int) -> Float[Tensor, "B C n n"]:
    """Put patches back into images; the inverse of :func:`to_tokens`."""
    batch, h, w, numbers = tokens.shape
    channels = numbers // patch_px**2
    cut = tokens.reshape(batch, h, w, channels, patch_px, patch_px).permute(0, 3, 1, 4, 2, 5)
    return cut.reshape(batch, channels, h * patch_px, w * patch_px)


@register_network("lean")
def build_lean(spec: NetworkSpec) -> nn.Module:
    """Build the default network."""
    return LeanNetwork(spec)


def zero_start(layer: nn.Linear) -> nn.Linear:
    """Let a layer give zero at the start."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def check_sizes(network: str, spec: NetworkSpec, width_step: int) -> None:
    """Check the sizes of a network that works on patches of 8 by 8 pixels.

    Raises
    ------
    ConfigError
        If the input is no multiple of a patch, the width none of ``width_step``, or the margin odd or negative.
    """
    for name, value, step in (("input side", spec.in_px, PATCH_PX), ("model.width", spec.width, width_step)):
        if value % step:
            msg = f"{name} = {value}; the {network} network expects a multiple of {step}. Change it."
            raise ConfigError(msg)
    if spec.out_px > spec.in_px or (spec.in_px - spec.out_px) % 2:
        msg = f"model.output_px = {spec.out_px} in a field of {spec.in_px}; expected an even margin >= 0. Change it."
        raise ConfigError(msg)
