"""Steps that all factories share: read what was given, decide, build, record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import Level, Resolution
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.config.sections import Sections, field_names, homes
from ptycho_dist.data.scan import ScanOptions, read_header
from ptycho_dist.data.scan_set import ScanSet, Source, read_source_header
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.config_file import read_config_file
from ptycho_dist.factory.devices import resolve_devices
from ptycho_dist.factory.loader import choose_loader
from ptycho_dist.launching.environment import detect
from ptycho_dist.types import ScanHeader

ARGUMENT = "argument"
"""Level of the factory's own path arguments; above all others."""

DEFAULT_INFERENCE_BATCH_SIZE = 32
"""Patterns in one prediction batch, where not set."""

Config = TypeVar("Config")


ScanSource = Path | str | Source
"""A scan or a set of scans: its path, or opened already."""


def given_levels(
    overrides: Mapping[str, Any] | None,
    execution_config: PyTorchExecutionConfig | None,
    config_file: Path | str | None,
    sections: Sections,
) -> list[Level]:
    """Canonical levels of everything given, highest first.

    Raises
    ------
    ConfigError
        For unknown, ambiguous or ill-typed settings.
    """
    levels = [precedence.canonicalise(overrides or {}, sections, precedence.OVERRIDE)]
    if execution_config is not None:
        levels.append(_execution_level(execution_config))
    if config_file is not None:
        settings = read_config_file(config_file).settings()
        levels.append(precedence.canonicalise(settings, sections, precedence.CONFIG_FILE, drop_foreign=True))
    return levels


def with_arguments(arguments: Mapping[str, Any], levels: Sequence[Level], source: ScanSource) -> list[Level]:
    """Put a factory's own path arguments above all other levels, and what a scan was opened with below them.

    Raises
    ------
    ConfigError
        If an override contradicts an argument.
    """
    overrides = next((level.values for level in levels if level.name == precedence.OVERRIDE), {})
    for key, value in arguments.items():
        if overrides.get(key, value) != value:
            msg = (
                f"override {key} = {str(overrides[key])!r} contradicts the argument {str(value)!r}; "
                "expected one value. Remove the override."
            )
            raise ConfigError(msg)
    return [Level(ARGUMENT, arguments), *levels, Level(precedence.SCAN, _opened_with(source, levels))]


def _opened_with(source: ScanSource, levels: Sequence[Level]) -> dict[str, Any]:
    """Select options of an opened scan that no level gives."""
    if isinstance(source, Path | str):
        return {}
    given = precedence.resolve(levels).values
    options = {f"data.{one.name}": getattr(source.options, one.name) for one in fields(ScanOptions)}
    default = {f"data.{one.name}": one.default for one in fields(ScanOptions)}
    return {key: value for key, value in options.items() if key not in given and value != default[key]}


def path_of(source: ScanSource) -> Path:
    """Path of a scan or a set of scans."""
    return Path(source) if isinstance(source, Path | str) else source.header.path


def header_of(source: ScanSource, levels: Sequence[Level], *, set_allowed: bool = False) -> ScanHeader:
    """Read the header of a scan as the data settings say; that of an opened one is taken as it is.

    Raises
    ------
    ConfigError
        If it was opened with other options than the settings ask for, or is a set where one scan is needed.
    DataFormatError
        If it cannot be read.
    """
    options = reader_options(levels)
    if isinstance(source, Path | str):
        return read_source_header(Path(source), options) if set_allowed else read_header(source, options)
    if isinstance(source, ScanSet) and not set_allowed:
        msg = f"{source.folder} is a set of scans; expected one scan. Name one of its files, or use train."
        raise ConfigError(msg)
    for field in fields(ScanOptions):
        wanted, found = getattr(options, field.name), getattr(source.options, field.name)
        if wanted not in (field.default, found, source.header.format_name):
            msg = (
                f"{source.header.path} was opened with {field.name} = {found!r}, but data.{field.name} = {wanted!r}; "
                f"expected one value. Open it with ScanOptions({field.name}={wanted!r})."
            )
            raise ConfigError(msg)
    return source.header


