"""Checks of settings that only show when two configs, or config and scan, meet."""

from __future__ import annotations

import os
from importlib.util import find_spec

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, ModelConfig, TrainingConfig
from ptycho_dist.data.grouping import training_drawing
from ptycho_dist.data.set_index import SET_FORMAT
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.model.build import patterns_together
from ptycho_dist.nn.registry import find_network
from ptycho_dist.types import ScanHeader

N_MULTIPLE = 8


def check_model(data: DataConfig, model: ModelConfig) -> None:
    """Check that there is such a network, and that it fits the patterns.

    Raises
    ------
    ConfigError
        If the architecture is unknown, or N, output_px or the groups do not suit it.
    """
    find_network(model.architecture)
    patterns_together(data, model)
    output_px = _resolved(model.output_px)
    if data.N % N_MULTIPLE:
        msg = (
            f"data.N = {data.N}; the network needs a multiple of {N_MULTIPLE}. "
            f"Crop or pad the patterns to {max(1, round(data.N / N_MULTIPLE)) * N_MULTIPLE} pixels."
        )
        raise ConfigError(msg)
    if output_px > data.N or output_px % 2:
        msg = (
            f"model.output_px = {output_px}; expected an even number up to data.N = {data.N}. "
            f"Set model.output_px = {data.N // 2}."
        )
        raise ConfigError(msg)


def check_groups(data: DataConfig, header: ScanHeader, training: TrainingConfig | None = None) -> None:
    """Check that the scan has enough patterns for one group, and for those that are asked for.

    Raises
    ------
    ConfigError
        If it has not.
    """
    if data.gridsize is not None and data.gridsize**2 > header.n_patterns:
        msg = (
            f"data.gridsize = {data.gridsize} groups {data.gridsize**2} patterns, but {header.path} has "
            f"{header.n_patterns}; expected gridsize squared <= patterns. Lower data.gridsize."
        )
        raise ConfigError(msg)
    if training is not None:
        training_drawing(data, training).check(training.n_chosen(header.n_patterns))


def check_probe(header: ScanHeader) -> None:
    """Check that the scan has a probe.

    Raises
    ------
    ConfigError
        If it has none.
    """
    if header.n_modes == 0:
        msg = f"{header.path} has no probe; expected at least one mode to start from. Give --probe."
        raise ConfigError(msg)


def check_set(data: DataConfig, training: TrainingConfig) -> None:
    """Check settings that mean nothing where one network is trained on many scans.

    Raises
    ------
    ConfigError
        If one scan's probe or background is to be trained, or some of its rows are to be chosen.
    """
    if data.probe_trainable:
        msg = (
            "data.probe_trainable = True with a set of scans; expected False: the probe of each scan is used as "
            "supplied. Remove data.probe_trainable, and train it on one scan with training.init_from."
        )
        raise ConfigError(msg)
    if data.background != "none":
        msg = (
            f"data.background = {data.background!r} with a set of scans; expected 'none': the background is that of "
            "one scan. Remove data.background, and train it on one scan with training.init_from."
        )
        raise ConfigError(msg)
    for name in ("n_subsample", "n_groups", "sequential_sampling"):
        if getattr(training, name):
            msg = (
                f"training.{name} = {getattr(training, name)} with a set of scans; expected it not to be set: an epoch "
                f"sees each pattern of each scan. Remove training.{name}, or make a smaller set."
            )
            raise ConfigError(msg)
    if training.train_rows != (0.0, 1.0):
        msg = (
            f"training.train_rows = {training.train_rows} with a set of scans; expected (0.0, 1.0): whole scans are "
            "held back by training.val_fraction. Remove training.train_rows."
        )
        raise ConfigError(msg)


