"""Bundle, scan file and settings in, inference payload out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
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
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory import crosschecks
from ptycho_dist.factory.from_bundle import refuse_contradictions, trained_settings
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.factory.settings import (
    ARGUMENT,
    DEFAULT_INFERENCE_BATCH_SIZE,
    Given,
    build,
    build_execution,
    data_settings,
    fill,
    given_levels,
    name_reader,
    record,
    require_same_n,
    scan_options,
)
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.types import ScanHeader


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
    trained = trained_settings(info)
    probe_from = _probe_from(levels, info)
    if probe_from == "scan":
        trained = _without_modes(trained)
    refuse_contradictions(levels, trained)
    levels.append(trained)
    header = read_header(Path(test_data_file), scan_options(data_settings(levels, INFERENCE_SECTIONS)))
    if probe_from == "scan":
        crosschecks.check_probe(header)
        levels.append(Level(precedence.SCAN, {"model.n_modes": header.n_modes}))
    resolution = _settle_probe(_resolve(levels, trained), probe_from)
    require_same_n(header, resolution)
    return _assemble(resolution, header, info.weights_checksum, legacy_cfg)


def _probe_from(levels: list[Level], info: BundleInfo) -> str:
    """Settle whose probe is predicted with: the bundle's where it holds one, unless the scan's is asked for."""
    wanted = precedence.resolve([*levels, precedence.defaults(INFERENCE_SECTIONS)]).values["inference.probe_from"]
    if wanted == "bundle" and not info.holds_probe:
        msg = (
            f"inference.probe_from = 'bundle', but bundle {info.path} was trained on many scans and holds no probe; "
            "expected 'scan'. Remove inference.probe_from."
        )
        raise ConfigError(msg)
    own = "bundle" if info.holds_probe else "scan"
    return own if wanted == "auto" else str(wanted)


def _without_modes(trained: Level) -> Level:
    """Leave out the number of probe modes, which is that of the scan then."""
    return Level(trained.name, {key: value for key, value in trained.values.items() if key != "model.n_modes"})


def _settle_probe(resolution: Resolution, probe_from: str) -> Resolution:
    return Resolution({**resolution.values, "inference.probe_from": probe_from}, resolution.provenance)


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
    execution = build_execution(resolution)
    if model.group_as_channels:
        crosschecks.check_groups(data, header)
    propagation_of(data, header)
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


def _resolve(levels: list[Level], trained: Level) -> Resolution:
    resolution = precedence.resolve([*levels, precedence.defaults(INFERENCE_SECTIONS)])
    missing = {key: value for key, value in trained.values.items() if resolution.values[key] is None}
    resolution = fill(resolution, missing, precedence.BUNDLE)
    return fill(resolution, {"execution.inference_batch_size": DEFAULT_INFERENCE_BATCH_SIZE}, precedence.DEFAULT)
