"""Tests of the config factory: precedence, ambiguity, fingerprints, legacy bridge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist import (
    DataConfig,
    InferencePayload,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    TrainingPayload,
    create_inference_payload,
    create_training_payload,
    save_bundle,
    update_legacy_dict,
)
from ptycho_dist.errors import BundleError, ConfigError, LaunchError, PtychoDistError

Payload = TrainingPayload | InferencePayload
N, PATTERNS = 32, 9

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
IN_FORCE = {"auto": {"accelerator": "cpu", "strategy": "ddp"}}
KNOBS = tuple(EXPLICIT)

ANOTHER_VALUE: dict[str, Any] = {
    "devices": 2, "strategy": "ddp", "deterministic": False, "precision": "64-true", "gradient_clip_val": 0.5,
    "gradient_clip_algorithm": "value", "accum_steps": 2, "num_workers": 1, "pin_memory": True,
    "learning_rate": 0.01, "scheduler": "Default", "enable_progress_bar": True, "enable_checkpointing": False,
    "checkpoint_save_top_k": 3, "checkpoint_mode": "max", "early_stop_patience": 5, "logger_backend": "tensorboard",
    "inference_batch_size": 7, "middle_trim": 2, "timeout_s": 12.0,
}  # fmt: skip
NEEDS_MORE = {"accelerator", "persistent_workers", "prefetch_factor", "checkpoint_monitor_metric"}


@pytest.fixture(autouse=True)
def _plain_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_", "PTYCHO_DIST_LAUNCHER")):
            monkeypatch.delenv(name)


def write_scan(path: Path, n: int = N, patterns: int = PATTERNS, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(patterns)))
    where = np.arange(patterns)
    yy, xx = np.mgrid[:n, :n] - n / 2
    np.savez(
        path,
        diffraction=rng.poisson(100.0, (patterns, n, n)).astype(np.int32),
        xcoords=5.0 * (where % side) + n,
        ycoords=5.0 * (where // side) + n,
        probeGuess=np.exp(-(yy**2 + xx**2) / 20.0).astype(np.complex64),
    )
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.npz")


def train(scan: Path, overrides: dict[str, Any] | None = None, **more: Any) -> TrainingPayload:
    return create_training_payload(scan, "runs/x", overrides, **more)


@pytest.fixture(scope="module")
def bundle(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    payload = create_training_payload(scan, "runs/x", {"accelerator": "cpu"})
    return save_bundle(tmp_path_factory.mktemp("run") / "bundle", {"w": torch.ones(3)}, payload.to_dict())


class Make:
    """Make a payload of either kind with the same settings."""

    def __init__(self, kind: str, scan: Path, bundle: Path) -> None:
        self.kind, self.scan, self.bundle = kind, scan, bundle

    def __call__(self, overrides: dict[str, Any] | None = None, config: Any = None, **more: Any) -> Payload:
        if self.kind == "training":
            return create_training_payload(self.scan, "runs/x", overrides, config, **more)
        return create_inference_payload(self.bundle, self.scan, "runs/y", overrides, config, **more)


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
        alone = {"accelerator": "cpu", "devices": 1, "strategy": "single_device"}
        check(payload, name, alone.get(name, getattr(PyTorchExecutionConfig(), name)), "execution_config > config_file")

    def test_default_is_recorded_for_every_knob(self, make: Make) -> None:
        payload = make()
        names = {field.name for field in fields(PyTorchExecutionConfig)}
        assert names <= set(payload.overrides_applied)
        assert {payload.provenance[name] for name in names} == {"default"}
        assert payload.execution_config == PyTorchExecutionConfig(
            accelerator="cpu", devices=1, strategy="single_device", checkpoint_monitor_metric="train_loss",
            inference_batch_size=32,
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
            ({"precision": "16-mixed"}, "not to be had on cpu"),
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
        "relevant", [{"inference_batch_size": 4}, {"middle_trim": 1}, {"precision": "64-true"},
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


class TestTrainingPayload:
    """What the scan file says is used where nothing was given."""

    def test_scan_gives_size_modes_and_photons(self, scan: Path) -> None:
        payload = train(scan)
        assert payload.data_config.N == N
        assert payload.model_config == ModelConfig(output_px=N // 2, n_modes=1)
        assert payload.data_config.nphotons == pytest.approx(100.0 * N * N, rel=0.01)
        assert (payload.n_patterns, len(payload.scan_checksum)) == (PATTERNS, 64)
        assert {payload.provenance[key] for key in ("N", "nphotons", "n_modes", "output_px")} == {"scan"}

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
