"""Scan file and settings in, training payload out."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.legacy import update_legacy_dict
from ptycho_dist.config.precedence import Level, Resolution
from ptycho_dist.config.schema import DataConfig, ModelConfig, TrainingConfig
from ptycho_dist.config.sections import TRAINING_SECTIONS
from ptycho_dist.data.content import checksum
from ptycho_dist.data.set_index import SET_FORMAT
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory import crosschecks
from ptycho_dist.factory.devices import resolve_devices
from ptycho_dist.factory.from_bundle import WarmStart, warm_start
from ptycho_dist.factory.loader import choose_loader
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.factory.settings import (
    DEFAULT_INFERENCE_BATCH_SIZE,
    ScanSource,
    build,
    fill,
    given_levels,
    header_of,
    name_reader,
    path_of,
    record,
    require_same_n,
    with_arguments,
)
from ptycho_dist.launching.environment import detect
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.types import ScanHeader

_STEPS, _STEPS_FROM_TRAINED = 2000, 600
"""Most optimiser steps where neither steps nor passes are bounded."""


def create_training_payload(
    train_data_file: ScanSource,
    output_dir: Path | str,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    config_file: Path | str | None = None,
    legacy_cfg: MutableMapping[str, Any] | None = None,
) -> TrainingPayload:
    """Decide every setting of a training, the same on every rank.

    Precedence, highest first: overrides, execution_config, config_file, the
    bundle that ``init_from`` names, scan file, dataclass default.

    Parameters
    ----------
    train_data_file
        Scan to train on, or a folder of scans (a set): its path, or opened already.
    output_dir
        Folder for results; not created here.
    overrides
        Explicit settings by plain (``max_epochs``), dotted
        (``training.max_epochs``) or alias (``epochs``) name.
    execution_config
        Execution settings, every field of which counts as given. Never changed.
    config_file
        YAML or JSON file of settings.
    legacy_cfg
        Mapping that receives PtychoPINN's flat names before the execution
        config is built.

    Raises
    ------
    ConfigError
        If settings are unknown, ambiguous, contradictory or not available.
    DataFormatError
        If the scan cannot be read.
    BundleError
        If the bundle of ``init_from`` cannot be used.
    LaunchError
        If ranks and devices disagree.
    """
    levels = given_levels(overrides, execution_config, config_file, TRAINING_SECTIONS)
    return training_payload(train_data_file, output_dir, levels, legacy_cfg)


def training_payload(
    source: ScanSource,
    output_dir: Path | str,
    given: Sequence[Level],
    legacy_cfg: MutableMapping[str, Any] | None = None,
) -> TrainingPayload:
    """Decide as :func:`create_training_payload` does, from canonical levels."""
    arguments = {"training.train_data_file": path_of(source), "training.output_dir": Path(output_dir)}
    levels = with_arguments(arguments, given, source)
    header = header_of(source, levels, set_allowed=True)
    start = warm_start(levels, header)
    return _assemble(_resolve(levels, start, header), header, start, legacy_cfg)


def _assemble(
    resolution: Resolution, header: ScanHeader, start: WarmStart, legacy_cfg: MutableMapping[str, Any] | None
) -> TrainingPayload:
    """Build and check the configs; the legacy mapping is updated before the execution config is built."""
    data = name_reader(build(DataConfig, "data", resolution), header)
    model = build(ModelConfig, "model", resolution)
    training = build(TrainingConfig, "training", resolution)
    if legacy_cfg is not None:
        for config in (model, data, training):
            update_legacy_dict(legacy_cfg, config)
    execution = _build_execution(resolution, training)
    crosschecks.check_model(data, model)
    crosschecks.check_groups(data, header, training)
    crosschecks.check_probe(header)
    crosschecks.check_labels(data, model, training, header)
    if header.format_name == SET_FORMAT:
        crosschecks.check_set(data, training)
    if header.format_name != SET_FORMAT:
        propagation_of(data, header)
    crosschecks.check_loader(execution)
    crosschecks.check_logger(execution)
    crosschecks.check_trim(model, execution)
    configs = {"data": data, "model": model, "training": training, "execution": execution}
    applied, provenance = record(configs, resolution)
    return TrainingPayload(
        data_config=data,
        model_config=model,
        training_config=training,
        execution_config=execution,
        overrides_applied=applied,
        provenance=provenance,
        scan_checksum=header.checksum,
        n_patterns=header.n_patterns,
        canvas_px=header.canvas_px,
        mean_counts=header.mean_counts,
        init_checksum=start.checksum,
        label_checksum="" if training.label_file is None else checksum(training.label_file),
    )


def _resolve(given: list[Level], start: WarmStart, header: ScanHeader) -> Resolution:
    """Put what a bundle to start from, and the scan, say between the given levels and the defaults."""
    levels = [*given, start.settings]
    nphotons = header.mean_counts if header.nphotons is None else header.nphotons
    measured = {"data.nphotons": nphotons, "data.n_modes": header.n_modes or None}
    supervised = precedence.resolve(levels).values.get("training.mode") == "supervised"
    fixed = {"data.probe_trainable": False} if header.format_name == SET_FORMAT or supervised else {}
    scan = Level(precedence.SCAN, {"data.N": header.N, **measured, **fixed})
    resolution = precedence.resolve([*levels, scan, precedence.defaults(TRAINING_SECTIONS)])
    require_same_n(header, resolution)
    resolution = _with_batch(fill(resolution, {"training.init_from": start.path}, precedence.BUNDLE))
    derived = {**measured, "model.output_px": header.N // 2}
    resolution = _with_length(fill(resolution, derived, precedence.SCAN), header)
    return fill(resolution, {"execution.inference_batch_size": DEFAULT_INFERENCE_BATCH_SIZE}, precedence.DEFAULT)


def _with_batch(resolution: Resolution) -> Resolution:
    """Settle the global batch where it grows with the ranks, and the learning rate with it.

    The rate of adaptive optimisers grows with the square root of the batch (Malladi et al., NeurIPS (2022),
    arXiv:2205.10287), unless it is given.

    Raises
    ------
    ConfigError
        If both sizes are given.
    """
    per_rank = resolution.values["training.batch_size_per_rank"]
    if per_rank is None:
        return resolution
    values, provenance = dict(resolution.values), dict(resolution.provenance)
    if provenance["training.batch_size"] != precedence.DEFAULT:
        msg = (
            f"training.batch_size = {values['training.batch_size']} and training.batch_size_per_rank = {per_rank}; "
            "expected one of them. Remove the other."
        )
        raise ConfigError(msg)
    usual, size = values["training.batch_size"], per_rank * detect(os.environ).world
    values["training.batch_size"] = size
    provenance["training.batch_size"] = provenance["training.batch_size_per_rank"]
    if provenance["execution.learning_rate"] == precedence.DEFAULT:
        values["execution.learning_rate"] *= math.sqrt(size / usual)
    return Resolution(values, provenance)


def _with_length(resolution: Resolution, header: ScanHeader) -> Resolution:
    """Settle how long a training may last, by the steps and not by the passes: a larger scan needs hardly more."""
    values = resolution.values
    if values["training.max_epochs"] is None:
        steps = _STEPS if values["training.init_from"] is None else _STEPS_FROM_TRAINED
        resolution = fill(resolution, {"training.max_steps": steps}, precedence.DEFAULT)
    data, training = build(DataConfig, "data", resolution), build(TrainingConfig, "training", resolution)
    if training.max_steps is None:
        return resolution
    low, high = training.train_rows
    share = (high - low) * (1 - training.val_fraction)
    groups = data.n_groups(max(1, int(training.n_chosen(header.n_patterns) * share)), training.n_groups)
    in_epoch = max(1, groups // training.batch_size) / values["execution.accum_steps"]
    return fill(resolution, {"training.max_epochs": math.ceil(training.max_steps / in_epoch)}, precedence.DEFAULT)


def _build_execution(resolution: Resolution, training: TrainingConfig) -> PyTorchExecutionConfig:
    config = build(PyTorchExecutionConfig, "execution", resolution)
    crosschecks.check_monitor(training, config)
    if config.checkpoint_monitor_metric == "auto":
        metric = "val_loss" if training.val_fraction > 0 else "train_loss"
        config = replace(config, checkpoint_monitor_metric=metric)
    return choose_loader(resolve_devices(config, detect(os.environ)), resolution)
