"""The default network: sizes, independence of samples, every parameter in use."""

from __future__ import annotations

import pytest
import torch

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import NetworkSpec, build_network


def spec(**changes: int) -> NetworkSpec:
    sizes = {"in_channels": 4, "out_channels": 2, "in_px": 32, "out_px": 16, "width": 16, "depth": 2} | changes
    return NetworkSpec(**sizes)


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter a random value, those that start at zero too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize(("in_px", "out_px"), [(32, 16), (48, 32), (64, 64), (96, 64), (128, 64), (32, 6)])
def test_output_has_the_size_asked_for(in_px: int, out_px: int) -> None:
    network = build_network("lean", spec(in_px=in_px, out_px=out_px))
    assert network(torch.randn(2, 4, in_px, in_px)).shape == (2, 2, out_px, out_px)


def test_output_is_zero_at_the_start() -> None:
    assert build_network("lean", spec())(torch.randn(2, 4, 32, 32)).abs().max() == 0


def test_samples_do_not_see_each_other() -> None:
    network = lively(build_network("lean", spec())).double()
    inputs = torch.randn(5, 4, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = network(inputs)
    for row in range(5):
        assert torch.allclose(network(inputs[row : row + 1])[0], together[row], rtol=1e-12, atol=1e-14)
    inputs = inputs.clone().requires_grad_()
    network(inputs)[2].sum().backward()
    assert inputs.grad is not None
    assert [bool(grad.abs().max() > 0) for grad in inputs.grad] == [False, False, True, False, False]


def test_training_and_evaluation_mode_agree_and_there_is_no_batch_norm() -> None:
    network = lively(build_network("lean", spec()))
    inputs = torch.randn(3, 4, 32, 32)
    assert torch.equal(network.train()(inputs), network.eval()(inputs))
    assert not list(network.buffers())


def test_every_parameter_gets_a_gradient() -> None:
    network = lively(build_network("lean", spec()))
    network(torch.randn(2, 4, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


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
        build_network("lean", spec(**changes))
