"""A second network joins by a decorated function, and nothing else changes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import detect
from ptycho_dist.nn import registry
from ptycho_dist.nn.registry import NetworkSpec, find_network, network_names, register_network
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.run import build_module
from ptycho_dist.training.trainer import build_trainer, calm_lightning
from tests.support.ranks import rank_context
from tests.support.runs import inference_payload, training_payload, untrained_bundle


class Pointwise(nn.Module):
    """A crop and one 1 by 1 convolution."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.margin, self.side = (spec.in_px - spec.out_px) // 2, spec.out_px
        self.mix = nn.Conv2d(spec.in_channels, spec.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        inside = slice(self.margin, self.margin + self.side)
        mixed: Tensor = self.mix(x[:, :, inside, inside])
        return mixed


@pytest.fixture
def pointwise(monkeypatch: pytest.MonkeyPatch) -> str:
    network_names()  # loads those of the folder, once and for all tests
    monkeypatch.setattr(registry, "_NETWORKS", deepcopy(registry._NETWORKS))
    register_network("pointwise")(Pointwise)
    return "pointwise"


def test_second_network_is_known_and_trains_a_step(
    pointwise: str, tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    assert pointwise in network_names()
    payload = training_payload(tiny_path, tmp_path, architecture=pointwise, max_steps=2, deterministic=False)
    module = build_module(payload, tiny_scan, 1)
    networks = [part for part in module.model.modules() if isinstance(part, Pointwise)]
    before = [network.mix.weight.detach().clone() for network in networks]
    assert networks
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    data = ScanDataModule(tiny_scan, configs, rank_context(0, 1), payload.photons)
    with calm_lightning():
        trainer = build_trainer(payload, detect({}), Keeping(payload.output_dir))
        trainer.fit(module, datamodule=data)
    assert not any(torch.equal(old, network.mix.weight) for old, network in zip(before, networks, strict=True))


def test_second_network_is_found_again_by_its_bundle(
    pointwise: str, tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    bundle = untrained_bundle(training_payload(tiny_path, tmp_path, architecture=pointwise), tiny_scan)
    payload = inference_payload(bundle, tiny_path, tmp_path / "out")
    assert payload.model_config.architecture == pointwise


def test_unknown_network_is_refused_with_the_known_names() -> None:
    spec = NetworkSpec(in_channels=4, out_channels=2, in_px=32, out_px=16, width=8, depth=1)
    with pytest.raises(ConfigError, match=r"model.architecture = 'unet'; expected one of .*'lean'"):
        find_network("unet").build(spec)


def test_one_name_is_not_given_twice(pointwise: str) -> None:
    with pytest.raises(ConfigError, match="network 'pointwise' is registered twice"):
        register_network(pointwise)(Pointwise)
