"""The frozen dataclasses that describe a run: data, model, training, inference.

A knob has one home. Learning rate, scheduler, workers and devices live in
:class:`~ptycho_dist.config.execution.PyTorchExecutionConfig` only. Values that
are wrong in themselves are refused here; what only shows when two configs, the
scan or the machine are looked at together is checked by the factory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config import validators
from ptycho_dist.config.measurement import MeasurementConfig
from ptycho_dist.config.training_parts import HeldOutConfig, ObjectiveConfig, OptimisationConfig, SamplingConfig
from ptycho_dist.errors import ConfigError

PATCH_WEIGHTINGS = ("probe", "uniform")
PROBE_SOURCES = ("auto", "bundle", "scan")
PROBE_SEARCHES = ("auto", "always", "never")


@dataclass(frozen=True, kw_only=True)
class DataConfig(MeasurementConfig):
    """What the scan holds, how it is read, and how its patterns are grouped."""

    N: int = 64
    """Detector pixels along one side of a pattern; read from the scan file."""

    nphotons: float | None = None
    """Mean photons in one pattern; patterns are scaled to it. From the scan file (its metadata, else its counts)."""

    group_size: int = 16
    """Patterns in a compact overlap group; they share one canvas in training. Unused when gridsize is set."""

    group_step: float = 0.2
    """Least step between the patterns of a group, in diameters of the probe; of a denser scan each group takes some."""

    gridsize: int | None = None
    """If set, groups are the gridsize squared nearest neighbours of a pattern (PtychoPINN), not compact groups."""

    def __post_init__(self) -> None:
        MeasurementConfig.__post_init__(self)
        validators.require_int("data.N", self.N, 8)
        validators.require_optional_positive("data.nphotons", self.nphotons)
        validators.require_int("data.group_size", self.group_size, 1)
        validators.require_positive("data.group_step", self.group_step, zero_allowed=True)
        validators.require_optional_int("data.gridsize", self.gridsize, 1)

    @property
    def patterns_in_group(self) -> int:
        """Most patterns in a group."""
        return self.group_size if self.gridsize is None else self.gridsize**2

    def n_groups(self, n_patterns: int, asked: int | None = None) -> int:
        """Count the groups of an epoch over so many patterns: as few as hold them, or those asked for.

        With gridsize there is one around each pattern, where no number is asked for.
        """
        if asked is not None:
            return asked
        return -(-n_patterns // self.group_size) if self.gridsize is None else n_patterns

    def patterns_in_epoch(self, n_patterns: int, asked: int | None = None) -> int:
        """Count the most that an epoch over so many patterns sees; with gridsize each pattern in several groups."""
        if self.gridsize is None:
            return n_patterns if asked is None else min(n_patterns, asked * self.group_size)
        return self.n_groups(n_patterns, asked) * self.patterns_in_group


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network and the trainable parts of the physics."""

    architecture: str = "lean"
    """Network: lean, ptychopinn_cnn, vit, or module:name of one that a module of your own registers."""

    width: int = 64
    """Channels of the network at its working resolution."""

    depth: int = 2
    """Residual blocks (vit: layers) of the network at its working resolution."""

    n_filters_scale: int = 2
    """Factor of all channels of ptychopinn_cnn (PtychoPINN)."""

    group_as_channels: bool = False
    """Let the network see the gridsize squared patterns of a group together, as channels (PtychoPINN)."""

    stages: int = 4
    """Times that the network improves a patch after holding it against its pattern."""

    exchange: bool = True
    """Let overlapping patches agree on one object after each stage; else each pattern is on its own to the end."""

    output_px: int | None = None
    """Side of the object patch that the network predicts, centred in the N by N frame; half of N where not set."""

    intensity_scale_trainable: bool = False
    """Train the scale between modelled and measured intensity; on a set of scans one for each scan."""

    def __post_init__(self) -> None:
        validators.require_int("model.width", self.width, 8)
        validators.require_int("model.depth", self.depth, 0)
        validators.require_int("model.n_filters_scale", self.n_filters_scale, 1)
        validators.require_bool("model.group_as_channels", self.group_as_channels)
        validators.require_bool("model.exchange", self.exchange)
        validators.require_int("model.stages", self.stages, 1)
        validators.require_optional_int("model.output_px", self.output_px, 4)
        validators.require_bool("model.intensity_scale_trainable", self.intensity_scale_trainable)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(ObjectiveConfig, OptimisationConfig, SamplingConfig, HeldOutConfig):
    """What is trained on, for how long, what is minimised, and how."""

    train_data_file: Path
    """Scan file to train on, or a folder of scans (a set)."""

    output_dir: Path
    """Folder that receives the bundle, checkpoints and logs."""

    init_from: Path | None = None
    """Bundle whose network the training starts from; probe and scale are those of the scan."""

    pretrained: bool | None = None
    """Start from the network that ships with the package; where not set, wherever the settings are those it has."""

    freeze: tuple[str, ...] = ()
    """Parts that are not trained: names of parameters or modules, or patterns, such as [networks.0.stem,probe]."""

    max_epochs: int | None = None
    """Most passes over the training patterns; where not set, as many as max_steps are."""

    max_steps: int | None = None
    """Most optimiser steps; 2,000 where neither it nor max_epochs is set, 600 from a trained network."""

    max_time: float | str | None = None
    """Longest duration of the training, in seconds, or as DD:HH:MM:SS; without end where not set."""

    min_gain: float = 0.02
    """Relative gain of the stitched error over a third of the steps below which a training ends; 0 never ends it."""

    batch_size: int = 2
    """Groups in one global step, over all ranks together."""

    batch_size_per_rank: int | None = None
    """Groups of each rank in a step, in place of batch_size: more ranks, larger steps, and another result."""

    seed: int = 0
    """Seed of weights, batch order and validation split."""

    val_fraction: float = 0.0
    """Share of the groups held back for validation, drawn with the seed."""

    train_rows: tuple[float, float] = (0.0, 1.0)
    """Train only on patterns whose y lies between these quantiles: (0.0, 0.5) is everything above the median row."""

    def __post_init__(self) -> None:
        ObjectiveConfig.__post_init__(self)
        OptimisationConfig.__post_init__(self)
        SamplingConfig.__post_init__(self)
        HeldOutConfig.__post_init__(self)
        validators.require_optional_int("training.max_epochs", self.max_epochs, 1)
        validators.require_fraction("training.min_gain", self.min_gain)
        if self.pretrained is not None:
            validators.require_bool("training.pretrained", self.pretrained)
        if self.max_time is not None:
            validators.require_duration("training.max_time", self.max_time)
        validators.require_optional_int("training.max_steps", self.max_steps, 1)
        if self.mode == "mixed" and self.max_epochs is not None and self.stage_1_epochs >= self.max_epochs:
            msg = (
                f"training.stage_1_epochs = {self.stage_1_epochs} with training.max_epochs = {self.max_epochs}; "
                f"expected less than {self.max_epochs}, or patterns are never learnt from. Change one of them."
            )
            raise ConfigError(msg)
        validators.require_int("training.batch_size", self.batch_size, 1)
        validators.require_optional_int("training.batch_size_per_rank", self.batch_size_per_rank, 1)
        validators.require_int("training.seed", self.seed, 0)
        validators.require_fraction("training.val_fraction", self.val_fraction)
        if not isinstance(self.freeze, tuple) or not all(isinstance(one, str) and one for one in self.freeze):
            msg = f"training.freeze = {self.freeze!r}; expected a tuple of names. Change training.freeze."
            raise ConfigError(msg)
        low, high = self.train_rows
        if not 0.0 <= low < high <= 1.0:
            msg = f"training.train_rows = {self.train_rows!r}; expected 0 <= low < high <= 1. Change it."
            raise ConfigError(msg)

    @property
    def epochs(self) -> int:
        """Most passes, once they are settled.

        Raises
        ------
        ConfigError
            If they are not.
        """
        if self.max_epochs is None:
            msg = "training.max_epochs must be set; expected a payload made by the factory."
            raise ConfigError(msg)
        return self.max_epochs

    @property
    def max_time_s(self) -> float | None:
        """Longest duration in seconds; None for no end."""
        return None if self.max_time is None else validators.seconds(self.max_time)


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """What is predicted, with which model, and how patches become one object."""

    model_path: Path
    """Bundle folder written by training."""

    test_data_file: Path
    """Scan file to predict."""

    output_dir: Path
    """Folder that receives shards, reconstruction and metrics."""

    patch_weighting: str = "probe"
    """Weight of a patch pixel when patches are averaged: probe (intensity of the probe) or uniform."""

    synchronise_phases: bool = True
    """Give all patches one global phase before stitching (a pattern alone does not tell it)."""

    probe_from: str = "auto"
    """Probe to predict with: bundle (as trained) or scan (as supplied); auto takes the bundle's where it holds one."""

    probe_search: str = "auto"
    """Refine the probe with some patterns first, and use it if that helps on others: always, never, or auto (if it is a
    scan's)."""

    probe_patterns: int = 192
    """Patterns that it is refined with, in compact places spread over the scan; at most half of all."""

    probe_iterations: int = 20
    """Passes over them."""

    region: tuple[int, int, int, int] | None = None
    """Window (top, left, bottom, right) of the object to predict, in pixels of the frame of the positions; else all."""

    stitch_tile_px: int = 1024
    """Side of the tiles that rank 0 stitches one at a time."""

    def __post_init__(self) -> None:
        validators.require_choice("inference.patch_weighting", self.patch_weighting, PATCH_WEIGHTINGS)
        validators.require_choice("inference.probe_from", self.probe_from, PROBE_SOURCES)
        validators.require_choice("inference.probe_search", self.probe_search, PROBE_SEARCHES)
        validators.require_int("inference.probe_patterns", self.probe_patterns, 8)
        validators.require_int("inference.probe_iterations", self.probe_iterations, 1)
        validators.require_bool("inference.synchronise_phases", self.synchronise_phases)
        validators.require_int("inference.stitch_tile_px", self.stitch_tile_px, 16)
        if self.region is not None:
            top, left, bottom, right = self.region
            if not (top < bottom and left < right):
                msg = f"inference.region = {self.region!r}; expected top < bottom and left < right. Change it."
                raise ConfigError(msg)
