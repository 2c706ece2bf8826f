"""What a bundle says of its training, as a level of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ptycho_dist.bundle import PRETRAINED, BundleInfo, find_bundle, read_bundle_info
from ptycho_dist.config import precedence
from ptycho_dist.config.precedence import Level
from ptycho_dist.config.scan_options import GEOMETRY, ScanOptions
from ptycho_dist.config.sections import INFERENCE_SECTIONS, TRAINING_SECTIONS
from ptycho_dist.errors import BundleError, ConfigError
from ptycho_dist.types import FAR_FIELD, ScanHeader

_ABOUT_THE_FILE = ("data.source_distance_m", *(f"data.{one.name}" for one in fields(ScanOptions)))
"""Settings that describe a scan file, not the trained network."""
_OF_EVERY_SCAN = {"data.intensity_kind", "data.source_distance_m", *(f"data.{name}" for name in GEOMETRY)}
"""Those of them that are taken to be the same for other scans."""
_OF_ONE_SCAN = ("data.N", "data.nphotons", "data.n_modes", "data.group_size", "data.group_step", "model.output_px")
"""Those that a network for any size of frames does not fix."""
_OF_THE_NETWORK = (
    "model.architecture",
    "model.width",
    "model.depth",
    "model.n_filters_scale",
    "model.stages",
    "model.exchange",
    "model.output_px",
    "model.group_as_channels",
)
"""Settings that decide which weights a network has."""


@dataclass(frozen=True)
class WarmStart:
    """Where the weights of a training start from.

    Parameters
    ----------
    settings
        Those of the network, from its bundle; empty without one.
    checksum
        SHA-256 (hex) of the bundle's weights; empty without one.
    path
        The bundle; None without one.
    """

    settings: Level = field(default_factory=lambda: Level(precedence.BUNDLE, {}))
    checksum: str = ""
    path: Path | None = None


def trained_settings(info: BundleInfo) -> Level:
    """Read the data and model settings that a bundle was trained with.

    What was said of the training file alone, such as its reader, mask and dropped patterns, is left out.

    Raises
    ------
    BundleError
        If there are none, or such as this program does not know.
    """
    values: dict[str, Any] = {}
    for section in ("data", "model"):
        settings = info.payload_dict.get(section)
        if not isinstance(settings, dict):
            msg = f"bundle {info.path} holds no {section!r} settings; expected those of the training. Train it again."
            raise BundleError(msg)
        values |= {f"{section}.{name}": value for name, value in settings.items()}
    values.setdefault("model.exchange", False)
    for name in set(_ABOUT_THE_FILE) - _OF_EVERY_SCAN:
        values.pop(name, None)
    for name in _OF_ONE_SCAN if info.fits_any_size else ():
        values.pop(name, None)
    try:
        return precedence.canonicalise(values, INFERENCE_SECTIONS, precedence.BUNDLE)
    except ConfigError as error:
        msg = f"bundle {info.path} holds settings this program does not know: {error} Use the version that wrote it."
        raise BundleError(msg) from error


def refuse_contradictions(levels: Sequence[Level], trained: Level) -> None:
    """Refuse settings that are not those of the trained network.

    Raises
    ------
    ConfigError
        Naming the setting and both values.
    """
    for level in levels:
        for key, value in level.values.items():
            fixed = key in trained.values and key not in _ABOUT_THE_FILE and value is not None
            if fixed and value != trained.values[key]:
                msg = (
                    f"{level.name}: {key} = {value!r}, but the bundle was trained with {trained.values[key]!r}; "
                    f"expected the trained value. Remove {key}, or train again."
                )
                raise ConfigError(msg)


def warm_start(levels: Sequence[Level], header: ScanHeader) -> WarmStart:
    """Find the network that ``training.init_from`` names, if any, and what it fixes.

    Parameters
    ----------
    levels
        What was given, highest first.
    header
        Scan to train on.

    Raises
    ------
    BundleError
        If the bundle cannot be used.
    ConfigError
        If the scan has patterns of another size, or a setting contradicts the network.
    """
    info = _start_of(precedence.resolve(levels).values)
    if info is None:
        return WarmStart()
    trained = trained_settings(info)
    N = trained.values.get("data.N")
    if N not in (None, header.N):
        msg = (
            f"training.init_from = {info.path} was trained on patterns of {N} pixels, but those in {header.path} have "
            f"{header.N}; expected the same. Use a bundle trained on {header.N} pixels, or remove training.init_from."
        )
        raise ConfigError(msg)
    settings = Level(precedence.BUNDLE, _of_the_network(trained))
    refuse_contradictions(levels, settings)
    return WarmStart(settings, info.weights_checksum, info.path)


def _start_of(given: Mapping[str, Any]) -> BundleInfo | None:
    """Read the bundle to start from: the one named, or that of the package where the network is to be of its kind."""
    path, asked = given.get("training.init_from"), given.get("training.pretrained")
    if path is not None:
        return read_bundle_info(find_bundle(Path(path)))
    if asked is False:
        return None
    shipped = read_bundle_info(PRETRAINED)
    return shipped if asked or _is_alike(given, shipped) else None


def _is_alike(given: Mapping[str, Any], shipped: BundleInfo) -> bool:
    usual = precedence.defaults(TRAINING_SECTIONS).values
    fixed = _of_the_network(trained_settings(shipped))
    fixed |= {"data.gridsize": None, "data.propagation": FAR_FIELD.kind}
    return all(given.get(key, usual[key]) == value for key, value in fixed.items())


def _of_the_network(trained: Level) -> dict[str, Any]:
    """Select what decides which weights a network has; of a network that sees groups their size, too."""
    keys = (*_OF_THE_NETWORK, "data.gridsize") if trained.values.get("model.group_as_channels") else _OF_THE_NETWORK
    return {key: trained.values[key] for key in keys if key in trained.values}
