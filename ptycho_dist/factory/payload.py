"""What every rank must hold alike before any work is done."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from ptycho_dist import notebook_html
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.measurement import MeasurementConfig
from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_dist.errors import ConfigError
from ptycho_dist.version import package_version

_MEASUREMENT = tuple(field.name for field in fields(MeasurementConfig) if field.name != "file_format")
_DATA_GROUPS = ("group_size", "group_step", "gridsize")
_REFINE_PATHS = ("scan", "output_dir", "start", "memory_GiB")
_TRAINING_PATHS = ("train_data_file", "output_dir", "init_from", "label_file")
_TRAINING_NUMBERS = (
    "precision",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "accum_steps",
    "learning_rate",
    "scheduler",
)
_INFERENCE_CHOICES = (
    "patch_weighting",
    "synchronise_phases",
    "probe_from",
    "probe_search",
    "probe_patterns",
    "probe_iterations",
    "region",
)
_INFERENCE_NUMBERS = ("precision", "cpu_loops", "inference_batch_size", "middle_trim")


def plain(value: Any) -> Any:
    """Turn configs, paths, tuples and odd floats into what JSON can hold.

    Raises
    ------
    ConfigError
        If a value has no canonical form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    msg = f"a payload holds {value!r} ({type(value).__name__}); expected plain values. Convert it before."
    raise ConfigError(msg)


def canonical_json(value: Any) -> str:
    """Text that is equal if and only if the values are: sorted keys, floats by ``repr``."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Payload(ABC):
    """Settings of a job on a scan: what all jobs have in common."""

    data_config: DataConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Any]
    provenance: dict[str, str]
    scan_checksum: str
    n_patterns: int
    mean_counts: float
    canvas_px: int | None = None

    @property
    def photons(self) -> float:
        """Mean photons of a pattern that patterns are scaled to."""
        return self.mean_counts if self.data_config.nphotons is None else self.data_config.nphotons

    @property
    def count_factor(self) -> float:
        """Factor from the file's counts to photons."""
        return self.photons / self.mean_counts

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as nested plain values (what the fingerprint covers)."""
        return {
            "data": plain(self.data_config),
            "execution": plain(self.execution_config),
            "scan": {
                "checksum": self.scan_checksum,
                "n_patterns": self.n_patterns,
                "mean_counts": plain(self.mean_counts),
            },
            "program": {"version": package_version()},
        }

    @property
    @abstractmethod
    def scan_path(self) -> Path:
        """The scan file."""

    @property
    @abstractmethod
    def output_dir(self) -> Path:
        """Folder of results."""

    @abstractmethod
    def result_settings(self) -> dict[str, Any]:
        """Return what changes the result, as nested plain values; other folders, workers or devices do not."""

    def _repr_html_(self) -> str:
        """Show in a notebook what was given, and folded all settings with where they came from."""
        title = f"{type(self).__name__} of {self.scan_path}: {self.n_patterns} patterns, into {self.output_dir}"
        told = {
            f"{section}.{name}": (value, self.provenance[name])
            for section, values in self.to_dict().items()
            for name, value in values.items()
            if name in self.provenance
        }
        tables = (
            {name: f"{value} ({level})" for name, (value, level) in told.items() if all_of_them or level != "default"}
            for all_of_them in (False, True)
        )
        given, everything = map(notebook_html.table, tables)
        return notebook_html.page(title, given, notebook_html.folded("all settings", everything))

    def fingerprint(self) -> str:
        """SHA-256 over every setting, for agreement between ranks."""
        return digest(self.to_dict())

    def result_fingerprint(self) -> str:
        """SHA-256 over what changes the result, for checkpoints and shards."""
        return digest(self.result_settings())


@dataclass(frozen=True, kw_only=True)
class TrainingPayload(Payload):
    """Settings in force for a training, with where each came from.

    Parameters
    ----------
    data_config, model_config, training_config, execution_config
        Resolved: nothing is left at ``auto`` or "where not set".
    overrides_applied
        Values in force by plain name: all that were given, and every execution knob.
    provenance
        For every setting, the level in force, then the levels it beat.
    scan_checksum
        SHA-256 (hex) of the scan file.
    n_patterns
        Patterns in the scan.
    mean_counts
        Mean photon count of a pattern as read from the scan.
    init_checksum
        SHA-256 (hex) of the weights that the network starts from; empty where it starts untrained.
    label_checksum
        SHA-256 (hex) of the file of labels; empty without one.
    """

    model_config: ModelConfig
    training_config: TrainingConfig
    init_checksum: str = ""
    label_checksum: str = ""

    @property
    def scan_path(self) -> Path:
        """The scan file."""
        return self.training_config.train_data_file

    @property
    def output_dir(self) -> Path:
        """Folder of results."""
        return self.training_config.output_dir

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as nested plain values (what the fingerprint covers)."""
        own = {"model": plain(self.model_config), "training": plain(self.training_config)}
        start = {"weights_checksum": self.init_checksum, "label_checksum": self.label_checksum}
        return super().to_dict() | own | {"start": start}

    def result_settings(self) -> dict[str, Any]:
        """Return what changes the trained weights, as nested plain values."""
        everything = self.to_dict()
        return {
            "data": _only(everything["data"], ("N", "nphotons", *_MEASUREMENT, *_DATA_GROUPS)),
            "model": everything["model"],
            "training": _without(everything["training"], _TRAINING_PATHS),
            "start": everything["start"],
            "execution": _only(everything["execution"], _TRAINING_NUMBERS),
            "scan": everything["scan"],
            "program": everything["program"],
        }


