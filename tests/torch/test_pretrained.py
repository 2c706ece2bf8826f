"""The network that ships with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ptycho_dist.bundle import PRETRAINED, load_bundle, read_bundle_info
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.group_error import group_error
from ptycho_dist.factory.inference import create_inference_payload
from ptycho_dist.factory.training import create_training_payload
from ptycho_dist.inference.run import load_model
from ptycho_dist.simulate.run import simulate

CPU = {"accelerator": "cpu"}


def scan_of(path: Path, N: int, **changes: float) -> Path:
    settings = {"n_patterns": 36, "N": N, "step_px": N / 11, "photons": 1e5, "defocus_m": 1.2e-4 * N / 64, **changes}
    return simulate(SimulateConfig(output_file=path, **settings))


def test_pretrained_bundle_is_whole_and_small() -> None:
    bundle = load_bundle(PRETRAINED)
    assert sum(file.stat().st_size for file in PRETRAINED.iterdir()) < 1.5e6
    assert {value.dtype for value in bundle.state.values()} == {torch.float16}
    assert read_bundle_info(PRETRAINED).fits_any_size


@pytest.mark.parametrize("N", [48, 64, 128])
def test_pretrained_network_explains_scans_of_any_size_far_better_than_ones(N: int, tmp_path: Path) -> None:
    path = scan_of(tmp_path / "scan.h5", N)
    payload = create_inference_payload(PRETRAINED, path, tmp_path / "out", CPU)
    assert (payload.data_config.N, payload.model_config.output_px) == (N, N // 2)
    with open_scan(path) as scan:
        model, _ = load_model(payload, scan)
        network = group_error(model, scan, [np.arange(36)], payload.count_factor)
        torch.nn.init.zeros_(model.steps)
        for part in model.networks.parameters():
            torch.nn.init.zeros_(part)
        ones = group_error(model, scan, [np.arange(36)], payload.count_factor)
    assert network < 0.7 * ones


def test_training_starts_from_it_where_nothing_is_said_of_the_network(tmp_path: Path) -> None:
    path = scan_of(tmp_path / "scan.h5", 64)
    own = read_bundle_info(PRETRAINED).payload_dict["model"]
    payload = create_training_payload(path, tmp_path, CPU)
    assert payload.training_config.init_from == PRETRAINED
    assert payload.model_config.stages == own["stages"]
    assert payload.training_config.max_steps == 600


@pytest.mark.parametrize("said", [{"width": 8}, {"pretrained": False}, {"architecture": "vit"}, {"gridsize": 2},
                                  {"propagation": "near_field", "source_distance_m": 0.5}])  # fmt: skip
def test_training_starts_from_nothing_where_another_network_is_asked_for(
    tmp_path: Path, said: dict[str, object]
) -> None:
    payload = create_training_payload(scan_of(tmp_path / "scan.h5", 64), tmp_path, CPU | said)
    assert payload.training_config.init_from is None
    assert payload.training_config.max_steps == 2000


def test_pretrained_network_with_settings_of_another_is_refused(tmp_path: Path) -> None:
    path = scan_of(tmp_path / "scan.h5", 64)
    with pytest.raises(ConfigError, match=r"width = 8, but the bundle was trained with 64"):
        create_training_payload(path, tmp_path, CPU | {"width": 8, "pretrained": True})