def data_of(levels: Sequence[Level]) -> DataConfig:
    """Make the data config, as far as it is known before the scan is read."""
    return build(DataConfig, "data", precedence.resolve([*levels, precedence.defaults({"data": DataConfig})]))


def reader_options(levels: Sequence[Level]) -> ScanOptions:
    """Reader options that the data settings ask for, as far as they are known before the scan is read."""
    config = data_of(levels)
    return ScanOptions(**{field.name: getattr(config, field.name) for field in fields(ScanOptions)})


def _execution_level(config: PyTorchExecutionConfig) -> Level:
    if not isinstance(config, PyTorchExecutionConfig):
        msg = (
            f"execution_config is a {type(config).__name__}; expected a PyTorchExecutionConfig or None. "
            "Pass plain settings as overrides."
        )
        raise ConfigError(msg)
    values = {f"execution.{field.name}": getattr(config, field.name) for field in fields(config)}
    return Level(precedence.EXECUTION_CONFIG, values)


def build(config: type[Config], section: str, resolution: Resolution) -> Config:
    """Make one config from the values in force.

    Raises
    ------
    ConfigError
        If a required field has no value, or a value is out of range.
    """
    return config(**resolution.section(section))


def build_execution(resolution: Resolution) -> PyTorchExecutionConfig:
    """Make the execution config of a job that trains nothing, for the devices of this launch."""
    config = build(PyTorchExecutionConfig, "execution", resolution)
    if config.checkpoint_monitor_metric == "auto":
        config = replace(config, checkpoint_monitor_metric="train_loss")
    return choose_loader(resolve_devices(config, detect(os.environ)), resolution, trains=False)


def require_same_n(header: ScanHeader, resolution: Resolution) -> None:
    """Refuse settings whose N is not that of the scan.

    Raises
    ------
    ConfigError
        With both numbers.
    """
    wanted, source = resolution.values["data.N"], resolution.provenance["data.N"]
    if wanted != header.N:
        fix = f"Use a bundle trained on {header.N} pixels" if source == precedence.BUNDLE else "Remove data.N"
        msg = (
            f"data.N = {wanted} (from {source}), but the patterns in {header.path} are "
            f"{header.N} by {header.N}; expected the same. {fix}, or use a scan with {wanted} pixels."
        )
        raise ConfigError(msg)


def execution_of(levels: Sequence[Level]) -> PyTorchExecutionConfig:
    """Make the execution config of a launch, as far as it is known before the scan is read."""
    return build_execution(precedence.resolve([*levels, precedence.defaults({"execution": PyTorchExecutionConfig})]))


def fill(resolution: Resolution, values: Mapping[str, Any], source: str) -> Resolution:
    """Put values where the resolution has None ("where not set")."""
    filled, provenance = dict(resolution.values), dict(resolution.provenance)
    for key, value in values.items():
        if filled[key] is None:
            filled[key], provenance[key] = value, source
    return Resolution(filled, provenance)


def name_reader(config: DataConfig, header: ScanHeader) -> DataConfig:
    """Put the reader that was found in place of ``auto``."""
    return replace(config, file_format=header.format_name) if config.file_format == "auto" else config


def record(configs: Mapping[str, Any], resolution: Resolution) -> tuple[dict[str, Any], dict[str, str]]:
    """Values in force that were given or are execution knobs, and where all came from.

    Parameters
    ----------
    configs
        Final config objects by section.
    resolution
        Where their values came from.

    Returns
    -------
    overrides_applied, provenance
        Both by plain name; by dotted name where two sections share a name.
    """
    sections = {section: type(config) for section, config in configs.items()}
    applied: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for section, config in configs.items():
        for name in field_names(type(config)):
            key = name if len(homes(name, sections)) == 1 else f"{section}.{name}"
            provenance[key] = resolution.provenance[f"{section}.{name}"]
            if section == "execution" or provenance[key] != precedence.DEFAULT:
                applied[key] = getattr(config, name)
    return applied, provenance
