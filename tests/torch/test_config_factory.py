"""Tests of the config factory: precedence, ambiguity, fingerprints, legacy bridge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho_dist import (
    PyTorchExecutionConfig,
    create_inference_payload,
    create_training_payload,
    save_bundle,
)
from ptycho_dist.errors import ConfigError, LaunchError
from tests.support.payloads import Make, Payload, train, write_bundle, write_scan
from tests.support.runs import forget_launchers

EXPLICIT: dict[str, Any] = {
    "accelerator": "cpu", "deterministic": "warn", "num_workers": 3, "enable_progress_bar": True, "devices": 2,
    "strategy": "ddp", "precision": "bf16-mixed", "learning_rate": 7e-4,
}  # fmt: skip
"""Overrides, each unlike the default and unlike GIVEN and FILE."""
GIVEN: dict[str, Any] = {
    "accelerator": "auto", "deterministic": False, "num_workers": 2, "enable_progress_bar": False, "devices": 3,
    "strategy": "auto", "precision": "64-true", "learning_rate": 5e-4,
}  # fmt: skip
FILE: dict[str, Any] = {
    "accelerator": "auto", "deterministic": False, "num_workers": 1, "enable_progress_bar": True, "devices": 4,
    "strategy": "auto", "precision": "64-true", "learning_rate": 3e-4,
}  # fmt: skip
IN_FORCE = {
    "auto": {
        "accelerator": "cpu",
        "strategy": "ddp",
        "cpu_loops": "compiled",
        "cuda_graphs": False,
        "enable_progress_bar": False,
    }
}
KNOBS = tuple(EXPLICIT)

ANOTHER_VALUE: dict[str, Any] = {
    "devices": 2, "strategy": "ddp", "deterministic": False, "precision": "64-true", "gradient_clip_val": 0.5,
    "gradient_clip_algorithm": "value", "accum_steps": 2, "num_workers": 1, "pin_memory": True,
    "learning_rate": 0.01, "scheduler": "Default", "enable_progress_bar": True, "enable_checkpointing": False,
    "checkpoint_interval_s": 5.0, "resume": False, "report": False,
    "checkpoint_save_top_k": 3, "checkpoint_mode": "max", "early_stop_patience": 5, "logger_backend": "tensorboard",
    "recon_log_every_n_epochs": 2, "recon_log_num_patches": 3, "recon_log_fixed_indices": (0, 5),
    "recon_log_stitch": True, "recon_log_max_stitch_samples": 9, "inference_batch_size": 7,
    "middle_trim": 2, "cpu_loops": "torch", "timeout_s": 12.0,
}  # fmt: skip
NEEDS_MORE = {"accelerator", "cuda_graphs", "persistent_workers", "prefetch_factor", "checkpoint_monitor_metric"}


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


def in_force(name: str, value: Any) -> Any:
    """Return what a given value becomes on a CPU with more than one device."""
    return IN_FORCE["auto"].get(name, value) if value == "auto" else value


def check(payload: Payload, name: str, value: Any, level: str) -> None:
    assert getattr(payload.execution_config, name) == value
    assert payload.overrides_applied[name] == value
    assert type(payload.overrides_applied[name]) is type(value)
    assert payload.provenance[name] == level


class TestExecutionConfigOverrides:
    """An explicit override is in force, whatever else was given."""

    @pytest.mark.parametrize("name", KNOBS)
    def test_override_wins_over_default(self, make: Make, name: str) -> None:
        check(make({name: EXPLICIT[name]}), name, EXPLICIT[name], "override")

    @pytest.mark.parametrize("name", KNOBS)
    def test_override_wins_over_given_config(self, make: Make, name: str) -> None:
        payload = make({name: EXPLICIT[name]}, PyTorchExecutionConfig(**GIVEN))
        check(payload, name, EXPLICIT[name], "override > execution_config")

    @pytest.mark.parametrize("name", KNOBS)
    def test_dotted_override_wins_over_all_levels(self, make: Make, name: str, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({"execution": FILE}))
        payload = make({f"execution.{name}": EXPLICIT[name]}, PyTorchExecutionConfig(**GIVEN), config_file=file)
        check(payload, name, EXPLICIT[name], "override > execution_config > config_file")

    def test_every_field_can_be_overridden(self, make: Make) -> None:
        names = {field.name for field in fields(PyTorchExecutionConfig)}
        assert set(ANOTHER_VALUE) | NEEDS_MORE == names
        for name, value in ANOTHER_VALUE.items():
            check(make({name: value}), name, value, "override")

    def test_loader_knobs_can_be_overridden_with_workers(self, make: Make) -> None:
        payload = make({"num_workers": 1, "persistent_workers": True, "prefetch_factor": 4})
        check(payload, "persistent_workers", True, "override")
        check(payload, "prefetch_factor", 4, "override")

    def test_val_loss_can_be_monitored_with_validation(self, scan: Path) -> None:
        assert train(scan, {"val_fraction": 0.2}).execution_config.checkpoint_monitor_metric == "val_loss"
        explicit = train(scan, {"val_fraction": 0.2, "checkpoint_monitor_metric": "train_loss"})
        check(explicit, "checkpoint_monitor_metric", "train_loss", "override")

    def test_none_can_be_an_override(self, make: Make) -> None:
        payload = make({"gradient_clip_val": None}, PyTorchExecutionConfig(gradient_clip_val=1.0))
        check(payload, "gradient_clip_val", None, "override > execution_config")

    @pytest.mark.parametrize("alias", ["lr", "execution.lr"])
    def test_alias_is_recorded_under_the_plain_name(self, make: Make, alias: str) -> None:
        payload = make({alias: 2e-3})
        check(payload, "learning_rate", 2e-3, "override")
        assert "lr" not in payload.overrides_applied


class TestExecutionConfigPrecedence:
    """Override, given config, config file, default, in this order."""

    @pytest.mark.parametrize("name", KNOBS)
    def test_given_config_wins_over_config_file(self, make: Make, name: str, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({name: FILE[name]}))
        payload = make(None, PyTorchExecutionConfig(**GIVEN), config_file=file)
        check(payload, name, in_force(name, GIVEN[name]), "execution_config > config_file")

    @pytest.mark.parametrize("name", KNOBS)
    def test_config_file_wins_over_default(self, make: Make, name: str, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({"execution": FILE}))
        check(make(config_file=file), name, in_force(name, FILE[name]), "config_file")

    @pytest.mark.parametrize("name", KNOBS)
    def test_given_default_counts_as_given(self, make: Make, name: str, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({"execution": {name: FILE[name]}}))
        payload = make(None, PyTorchExecutionConfig(), config_file=file)
        alone = {"accelerator": "cpu", "devices": 1, "strategy": "single_device", "enable_progress_bar": False}
        check(payload, name, alone.get(name, getattr(PyTorchExecutionConfig(), name)), "execution_config > config_file")

    def test_default_is_recorded_for_every_knob(self, make: Make) -> None:
        payload = make()
        names = {field.name for field in fields(PyTorchExecutionConfig)}
        assert names <= set(payload.overrides_applied)
        assert {payload.provenance[name] for name in names} == {"default"}
        assert payload.execution_config == PyTorchExecutionConfig(
            accelerator="cpu", devices=1, strategy="single_device", checkpoint_monitor_metric="train_loss",
            inference_batch_size=32, cpu_loops="compiled", cuda_graphs=False, enable_progress_bar=False,
        )  # fmt: skip

    def test_nothing_is_left_at_auto(self, make: Make) -> None:
        payload = make()
        assert "auto" not in payload.to_dict()["execution"].values()
        assert payload.data_config.file_format == "ptychopinn_npz"

    @pytest.mark.parametrize("config", [None, PyTorchExecutionConfig()])
    def test_none_equals_the_default_config(self, make: Make, config: PyTorchExecutionConfig | None) -> None:
        assert make(None, config).fingerprint() == make().fingerprint()


class TestExecutionConfigImmutability:
    """The given config is never changed."""

    def test_given_config_is_not_mutated(self, make: Make) -> None:
        given = PyTorchExecutionConfig(**GIVEN)
        before = replace(given)
        payload = make(dict(EXPLICIT), given)
        assert given == before
        assert payload.execution_config is not given

    def test_config_is_frozen(self) -> None:
        config = PyTorchExecutionConfig()
        with pytest.raises(FrozenInstanceError):
            config.devices = 2  # type: ignore[misc]

    def test_given_overrides_are_not_mutated(self, make: Make) -> None:
        overrides = {"lr": 1e-4}
        make(overrides)
        assert overrides == {"lr": 1e-4}

    def test_payload_is_frozen(self, make: Make) -> None:
        payload = make()
        with pytest.raises(FrozenInstanceError):
            payload.execution_config = PyTorchExecutionConfig()  # type: ignore[misc]


class TestExecutionConfigAmbiguity:
    """What cannot be understood in one way only is refused."""

    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            ({"lr": 1e-3, "learning_rate": 2e-3}, "lr = 0.001 and learning_rate = 0.002"),
            ({"learning_rate": 1e-3, "execution.learning_rate": 2e-3}, "name one setting"),
            ({"lerning_rate": 1e-3}, "Did you mean 'learning_rate'"),
            ({"execution.lerning_rate": 1e-3}, "Did you mean 'execution.learning_rate'"),
            ({"model.learning_rate": 1e-3}, "unknown setting 'model.learning_rate'"),
            ({"num_workers": "2"}, r"num_workers = '2' \(str\); expected int"),
            ({"num_workers": True}, r"\(bool\); expected int"),
            ({"num_workers": -1}, ">= 0"),
            ({"devices": 0}, ">= 1"),
            ({"devices": "all"}, "execution.devices = 'all'"),
            ({"strategy": "dp"}, "expected one of 'auto', 'ddp', 'single_device'"),
            ({"scheduler": "cosine"}, "execution.scheduler"),
            ({"logger_backend": "wandb"}, "execution.logger_backend"),
            ({"prefetch_factor": 2}, "num_workers > 0"),
            ({"persistent_workers": True}, "num_workers > 0"),
            ({"precision": "16-mixed"}, "not available on cpu"),
            ({"accelerator": "cuda"}, "torch finds no such device"),
            ({"devices": 2, "strategy": "single_device"}, "single_device' with 2 ranks"),
            ({"middle_trim": 8}, r"2 \* middle_trim < 16"),
            ({"output_dir": "elsewhere"}, "contradicts the argument"),
        ],
    )
    def test_bad_override_is_refused_with_the_fix(self, make: Make, overrides: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            make(overrides)

    @pytest.mark.parametrize(
        ("overrides", "words"),
        [
            ({"max_epochs": 3, "epochs": 4}, "max_epochs = 3 and epochs = 4"),
            ({"checkpoint_monitor_metric": "val_loss"}, "val_fraction = 0"),
            ({"N": 64}, "32 by 32"),
            ({"gridsize": 4}, "gridsize squared <= patterns"),
            ({"output_px": 64}, "even number up to data.N = 32"),
            ({"output_px": 13}, "even number up to data.N = 32"),
            ({"architecture": "unet9"}, "model.architecture = 'unet9'; expected one of 'lean'"),
            ({"patch_weighting": "uniform"}, "not used here"),
            ({"train_data_file": "other.npz"}, "contradicts the argument"),
        ],
    )
    def test_training_refuses_what_contradicts(self, scan: Path, overrides: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            train(scan, overrides)

    def test_two_names_of_one_value_pass_when_equal(self, scan: Path) -> None:
        payload = train(scan, {"max_epochs": 4, "epochs": 4, "training.nepochs": 4, "train_data_file": str(scan)})
        assert payload.training_config.max_epochs == 4

    def test_network_refuses_odd_patterns(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"data\.N = 20; the network needs a multiple of 8"):
            train(write_scan(tmp_path / "odd.npz", n=20))

    def test_execution_config_of_another_type_is_refused(self, make: Make) -> None:
        with pytest.raises(ConfigError, match="expected a PyTorchExecutionConfig"):
            make(None, {"devices": 1})


class TestExecutionConfigLaunch:
    """Devices are the ranks a launcher started on this node."""

    @pytest.fixture
    def _two_ranks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        env = {
            "PTYCHO_DIST_LAUNCHER": "spawn", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1",
            "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4000",
        }  # fmt: skip
        for name, value in env.items():
            monkeypatch.setenv(name, value)

    @pytest.mark.usefixtures("_two_ranks")
    def test_auto_is_what_the_launcher_started(self, make: Make) -> None:
        payload = make()
        check(payload, "devices", 2, "default")
        check(payload, "strategy", "ddp", "default")

    @pytest.mark.usefixtures("_two_ranks")
    def test_other_number_is_refused_with_both_numbers(self, make: Make) -> None:
        with pytest.raises(LaunchError, match=r"devices = 3, but this node has 2 ranks .*torchrun --nproc-per-node 3"):
            make({"devices": 3})

    def test_payload_holds_nothing_of_the_rank(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        env = {"PTYCHO_DIST_LAUNCHER": "spawn", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "0",
               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "4000"}  # fmt: skip
        prints = set()
        for rank in ("0", "1"):
            for name, value in (env | {"RANK": rank, "LOCAL_RANK": rank}).items():
                monkeypatch.setenv(name, value)
            prints.add(make().fingerprint())
        assert len(prints) == 1


PRINT_FINGERPRINTS = """
import sys
from ptycho_dist import create_inference_payload, create_training_payload
scan, bundle = sys.argv[1:3]
given = {"learning_rate": 1e-3, "max_epochs": 3, "seed": 5}
one = create_training_payload(scan, "runs/x", given)
two = create_inference_payload(bundle, scan, "runs/y", {"middle_trim": 1})
sys.stdout.write(" ".join([one.fingerprint(), one.result_fingerprint(), two.fingerprint(), two.result_fingerprint()]))
"""


class TestExecutionConfigFingerprint:
    """Equal settings have equal fingerprints, everywhere; others have not."""

    def test_fingerprint_is_equal_across_processes_and_hash_seeds(self, scan: Path, bundle: Path) -> None:
        here = train(scan, {"seed": 5, "epochs": 3, "lr": 1e-3})
        there = create_inference_payload(bundle, scan, "runs/y", {"middle_trim": 1})
        expected = [p for one in (here, there) for p in (one.fingerprint(), one.result_fingerprint())]
        for seed in ("1", "2"):
            command = [sys.executable, "-c", PRINT_FINGERPRINTS, str(scan), str(bundle)]
            env = os.environ | {"PYTHONHASHSEED": seed, "CUDA_VISIBLE_DEVICES": ""}
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
            assert done.stdout.split() == expected

    def test_fingerprint_changes_with_every_execution_field(self, make: Make) -> None:
        prints = [make({name: value}).fingerprint() for name, value in ANOTHER_VALUE.items()]
        prints.append(make().fingerprint())
        prints.append(make({"num_workers": 1, "persistent_workers": True}).fingerprint())
        prints.append(make({"num_workers": 1, "prefetch_factor": 2}).fingerprint())
        assert len(set(prints)) == len(prints)

    @pytest.mark.parametrize(
        "changed",
        [
            {"group_size": 5}, {"gridsize": 2}, {"nphotons": 5.0}, {"intensity_kind": "counts"},
            {"pixel_size_m": 1e-8}, {"energy_eV": 8e3},
            {"detector_distance_m": 1.0}, {"width": 24}, {"depth": 7}, {"output_px": 20}, {"n_modes": 2},
            {"probe_trainable": False}, {"intensity_scale_trainable": True}, {"max_epochs": 23}, {"max_steps": 9},
            {"batch_size": 5}, {"seed": 11}, {"likelihood": "poisson"}, {"optimizer": "sgd"}, {"weight_decay": 0.123},
            {"probe_learning_rate": 0.123}, {"warmup_fraction": 0.123}, {"val_fraction": 0.123},
            {"train_rows": [0.0, 0.5]},
        ],
    )  # fmt: skip
    def test_fingerprint_changes_with_every_other_field(self, scan: Path, changed: dict[str, Any]) -> None:
        assert train(scan, changed).fingerprint() != train(scan).fingerprint()

    def test_fingerprint_changes_with_the_scan(self, scan: Path, tmp_path: Path) -> None:
        base, copy = train(scan), tmp_path / "scan.npz"
        other = create_training_payload(write_scan(copy, seed=1), "runs/x", {"nphotons": base.data_config.nphotons})
        assert other.result_fingerprint() != base.result_fingerprint()

    @pytest.mark.parametrize(
        "irrelevant", [{"num_workers": 2}, {"devices": 2}, {"logger_backend": "none"}, {"timeout_s": 9.0}]
    )
    def test_result_fingerprint_ignores_what_changes_no_number(self, make: Make, irrelevant: dict[str, Any]) -> None:
        assert make(irrelevant).result_fingerprint() == make().result_fingerprint()

    def test_result_fingerprint_ignores_folders(self, scan: Path, bundle: Path) -> None:
        one, two = (create_inference_payload(bundle, scan, folder) for folder in ("a", "b"))
        assert one.result_fingerprint() == two.result_fingerprint()
        assert one.fingerprint() != two.fingerprint()

    @pytest.mark.parametrize(
        "relevant", [{"inference_batch_size": 4}, {"middle_trim": 1}, {"precision": "64-true"}, {"cpu_loops": "torch"},
                     {"patch_weighting": "uniform"}]
    )  # fmt: skip
    def test_result_fingerprint_of_inference_covers_what_changes_numbers(
        self, scan: Path, bundle: Path, relevant: dict[str, Any]
    ) -> None:
        base = create_inference_payload(bundle, scan, "a")
        assert create_inference_payload(bundle, scan, "a", relevant).result_fingerprint() != base.result_fingerprint()

    def test_result_fingerprint_covers_the_weights(self, scan: Path, bundle: Path, tmp_path: Path) -> None:
        payload = train(scan, {"accelerator": "cpu"})
        other = save_bundle(tmp_path / "bundle", {"w": torch.zeros(3)}, payload.to_dict())
        one, two = (create_inference_payload(path, scan, "a") for path in (bundle, other))
        assert one.result_fingerprint() != two.result_fingerprint()
