"""Bundle, scan file and settings in, inference payload out."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_dist.bundle import BundleInfo, find_bundle, read_bundle_info
from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.legacy import update_legacy_dict
from ptycho_dist.config.precedence import Level, Resolution
from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig
from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.data.scan import read_header
from ptycho_dist.distributed.environment import detect
from ptycho_dist.errors import BundleError, ConfigError
from ptycho_dist.factory import crosschecks
from ptycho_dist.factory.devices import resolve_devices
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.factory.settings import (
    ARGUMENT,
    DEFAULT_INFERENCE_BATCH_SIZE,
    Given,
    build,
    data_settings,
    fill,
    given_levels,
    name_reader,
    record,
    require_same_n,
    scan_options,
)
from ptycho_dist.types import ScanHeader

_ABOUT_THE_FILE = (
    "data.file_format",
    "data.intensity_kind",
    "data.pixel_size_m",
    "data.energy_eV",
    "data.detector_distance_m",
)
"""Settings that describe a scan file, not the trained network."""


def create_inference_payload(
    model_path: Path | str,
    test_data_file: Path | str,
    output_dir: Path | str,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    config_file: Path | str | None = None,
    legacy_cfg: MutableMapping[str, Any] | None = None,
) -> InferencePayload:
    """Decide every setting of a prediction, the same on every rank.

    Data and model settings are those of the bundle; to contradict a trained
    setting is an error. Precedence as in
    :func:`~ptycho_dist.factory.training.create_training_payload`.

    Parameters
    ----------
    model_path
        Bundle folder, or the output folder of the training that wrote it.
    test_data_file
        Scan to predict.
    output_dir, overrides, execution_config, config_file, legacy_cfg
        As for training.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    ConfigError, DataFormatError, LaunchError
        As for training.
    """
    bundle_path = find_bundle(Path(model_path))
    paths = {"model_path": bundle_path, "test_data_file": Path(test_data_file), "output_dir": Path(output_dir)}
    arguments = Level(ARGUMENT, {f"inference.{name}": path for name, path in paths.items()})
    given = Given(_without_alternative_path(overrides, Path(model_path)), execution_config, config_file)
    info = read_bundle_info(bundle_path)
    levels = given_levels(given, arguments, INFERENCE_SECTIONS)
    trained = _trained_settings(info, bundle_path)
    _refuse_contradictions(levels, trained)
    levels.append(trained)
    header = read_header(Path(test_data_file), scan_options(data_settings(levels, INFERENCE_SECTIONS)))
    resolution = _resolve(levels)
    require_same_n(header, resolution)
    return _assemble(resolution, header, info.weights_checksum, legacy_cfg)


def _assemble(
    resolution: Resolution, header: ScanHeader, weights_checksum: str, legacy_cfg: MutableMapping[str, Any] | None
) -> InferencePayload:
    """Build and check the configs; the legacy mapping is updated before the execution config is built."""
    data = name_reader(build(DataConfig, "data", resolution), header)
    model = build(ModelConfig, "model", resolution)
    inference = build(InferenceConfig, "inference", resolution)
    if legacy_cfg is not None:
        for config in (model, data, inference):
            update_legacy_dict(legacy_cfg, config)
    execution = _build_execution(resolution)
    crosschecks.check_loader(execution)
    crosschecks.check_trim(model, execution)
    configs = {"data": data, "model": model, "inference": inference, "execution": execution}
    applied, provenance = record(configs, resolution)
    return InferencePayload(
        data_config=data,
        model_config=model,
        inference_config=inference,
        execution_config=execution,
        overrides_applied=applied,
        provenance=provenance,
        scan_checksum=header.checksum,
        n_patterns=header.n_patterns,
        mean_counts=header.mean_counts,
        weights_checksum=weights_checksum,
    )


def _without_alternative_path(overrides: Mapping[str, Any] | None, model_path: Path) -> dict[str, Any]:
    """Drop an override that only repeats the model path as the caller spelled it."""
    given = dict(overrides or {})
    for name in ("model_path", "inference.model_path"):
        if isinstance(given.get(name), str | Path) and Path(given[name]) == model_path:
            del given[name]
    return given


def _trained_settings(info: BundleInfo, path: Path) -> Level:
    """Read the data and model settings that the bundle was trained with.

    The reader's name is that of the training file only and left out.
    """
    values: dict[str, Any] = {}
    for section in ("data", "model"):
        settings = info.payload_dict.get(section)
        if not isinstance(settings, dict):
            msg = f"bundle {path} holds no {section!r} settings; expected those of the training. Train it again."
            raise BundleError(msg)
        values |= {f"{section}.{name}": value for name, value in settings.items()}
    values.pop("data.file_format", None)
    try:
        return precedence.canonicalise(values, INFERENCE_SECTIONS, precedence.BUNDLE)
    except ConfigError as error:
        msg = f"bundle {path} holds settings this program does not know: {error} Use the version that wrote it."
        raise BundleError(msg) from error


def _refuse_contradictions(levels: list[Level], trained: Level) -> None:
    for level in levels:
        for key, value in level.values.items():
            fixed = key in trained.values and key not in _ABOUT_THE_FILE and value is not None
            if fixed and value != trained.values[key]:
                msg = (
                    f"{level.name}: {key} = {value!r}, but the bundle was trained with {trained.values[key]!r}; "
                    f"expected the trained value. Remove {key}, or train again."
                )
                raise ConfigError(msg)


def _resolve(levels: list[Level]) -> Resolution:
    resolution = precedence.resolve([*levels, precedence.defaults(INFERENCE_SECTIONS)])
    trained = {key: value for key, value in levels[-1].values.items() if resolution.values[key] is None}
    resolution = fill(resolution, trained, precedence.BUNDLE)
    return fill(resolution, {"execution.inference_batch_size": DEFAULT_INFERENCE_BATCH_SIZE}, precedence.DEFAULT)


def _build_execution(resolution: Resolution) -> PyTorchExecutionConfig:
    config = build(PyTorchExecutionConfig, "execution", resolution)
    if config.checkpoint_monitor_metric == "auto":
        config = replace(config, checkpoint_monitor_metric="train_loss")
    return resolve_devices(config, detect(os.environ))
