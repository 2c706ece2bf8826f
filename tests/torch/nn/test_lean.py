"""The default network: its sizes."""

from __future__ import annotations

import pytest
import torch

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import NetworkSpec, find_network


def spec(**changes: int) -> NetworkSpec:
    sizes = {"in_channels": 4, "out_channels": 2, "in_px": 32, "out_px": 16, "width": 16, "depth": 2} | changes
    return NetworkSpec(**sizes)


@pytest.mark.parametrize(("in_px", "out_px"), [(32, 16), (48, 32), (64, 64), (96, 64), (128, 64), (32, 6)])
def test_output_has_the_size_asked_for(in_px: int, out_px: int) -> None:
    network = find_network("lean").build(spec(in_px=in_px, out_px=out_px))
    assert network(torch.randn(2, 4, in_px, in_px)).shape == (2, 2, out_px, out_px)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_px": 36}, "input side = 36; the lean network expects a multiple of 8"),
        ({"width": 12}, "model.width = 12; the lean network expects a multiple of 8"),
        ({"out_px": 40}, "model.output_px = 40 in a field of 32"),
        ({"out_px": 15}, "model.output_px = 15 in a field of 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_network("lean").build(spec(**changes))