@dataclass(frozen=True, kw_only=True)
class InferencePayload(Payload):
    """Settings in force for a prediction, with where each came from.

    Parameters
    ----------
    data_config, model_config
        Those of the trained bundle; what describes the scan file may be given anew.
    inference_config, execution_config, overrides_applied, provenance
        As in :class:`TrainingPayload`.
    scan_checksum, n_patterns, mean_counts
        As in :class:`TrainingPayload`.
    weights_checksum
        SHA-256 (hex) of the bundle's weights.
    """

    model_config: ModelConfig
    inference_config: InferenceConfig
    weights_checksum: str

    @property
    def scan_path(self) -> Path:
        """The scan file."""
        return self.inference_config.test_data_file

    @property
    def output_dir(self) -> Path:
        """Folder of results."""
        return self.inference_config.output_dir

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as nested plain values (what the fingerprint covers)."""
        own = {"inference": plain(self.inference_config), "bundle": {"weights_checksum": self.weights_checksum}}
        return super().to_dict() | {"model": plain(self.model_config)} | own

    def result_settings(self) -> dict[str, Any]:
        """Return what changes the predicted object, as nested plain values."""
        everything = self.to_dict()
        groups = ("gridsize",) if self.model_config.group_as_channels else ()
        return {
            "data": _only(everything["data"], ("N", "nphotons", *_MEASUREMENT, *groups)),
            "model": everything["model"],
            "inference": _only(everything["inference"], _INFERENCE_CHOICES),
            "execution": _only(everything["execution"], _INFERENCE_NUMBERS),
            "scan": everything["scan"],
            "bundle": everything["bundle"],
            "program": everything["program"],
        }


@dataclass(frozen=True, kw_only=True)
class RefinePayload(Payload):
    """Settings in force for a refinement, with where each came from.

    Parameters
    ----------
    refine_config
        Resolved: nothing is left at "where not set" but what is optional.
    data_config, execution_config, overrides_applied, provenance
        As in :class:`TrainingPayload`.
    scan_checksum, n_patterns, mean_counts
        As in :class:`TrainingPayload`.
    start_checksum
        SHA-256 (hex) of the file to start from; empty without one.
    """

    refine_config: RefineConfig
    start_checksum: str

    @property
    def scan_path(self) -> Path:
        """The scan file."""
        return self.refine_config.scan

    @property
    def output_dir(self) -> Path:
        """Folder of results."""
        return self.refine_config.output_dir

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as nested plain values (what the fingerprint covers)."""
        return super().to_dict() | {"refine": plain(self.refine_config), "start": {"checksum": self.start_checksum}}

    def result_settings(self) -> dict[str, Any]:
        """Return what changes the refined object, as nested plain values."""
        everything = self.to_dict()
        return {
            "data": _only(everything["data"], ("N", *_MEASUREMENT)),
            "refine": _without(everything["refine"], _REFINE_PATHS),
            "execution": _only(everything["execution"], ("precision", "cpu_loops")),
            "scan": everything["scan"],
            "start": everything["start"],
            "program": everything["program"],
        }


def _only(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names}


def _without(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
