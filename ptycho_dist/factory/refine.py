"""Scan file, start and settings in, refinement payload out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.precedence import Level, Resolution
from ptycho_dist.config.refine import RefineConfig, default_tiles, defaults_of
from ptycho_dist.config.scan_options import GEOMETRY
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.config.sections import REFINE_SECTIONS
from ptycho_dist.data.content import checksum
from ptycho_dist.data.formats.product import model_settings
from ptycho_dist.data.formats.product_h5 import read_product_metadata
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory import crosschecks
from ptycho_dist.factory.payload import RefinePayload
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
from ptycho_dist.run_folder import product_of
from ptycho_dist.types import ScanHeader


def create_refine_payload(
    scan: ScanSource,
    output_dir: Path | str,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    start: Path | str | None = None,
    config_file: Path | str | None = None,
) -> RefinePayload:
    """Decide every setting of a refinement, the same on every rank.

    Parameters
    ----------
    scan
        Scan whose patterns are to be explained: its path, or opened already.
    output_dir, overrides, execution_config, config_file
        As for training; plain names mean those of the refinement.
    start
        Product or NPZ to start from, or the folder of a run; an object of ones and the scan's probe without.

    Raises
    ------
    ConfigError, DataFormatError, LaunchError
        As for training.
    """
    levels = given_levels(overrides, execution_config, config_file, REFINE_SECTIONS)
    return refine_payload(scan, output_dir, levels, start)


def refine_payload(
    source: ScanSource,
    output_dir: Path | str,
    given: Sequence[Level],
    start: Path | str | None = None,
    *,
    of_network: bool = False,
) -> RefinePayload:
    """Decide as :func:`create_refine_payload` does, from canonical levels.

    Parameters
    ----------
    source, output_dir, given, start
        As there.
    of_network
        Whether the start is the product of a reconstruction's network, made or still to be made.
    """
    arguments = {"refine.scan": path_of(source), "refine.output_dir": Path(output_dir)}
    if start is not None:
        arguments["refine.start"] = product_of(Path(start))
    levels = with_arguments(arguments, given, source)
    header = header_of(source, levels)
    resolution = _settle_start(_resolve([*levels, _of_start(levels)], header), of_network=of_network)
    return _assemble(resolution, header)


def _of_start(levels: Sequence[Level]) -> Level:
    """Read the settings of the product that is started from, which hold where nothing else is said."""
    start = precedence.resolve(levels).values.get("refine.start")
    if start is None or start.suffix == ".npz" or not start.is_file():
        return Level("start", {})
    return Level(
        "start", {f"data.{name}": value for name, value in model_settings(read_product_metadata(start)).items()}
    )


def _settle_start(resolution: Resolution, *, of_network: bool) -> Resolution:
    """Decide what is refined from.

    Raises
    ------
    ConfigError
        If that contradicts whether there is a start.
    """
    values = resolution.values
    start, wanted = values["refine.start"], values["refine.start_from"]
    if wanted == "auto":
        wanted = "both" if of_network else "network" if start is not None else "ones"
    if not of_network and (start is None) != (wanted == "ones"):
        msg = (
            f"refine.start_from = {wanted!r} with refine.start = {start}; expected a start for network and both, and "
            "none for ones. Change one of them."
        )
        raise ConfigError(msg)
    settled = {"refine.start_from": wanted, "refine.start": None if wanted == "ones" else start}
    return Resolution({**values, **settled}, resolution.provenance)


def _resolve(levels: list[Level], header: ScanHeader) -> Resolution:
    units = {f"data.{name}": getattr(header, name) for name in GEOMETRY if getattr(header, name) > 0}
    found = Level(precedence.SCAN, {"data.N": header.N, **units})
    resolution = precedence.resolve([*levels, found, precedence.defaults(REFINE_SECTIONS)])
    require_same_n(header, resolution)
    method, alpha = str(resolution.values["refine.method"]), resolution.values["refine.alpha"]
    defaults: dict[str, Any] = {f"refine.{name}": value for name, value in defaults_of(method, alpha).items()}
    defaults["refine.tiles"] = default_tiles(header.canvas_px, header.n_patterns)
    if not resolution.values["data.probe_trainable"]:
        defaults["refine.probe_step"] = 0.0
    defaults["execution.inference_batch_size"] = DEFAULT_INFERENCE_BATCH_SIZE
    return fill(resolution, defaults, precedence.DEFAULT)


def _assemble(resolution: Resolution, header: ScanHeader) -> RefinePayload:
    data = name_reader(build(DataConfig, "data", resolution), header)
    refine = build(RefineConfig, "refine", resolution)
    execution = build_execution(resolution)
    _require_start(refine, header)
    _require_fixed(data, refine)
    _require_patterns(refine, header)
    propagation_of(data, header)
    _require_float(execution)
    crosschecks.check_logger(execution)
    configs = {"data": data, "refine": refine, "execution": execution}
    applied, provenance = record(configs, resolution)
    return RefinePayload(
        data_config=data,
        refine_config=refine,
        execution_config=execution,
        overrides_applied=applied,
        provenance=provenance,
        scan_checksum=header.checksum,
        n_patterns=header.n_patterns,
        canvas_px=header.canvas_px,
        mean_counts=header.mean_counts,
        start_checksum="" if refine.start is None else checksum(refine.start),
    )


def _require_start(refine: RefineConfig, header: ScanHeader) -> None:
    if refine.start_from != "network" and header.n_modes == 0:
        msg = (
            f"{header.path} has no probe, and an object of ones is to be refined with it; expected one. Give --probe, "
            "or give a --start and no start_from."
        )
        raise ConfigError(msg)
    if refine.start is not None and not refine.start.is_file():
        msg = f"refine.start = {refine.start} is no file; expected a product or an NPZ with object and probe."
        raise ConfigError(msg)


def _require_patterns(refine: RefineConfig, header: ScanHeader) -> None:
    if (refine.tiles or 1) > header.n_patterns:
        msg = (
            f"refine.tiles = {refine.tiles} with the {header.n_patterns} patterns of {header.path}; expected at most "
            "one tile for each pattern. Set fewer."
        )
        raise ConfigError(msg)


def _require_fixed(data: DataConfig, refine: RefineConfig) -> None:
    if not data.probe_trainable and refine.probe_step:
        msg = (
            f"refine.probe_step = {refine.probe_step} with data.probe_trainable = False; expected 0, for the probe is "
            "to stay as supplied. Remove one of them."
        )
        raise ConfigError(msg)


def _require_float(execution: PyTorchExecutionConfig) -> None:
    if execution.precision not in ("32-true", "64-true"):
        msg = (
            f"execution.precision = {execution.precision!r}; a refinement needs 32-true or 64-true, for its waves "
            "span many orders of magnitude. Change it."
        )
        raise ConfigError(msg)
