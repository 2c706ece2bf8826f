"""What every registered network must keep: sizes, independence of samples, every parameter in use."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptycho_dist.errors import ConfigError
from ptycho_dist.nn.registry import NetworkSpec, find_network, network_names

NAMES = ("lean", "ptychopinn_cnn", "vit")


def spec(**changes: int) -> NetworkSpec:
    sizes = {"in_channels": 6, "out_channels": 2, "in_px": 32, "out_px": 16, "width": 16, "depth": 1}
    return NetworkSpec(**(sizes | {"n_filters_scale": 1} | changes))


def lively(network: nn.Module) -> nn.Module:
    """Give every parameter a random value, those that start at zero too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_all_networks_are_tested_here() -> None:
    assert set(network_names()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("in_px", "out_px"), [(32, 16), (32, 6), (64, 32), (64, 64), (64, 40)])
def test_output_has_the_size_asked_for(name: str, in_px: int, out_px: int) -> None:
    network = find_network(name).build(spec(in_px=in_px, out_px=out_px, in_channels=12, out_channels=4))
    assert network(noise(2, 12, in_px, in_px)).shape == (2, 4, out_px, out_px)


@pytest.mark.parametrize("name", NAMES)
def test_output_is_zero_at_the_start(name: str) -> None:
    assert find_network(name).build(spec())(noise(2, 6, 32, 32)).abs().max() == 0


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name: str) -> None:
    network = lively(find_network(name).build(spec())).double()
    inputs = noise(3, 6, 32, 32).double()
    together = network(inputs)
    for row in range(3):
        assert torch.allclose(network(inputs[row : row + 1])[0], together[row], rtol=1e-9, atol=1e-12)
    inputs = inputs.clone().requires_grad_()
    network(inputs)[1].sum().backward()
    assert inputs.grad is not None
    assert [bool(grad.abs().max() > 0) for grad in inputs.grad] == [False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_training_and_evaluation_agree_and_there_is_no_batch_norm(name: str) -> None:
    network, inputs = lively(find_network(name).build(spec())), noise(3, 6, 32, 32)
    trained = network.train()(inputs)
    with torch.inference_mode():
        assert torch.allclose(trained, network.eval()(inputs), rtol=1e-4, atol=1e-5)
    assert not list(network.buffers())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("out_px", [16, 24])
def test_every_parameter_gets_a_gradient(name: str, out_px: int) -> None:
    network = lively(find_network(name).build(spec(out_px=out_px)))
    network(noise(2, 6, 32, 32)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        if not key.endswith("self_attn.in_proj_bias"):
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(
    ("in_px", "scale", "blocks", "bottom"), [(64, 2, 3, 256), (128, 2, 4, 256), (256, 2, 5, 256), (64, 1, 3, 128)]
)
def test_cnn_has_as_many_blocks_as_the_frame_needs(in_px: int, scale: int, blocks: int, bottom: int) -> None:
    network = find_network("ptychopinn_cnn").build(spec(in_px=in_px, out_px=in_px // 2, n_filters_scale=scale))
    convolutions = [part for part in network.encoder.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) == 2 * blocks
    assert convolutions[-1].out_channels == bottom
    assert network.encoder(noise(1, 6, in_px, in_px)).shape == (1, bottom, 8, 8)


def test_cnn_fills_the_border_only_beside_half_of_the_frame() -> None:
    network = lively(find_network("ptychopinn_cnn").build(spec(out_px=32)))
    for decoder in (network.amplitude, network.phase):
        nn.init.zeros_(decoder.inner.weight)
        nn.init.zeros_(decoder.inner.bias)
    output = network(noise(1, 6, 32, 32))
    assert output[..., 8:24, 8:24].abs().max() == 0
    assert (output[..., :8, :].abs().amax() > 0) & (output[..., 24:].abs().amax() > 0)


def test_vit_tells_places_apart() -> None:
    network = lively(find_network("vit").build(spec(out_px=32)))
    output = network(torch.ones(1, 6, 32, 32))[0, 0]
    assert (output[:8, :8] - output[16:24, 8:16]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("ptychopinn_cnn", {"in_px": 48}, "input side = 48; the network ptychopinn_cnn expects one of 32, 64, 128"),
        ("ptychopinn_cnn", {"out_channels": 64}, "32 patterns seen together with model.n_filters_scale = 1"),
        ("vit", {"in_px": 36}, "input side = 36; the vit network expects a multiple of 8"),
        ("vit", {"width": 24}, "model.width = 24; the vit network expects a multiple of 16"),
        ("vit", {"depth": 0}, "model.depth = 0; the network vit expects at least one layer"),
        ("vit", {"out_px": 40}, "model.output_px = 40 in a field of 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name: str, changes: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_network(name).build(spec(**changes))