def check_labels(data: DataConfig, model: ModelConfig, training: TrainingConfig, header: ScanHeader) -> None:
    """Check what is learnt from a stored object.

    Raises
    ------
    ConfigError
        If labels alone are to train the probe or the scale, or one file is to label a set of scans.
    DataFormatError
        If the file of labels is missing.
    """
    fitted = {"data.probe_trainable": data.probe_trainable}
    fitted["model.intensity_scale_trainable"] = model.intensity_scale_trainable
    for name, is_fitted in fitted.items():
        if training.mode == "supervised" and is_fitted:
            msg = (
                f"{name} = True with training.mode = 'supervised'; expected False: labels say nothing of it. "
                f"Remove {name}, or set training.mode = mixed."
            )
            raise ConfigError(msg)
    if training.mode == "supervised" and data.background != "none":
        msg = (
            f"data.background = {data.background!r} with training.mode = 'supervised'; expected 'none': labels say "
            "nothing of it. Remove data.background, or set training.mode = mixed."
        )
        raise ConfigError(msg)
    if training.label_file is None:
        return
    if header.format_name == SET_FORMAT:
        msg = (
            f"training.label_file = {training.label_file} with a set of scans; expected none: each scan of a set is "
            "labelled by its own object. Remove training.label_file."
        )
        raise ConfigError(msg)
    if not training.label_file.is_file():
        msg = f"{training.label_file} is not a file; expected an object (product or NPZ). Check training.label_file."
        raise DataFormatError(msg)


def check_loader(execution: PyTorchExecutionConfig) -> None:
    """Check loader knobs that need worker processes.

    Raises
    ------
    ConfigError
        If there are none.
    """
    given = {
        "persistent_workers": execution.persistent_workers,
        "prefetch_factor": execution.prefetch_factor is not None,
    }
    for name, is_set in given.items():
        if is_set and execution.num_workers == 0:
            msg = (
                f"execution.{name} = {getattr(execution, name)!r} with execution.num_workers = 0; expected "
                f"num_workers > 0. Set execution.num_workers = 1, or remove execution.{name}."
            )
            raise ConfigError(msg)


def check_logger(execution: PyTorchExecutionConfig) -> None:
    """Check that the packages of the metric logger are there.

    Raises
    ------
    ConfigError
        If one is missing.
    """
    if execution.logger_backend != "mlflow":
        return
    needed = ("mlflow",) if os.environ.get("MLFLOW_TRACKING_URI") else ("mlflow", "sqlalchemy", "alembic")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        msg = (
            f"execution.logger_backend = 'mlflow' needs {', '.join(needed)}; {', '.join(missing)} cannot be imported. "
            "Run pip install 'ptycho-dist[mlflow]', or set execution.logger_backend = csv."
        )
        raise ConfigError(msg)


def check_trim(model: ModelConfig, execution: PyTorchExecutionConfig) -> None:
    """Check that trimming leaves something of a patch.

    Raises
    ------
    ConfigError
        If it does not.
    """
    output_px = _resolved(model.output_px)
    if 2 * execution.middle_trim >= output_px:
        msg = (
            f"execution.middle_trim = {execution.middle_trim} leaves nothing of a patch of {output_px} pixels; "
            f"expected 2 * middle_trim < {output_px}. Lower execution.middle_trim."
        )
        raise ConfigError(msg)


def check_monitor(training: TrainingConfig, execution: PyTorchExecutionConfig) -> None:
    """Check that the monitored metric will exist.

    Raises
    ------
    ConfigError
        If ``val_loss`` is asked for without validation.
    """
    if execution.checkpoint_monitor_metric == "val_loss" and training.val_fraction == 0:
        msg = (
            "execution.checkpoint_monitor_metric = 'val_loss', but training.val_fraction = 0 leaves no validation; "
            "expected a metric that is measured. Set training.val_fraction = 0.1, or monitor train_loss."
        )
        raise ConfigError(msg)


def _resolved(output_px: int | None) -> int:
    if output_px is None:
        msg = "model.output_px is not set; expected the factory to have settled it. Build payloads with the factory."
        raise ConfigError(msg)
    return output_px
