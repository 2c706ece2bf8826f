"""Bundle, scan file and settings in, inference payload out."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.bundle import BundleInfo, find_bundle, read_bundle_info
from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.legacy import update_legacy_dict
from ptycho_dist.config.precedence import Level, Resolution
from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig
from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.data.scan import require_made_from
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory import crosschecks
from ptycho_dist.factory.from_bundle import refuse_contradictions, trained_settings
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.factory.settings import (
    DEFAULT_INFERENCE_BATCH_SIZE,
    ScanSource,
    build,
    build_execution,
    fill,
    given_levels,
    header_of,
    name_reader,
    path_of,
    record,
    require_same_n,
    with_arguments,
)
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.types import Propagation, ScanHeader

_SAME_NUMBER = 0.01
"""Largest relative difference of two distances, pixel sizes or energies that are taken as equal."""


def create_inference_payload(
    model_path: Path | str,
    test_data_file: ScanSource,
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
        Scan to predict: its path, or opened already.
    output_dir, overrides, execution_config, config_file, legacy_cfg
        As for training.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    ConfigError, DataFormatError, LaunchError
        As for training.
    """
    given = _without_alternative_path(overrides, Path(model_path))
    levels = given_levels(given, execution_config, config_file, INFERENCE_SECTIONS)
    return inference_payload(read_trained(model_path, levels), test_data_file, output_dir, legacy_cfg)


@dataclass(frozen=True)
class Trained:
    """A trained network, and what is given for a prediction with it.

    Parameters
    ----------
    info
        What its bundle says.
    levels
        What was given, highest precedence first; last the settings of the bundle.
    probe_from
        Whose probe is predicted with: bundle or scan.
    """

    info: BundleInfo
    levels: tuple[Level, ...]
    probe_from: str


def read_trained(model_path: Path | str, given: Sequence[Level]) -> Trained:
    """Read a bundle, and refuse settings that contradict it.

    Raises
    ------
    BundleError
        If it cannot be used.
    ConfigError
        If a setting contradicts it.
    """
    info = read_bundle_info(find_bundle(Path(model_path)))
    trained = trained_settings(info)
    probe_from = _probe_from(given, info)
    if probe_from == "scan":
        trained = _without_modes(trained)
    refuse_contradictions(given, trained)
    return Trained(info, (*given, trained), probe_from)


def inference_payload(
    trained: Trained, source: ScanSource, output_dir: Path | str, legacy_cfg: MutableMapping[str, Any] | None = None
) -> InferencePayload:
    """Decide as :func:`create_inference_payload` does, from canonical levels and a bundle that was read."""
    info = trained.info
    paths = {"model_path": info.path, "test_data_file": path_of(source), "output_dir": Path(output_dir)}
    levels = with_arguments({f"inference.{name}": path for name, path in paths.items()}, trained.levels, source)
    header = header_of(source, levels)
    _require_training_scan(info, header)
    if trained.probe_from == "scan":
        crosschecks.check_probe(header)
        levels.append(Level(precedence.SCAN, {"data.n_modes": header.n_modes}))
    if info.fits_any_size:
        levels.append(_of_the_scan(header))
    resolution = _settle_probe(_resolve(levels, trained.levels[-1]), trained.probe_from)
    require_same_n(header, resolution)
    payload = _assemble(resolution, header, info.weights_checksum, legacy_cfg)
    if trained.probe_from == "bundle":
        _require_same_propagation(info, propagation_of(payload.data_config, header), header)
    return payload


def _of_the_scan(header: ScanHeader) -> Level:
    """Take from the scan what a network for any size of frames leaves open."""
    nphotons = header.mean_counts if header.nphotons is None else header.nphotons
    values = {"data.N": header.N, "data.nphotons": nphotons, "model.output_px": header.N // 2}
    return Level(precedence.SCAN, values)


def _probe_from(levels: Sequence[Level], info: BundleInfo) -> str:
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


def _require_training_scan(info: BundleInfo, header: ScanHeader) -> None:
    """Refuse a scan that took the place of the one that the network was trained on; any other scan will do."""
    trained_on = info.payload_dict.get("scan_path", "")
    if trained_on == str(header.path.resolve()):
        checksum = str(info.payload_dict["scan"]["checksum"])
        fix = "Train again, put that scan back, or give this one another name."
        require_made_from(header, f"bundle {info.path}", checksum, fix)


def _require_same_propagation(info: BundleInfo, found: Propagation, header: ScanHeader) -> None:
    """Refuse a scan whose waves travel otherwise than those that the network and its probe were trained with."""
    trained = {name: float(value) for name, value in info.payload_dict.get("propagation", {}).items() if name != "kind"}
    for name, value in trained.items():
        here = getattr(found, name)
        if math.isfinite(value) and not math.isclose(value, here, rel_tol=_SAME_NUMBER):
            msg = (
                f"bundle {info.path} was trained in the near field with {name} = {value:g}, but {header.path} has "
                f"{here:g}; expected the same. Train on a scan of this geometry, or give probe_from = scan."
            )
            raise ConfigError(msg)


def _without_modes(trained: Level) -> Level:
    """Leave out the number of probe modes, which is that of the scan then."""
    return Level(trained.name, {key: value for key, value in trained.values.items() if key != "data.n_modes"})


def _settle_probe(resolution: Resolution, probe_from: str) -> Resolution:
    settled: dict[str, Any] = {"inference.probe_from": probe_from}
    if resolution.values["inference.probe_search"] == "auto":
        settled["inference.probe_search"] = "always" if probe_from == "scan" else "never"
    return Resolution({**resolution.values, **settled}, resolution.provenance)


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
        canvas_px=header.canvas_px,
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
