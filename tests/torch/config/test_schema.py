"""Tests of the range checks of every config."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.config.command_settings import DemoConfig, DoctorConfig, PlanConfig, RanksConfig, WatchConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.refine import RefineConfig
from ptycho_dist.config.schema import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_dist.config.simulate import SetConfig
from ptycho_dist.errors import ConfigError

PATHS: dict[type[Any], dict[str, Path]] = {
    TrainingConfig: {"train_data_file": Path("a"), "output_dir": Path("b")},
    InferenceConfig: {"model_path": Path("m"), "test_data_file": Path("a"), "output_dir": Path("b")},
    RefineConfig: {"scan": Path("a"), "output_dir": Path("b")},
}

WRONG: dict[type[Any], dict[str, tuple[Any, ...]]] = {
    PyTorchExecutionConfig: {
        "accelerator": ("tpu", None, ""),
        "devices": (0, -1, True, "two", 1.0, None),
        "strategy": ("dp", "ddp_spawn", None),
        "deterministic": (1, "yes", None),
        "precision": ("16", 32, None),
        "gradient_clip_val": (0.0, -1.0, math.nan, math.inf, "1"),
        "gradient_clip_algorithm": ("max", None),
        "accum_steps": (0, 1.5, True),
        "num_workers": (-1, 1.0, False),
        "pin_memory": (1, None),
        "persistent_workers": (0, "no"),
        "prefetch_factor": (0, 2.0),
        "learning_rate": (0.0, -1e-3, math.nan, math.inf, None),
        "scheduler": ("cosine", None),
        "enable_progress_bar": (1, None, "on"),
        "report": (1, None, "on"),
        "enable_checkpointing": (0, None),
        "checkpoint_interval_s": (-1.0, math.inf, None),
        "resume": (1, "auto"),
        "checkpoint_save_top_k": (-1, None),
        "checkpoint_monitor_metric": ("loss", None),
        "checkpoint_mode": ("least", None),
        "early_stop_patience": (0, None),
        "logger_backend": ("wandb", "CSV"),
        "recon_log_every_n_epochs": (0, 1.5),
        "recon_log_num_patches": (0, None),
        "recon_log_fixed_indices": ((-1,), (0, 1.5)),
        "recon_log_stitch": (1, None),
        "recon_log_max_stitch_samples": (0, True),
        "inference_batch_size": (0, 1.5),
        "middle_trim": (-1, None),
        "cpu_loops": ("numba", None),
        "cuda_graphs": ("yes", None),
        "timeout_s": (0.0, math.inf),
    },
    DoctorConfig: {"under": ("mpiexec", ""), "ranks": (0, 1.5), "json": (1, None)},
    PlanConfig: {"ranks": ("", "1,x", "0", "1,,2", 4, None), "json": (1, None)},
    SetConfig: {
        "n_scans": (0, 1.5),
        "pictures": ((), ("cat",), "camera", None),
        "photons_factor": (0.5, math.nan, None),
        "step_factor": (0.0, "2"),
        "depth_factor": (0.9, math.inf),
        "probe_factor": (-1.0, None),
    },
    WatchConfig: {
        "once": (1, None),
        "interval_s": (0.0, -1.0, math.nan),
        "stay": (1, None),
        "serve": ("yes", None),
        "host": ("", None),
        "port": (-1, 65536, 1.5),
    },
    DemoConfig: {"devices": (0, -1, True, "two", None), "n_patterns": (1, 2.0, None), "max_epochs": (0, 1.5)},
    RanksConfig: {"devices": (0, -1, True, "two", 1.0, None), "timeout_s": (0.0, math.inf)},
    DataConfig: {
        "N": (4, 64.0, None),
        "nphotons": (0.0, -1.0, math.nan),
        "intensity_kind": ("photons", None),
        "group_size": (0, None),
        "group_step": (-0.1, None),
        "gridsize": (0, 1.5),
        "pixel_size_m": (0.0, math.nan),
        "energy_eV": (-1.0,),
        "detector_distance_m": (math.inf,),
        "source_distance_m": (0.0, math.inf),
        "probe_support_px": (0.0, math.nan),
        "n_modes": (0, True),
        "background": ("dark", None, True),
        "probe_trainable": (1, None),
        "counts_per_photon": (0.0, math.nan),
        "mask": ("", 1),
        "mask_polarity": ("good", None),
        "dark": ("", 1),
        "flat": ("", 1),
        "monitor": ("", 1),
        "mask_saturated": (1, "yes"),
        "drop_frames": ("first", (-1,), (1.5,), True),
        "transpose": (1, None),
        "flip_rows": (0, None),
        "flip_columns": ("no",),
        "swap_positions": (1, None),
        "negate_y": (1, None),
        "negate_x": (None,),
        "position_unit": ("mils", None),
        "map": ("", 1),
        "positions_file": ("", 1),
        "angle_per_pixel_rad": (0.0, math.nan),
        "scan_step_m": (0.0, math.inf),
        "scan_shape": ((4,), (4, 0), (4.0, 4), "4x4", 16),
        "hot_pixel_ratio": (0.0, math.nan),
        "crop_px": (4, 64.0, 65),
        "beam_center_px": ((1.0,), (1.0, math.nan), "middle", 3),
        "binning": (0, None, 1.5),
        "detector_pixel_m": (0.0, math.inf),
        "probe": ("", 1, "zone_plate", "pinhole:diameter_m=wide", "gaussian:fwhm_m=0", "mean_pattern:width_m=1"),
    },
    ModelConfig: {
        "width": (4, None),
        "depth": (-1, 1.0),
        "output_px": (2, 16.0),
        "stages": (0, 1.5),
        "exchange": (1, None),
        "n_filters_scale": (0, 2.0, None),
        "group_as_channels": (1, None),
        "intensity_scale_trainable": ("no",),
    },
    TrainingConfig: {
        "freeze": ("probe", ("",), (1,), None),
        "max_epochs": (0,),
        "max_time": (0, "1h"),
        "min_gain": (-0.1, 1.0),
        "pretrained": (1, "yes"),
        "batch_size_per_rank": (0,),
        "keep": ("first", None),
        "held_out_every": (0, 1.5),
        "max_steps": (0, 1.5),
        "batch_size": (0, True),
        "seed": (-1, None),
        "likelihood": ("mae", None),
        "optimizer": ("lamb", None),
        "weight_decay": (-0.1, math.nan),
        "momentum": (-0.1, 1.0),
        "adam_beta1": (-0.1, 1.0, None),
        "adam_beta2": (math.nan, 1.0),
        "probe_learning_rate": (0.0, None),
        "background_learning_rate": (0.0, math.inf),
        "warmup_fraction": (-0.1, 1.0),
        "lr_min_ratio": (-0.1, 1.1),
        "lr_gamma": (-0.1, 1.1, None),
        "plateau_factor": (-0.1, 1.0),
        "plateau_patience": (-1, 1.5),
        "plateau_threshold": (-0.1, None),
        "plateau_min_lr": (-1e-5, math.inf),
        "ema_decay": (-0.1, 1.0, "0.9"),
        "mode": ("semi", None),
        "physics_weight": (0.0, -1.0),
        "label_weight": (0.0, math.nan),
        "stage_1_epochs": (-1, None),
        "stage_2_epochs": (-1, 1.5),
        "physics_weight_schedule": ("step", None),
        "tv_weight": (-0.1, None),
        "amplitude_weight": (-0.1, math.inf),
        "n_subsample": (0, 1.5),
        "subsample_seed": (-1, 1.5),
        "n_groups": (0, True),
        "neighbor_count": (0, 2.5),
        "sequential_sampling": (1, None),
        "val_fraction": (-0.1, 1.0, math.nan),
        "train_rows": ((0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.1)),
    },
    InferenceConfig: {
        "patch_weighting": ("gauss", None),
        "synchronise_phases": (1, None),
        "probe_from": ("file", None),
        "probe_search": ("yes", None, True),
        "probe_patterns": (0, 1.5),
        "probe_iterations": (0, None),
        "stitch_tile_px": (8, 64.0),
        "region": ((0, 0, 0, 5), (0, 9, 5, 5)),
    },
    RefineConfig: {
        "start_from": ["product"],
        "tiles": (0, 1.5, True, "many"),
        "regularisation": ("much", -0.1, math.nan),
        "regularised_passes": (0, 1.5),
        "uncertainty": (1, None),
        "iterations": (-1, None),
        "method": ("newton", None),
        "batch_size": (0, 1.5),
        "object_step": (0.0, -1.0),
        "probe_step": (-0.1, math.nan),
        "alpha": (-0.1, 1.1),
        "momentum": (-0.1, 1.0),
        "cooling": (-0.1, 1.1),
        "position_start": (-1, 1.5),
        "position_step": (0.0, None),
        "flux": (1, None),
        "memory_GiB": (0.0, None),
        "seed": (-1, None),
    },
}
CASES = [(config, name, value) for config, names in WRONG.items() for name, values in names.items() for value in values]
FREE = {"architecture", "label_file", "file_format", "train_data_file", "test_data_file", "output_dir", "model_path",
        "init_from", "scan", "start", "propagation"}  # fmt: skip
"""Fields checked where the names are known: in the factory, or when the file is opened."""


@pytest.mark.parametrize(("config", "name", "value"), CASES)
def test_config_refuses_a_value_that_is_wrong_in_itself(config: type[Any], name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"\.{name} = .*; expected .* Change "):
        config(**PATHS.get(config, {}), **{name: value})


@pytest.mark.parametrize("config", WRONG)
def test_every_field_has_a_check(config: type[Any]) -> None:
    assert {field.name for field in fields(config)} - FREE == set(WRONG[config])


@pytest.mark.parametrize("config", WRONG)
def test_configs_take_keywords_only(config: type[Any]) -> None:
    with pytest.raises(TypeError):
        config("value")
