"""Tests of what both factories take from scan and bundle, and of the legacy bridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist import (
    DataConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    create_inference_payload,
    save_bundle,
    update_legacy_dict,
)
from ptycho_dist.data.datamodule import read_groups
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import BundleError, ConfigError, PtychoDistError
from ptycho_dist.training.run import build_module
from tests.support.payloads import PATTERNS, Make, N, train, write_bundle, write_scan
from tests.support.runs import forget_launchers
from tests.support.scans import make_scan, write_ptychopinn


@pytest.fixture(autouse=True)
def _plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_launchers(monkeypatch)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.npz")


@pytest.fixture(scope="module")
def bundle(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(scan, tmp_path_factory.mktemp("run"))


@pytest.fixture(params=["training", "inference"])
def make(request: pytest.FixtureRequest, scan: Path, bundle: Path) -> Make:
    return Make(request.param, scan, bundle)


class TestTrainingPayload:
    """What the scan file says is used where nothing was given."""

    def test_scan_gives_size_modes_and_photons(self, scan: Path) -> None:
        payload = train(scan)
        assert payload.data_config.N == N
        assert payload.model_config == ModelConfig(output_px=N // 2)
        assert payload.data_config.n_modes == 1
        assert payload.data_config.nphotons == pytest.approx(100.0 * N * N, rel=0.01)
        assert (payload.n_patterns, len(payload.scan_checksum)) == (PATTERNS, 64)
        assert {payload.provenance[key] for key in ("N", "nphotons", "n_modes", "output_px")} == {"scan"}

    def test_photons_of_the_metadata_win_over_the_counts_and_patterns_are_scaled_to_them(self, tmp_path: Path) -> None:
        metadata = json.dumps({"physics_parameters": {"nphotons": 1e9}})
        path = write_ptychopinn(tmp_path / "bright.npz", make_scan(), _metadata=metadata)
        payload = train(path)
        assert (payload.photons, payload.provenance["nphotons"]) == (1e9, "scan")
        with open_scan(path) as scan:
            batch = read_groups(scan, [np.arange(12)], payload.count_factor)
            probe = build_module(payload, scan, 1).model.optics.scaled_probe.detach()
        assert float(batch.photons.sum(dim=(1, 2)).mean()) == pytest.approx(1e9, rel=0.01)
        assert float(probe.abs().square().sum()) == pytest.approx(1e9, rel=1e-4)

    def test_given_photons_win_over_the_scan(self, scan: Path) -> None:
        payload = train(scan, {"nphotons": 1000})
        assert payload.data_config.nphotons == 1000.0
        assert payload.provenance["nphotons"] == "override > scan"

    def test_defaults_of_other_configs_are_not_listed_as_applied(self, scan: Path) -> None:
        payload = train(scan, {"seed": 3})
        assert payload.overrides_applied["seed"] == 3
        assert payload.overrides_applied["N"] == N
        assert "weight_decay" not in payload.overrides_applied
        assert payload.provenance["weight_decay"] == "default"

    def test_scan_without_probe_is_refused(self, tmp_path: Path, scan: Path) -> None:
        with np.load(scan) as content:
            members = {key: content[key] for key in content.files if key != "probeGuess"}
        np.savez(tmp_path / "bare.npz", **members)
        with pytest.raises(PtychoDistError, match="probe"):
            train(tmp_path / "bare.npz")

    def test_config_file_sections_and_plain_names_are_read(self, scan: Path, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        sections = "training: {weight_decay: 1e-4, train_rows: [0, 0.5]}\ninference: {patch_weighting: uniform}\n"
        file.write_text(f"seed: 4\n{sections}")
        payload = train(scan, config_file=file)
        config = payload.training_config
        assert (config.seed, config.weight_decay, config.train_rows) == (4, 1e-4, (0.0, 0.5))
        assert payload.provenance["weight_decay"] == "config_file"


class TestInferencePayload:
    """Trained settings come from the bundle and cannot be contradicted."""

    def test_bundle_gives_data_and_model_settings(self, scan: Path, tmp_path: Path) -> None:
        trained = train(scan, {"width": 24, "depth": 1, "output_px": 24, "nphotons": 77.0, "group_size": 3})
        save_bundle(tmp_path / "bundle", {"w": torch.ones(1)}, trained.to_dict())
        payload = create_inference_payload(tmp_path, scan, "out")
        assert payload.model_config == trained.model_config
        assert payload.data_config == trained.data_config
        assert payload.inference_config.model_path == tmp_path / "bundle"
        assert payload.provenance["width"] == payload.provenance["nphotons"] == "bundle"
        assert payload.provenance["learning_rate"] == "default"

    @pytest.mark.parametrize("override", [{"width": 24}, {"nphotons": 1.0}, {"output_px": 8}, {"N": 64}])
    def test_contradicting_override_is_refused(self, scan: Path, bundle: Path, override: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="the bundle was trained with"):
            create_inference_payload(bundle, scan, "out", override)

    def test_contradicting_config_file_is_refused(self, scan: Path, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("model: {width: 24}")
        with pytest.raises(ConfigError, match=r"config_file: model\.width = 24"):
            create_inference_payload(bundle, scan, "out", config_file=tmp_path / "c.yaml")

    def test_equal_override_passes(self, scan: Path, bundle: Path) -> None:
        payload = create_inference_payload(
            bundle, scan, "out", {"width": ModelConfig().width, "model_path": str(bundle)}
        )
        assert payload.provenance["width"] == "override > bundle"

    def test_scan_of_another_size_is_refused(self, bundle: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.N = 32 \(from bundle\).*64 by 64"):
            create_inference_payload(bundle, write_scan(tmp_path / "big.npz", n=64), "out")

    def test_scan_may_have_another_format_than_the_training(self, bundle: Path, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        np.savez(
            tmp_path / "tike.npz",
            data=rng.poisson(9.0, (1, 4, N, N)).astype(np.float32),
            scan=rng.uniform(-9, 9, (1, 4, 2)).astype(np.float32),
            probe=np.ones((1, 1, 1, 1, N, N), np.complex64),
        )
        payload = create_inference_payload(bundle, tmp_path / "tike.npz", "out")
        assert payload.data_config.file_format == "tike_npz"

    def test_missing_bundle_is_refused(self, scan: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="is not there"):
            create_inference_payload(tmp_path / "none", scan, "out")


class TestLegacyBridge:
    """PtychoPINN's flat dictionary is updated first."""

    def test_flat_names_are_written(self, scan: Path) -> None:
        legacy: dict[str, Any] = {"mine": 1}
        train(scan, {"gridsize": 2, "epochs": 5}, legacy_cfg=legacy)
        assert legacy["mine"] == 1
        assert (legacy["N"], legacy["gridsize"], legacy["nepochs"]) == (N, 2, 5)
        assert (legacy["object.big"], legacy["probe.trainable"], legacy["positions.provided"]) == (True, True, True)
        assert legacy["intensity_scale.trainable"] is False
        assert (legacy["train_data_file_path"], legacy["output_prefix"]) == (str(scan), "runs/x")

    def test_inference_names_are_written(self, scan: Path, bundle: Path) -> None:
        legacy: dict[str, Any] = {}
        create_inference_payload(bundle, scan, "out", legacy_cfg=legacy)
        assert (legacy["test_data_file_path"], legacy["output_prefix"]) == (str(scan), "out")
        assert legacy["model_path"] == str(bundle)

    def test_none_is_skipped(self) -> None:
        legacy: dict[str, Any] = {"gridsize": 7}
        update_legacy_dict(legacy, DataConfig(group_size=1))
        assert legacy["gridsize"] == 7
        assert legacy["object.big"] is False

    def test_dict_is_updated_before_the_execution_config_is_built(self, make: Make) -> None:
        legacy: dict[str, Any] = {}
        with pytest.raises(ConfigError, match="learning_rate"):
            make({"learning_rate": -1.0}, legacy_cfg=legacy)
        assert legacy["N"] == N

    def test_execution_config_is_no_legacy_config(self) -> None:
        with pytest.raises(ConfigError, match="PyTorchExecutionConfig"):
            update_legacy_dict({}, PyTorchExecutionConfig())  # type: ignore[arg-type]

    def test_training_config_paths_become_text(self) -> None:
        legacy: dict[str, Any] = {}
        update_legacy_dict(legacy, TrainingConfig(train_data_file=Path("a.npz"), output_dir=Path("b")))
        assert (legacy["train_data_file_path"], legacy["output_prefix"]) == ("a.npz", "b")


@pytest.mark.parametrize("world", [1, 4])
def test_batch_grows_with_the_ranks_on_request_and_the_rate_with_its_root(
    scan: Path, monkeypatch: pytest.MonkeyPatch, world: int
) -> None:
    places = {"RANK": 0, "LOCAL_RANK": 0, "GROUP_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29500, "TORCHELASTIC_RUN_ID": "one"}
    for name, value in {**places, **address, "GROUP_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))
    payload = train(scan, {"batch_size_per_rank": 8, "accelerator": "cpu"})
    assert payload.training_config.batch_size == 8 * world
    assert payload.execution_config.learning_rate == pytest.approx(2e-3 * (8 * world / 2) ** 0.5)


def test_batch_of_all_ranks_and_of_each_are_not_given_together(scan: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size = 4 and training.batch_size_per_rank = 2; expected one of them"):
        train(scan, {"batch_size_per_rank": 2, "batch_size": 4})
