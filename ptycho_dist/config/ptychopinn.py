"""PtychoPINN's names: which setting each means here, and what to say of those that have no counterpart.

Facts of PtychoPINN (github.com/hoidn/PtychoPINN, 2026-07): fields of ``ptycho.config.config`` and
``ptycho_torch.config_params``, flags of its training and inference scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from ptycho_dist.errors import ConfigError

Values = Mapping[str, str]

SAME = """
    N gridsize n_filters_scale n_groups n_subsample subsample_seed neighbor_count sequential_sampling nphotons
    batch_size learning_rate optimizer momentum weight_decay adam_beta1 adam_beta2 lr_min_ratio plateau_factor
    plateau_patience plateau_min_lr plateau_threshold stage_1_epochs stage_2_epochs physics_weight_schedule
    probe_trainable intensity_scale_trainable train_data_file test_data_file output_dir model_path
    accelerator devices deterministic precision gradient_clip_val accum_steps num_workers pin_memory
    persistent_workers prefetch_factor enable_progress_bar enable_checkpointing checkpoint_save_top_k
    checkpoint_monitor_metric checkpoint_mode early_stop_patience logger_backend recon_log_every_n_epochs
    recon_log_num_patches recon_log_fixed_indices recon_log_stitch recon_log_max_stitch_samples
    inference_batch_size middle_trim patch_weighting max_epochs config quiet debug
"""
"""Names that mean the same here, with blanks between them."""

_MODE: Values = {"supervised": "supervised", "unsupervised": "unsupervised", "pinn": "unsupervised"}
_LIKELIHOOD: Values = {"mae": "amplitude", "poisson": "poisson"}

ONLY: Mapping[str, tuple[str, str]] = {"backend": ("pytorch", "The network is PyTorch.")}
"""Names that are accepted with one value only, and why."""

CHANGED: tuple[tuple[str, str, Values, str, str], ...] = (
    ("architecture", "architecture", {"cnn": "ptychopinn_cnn"}, "", "Default here: `lean`; others are of our own."),
    ("scheduler", "scheduler", {}, "", "`Default`, `Exponential`, `WarmupCosine` and `ReduceLROnPlateau` are known."),
    ("strategy", "strategy", {"ddp_spawn": "ddp"}, "", "Ranks are started by the program or a launcher, not spawned."),
    ("gradient_clip_algorithm", "gradient_clip_algorithm", {}, "", "`norm` and `value`; `agc` is not known."),
    ("n_images", "n_groups", {}, "", "PtychoPINN's old name of `n_groups`."),
    ("neighbor_pool_size", "neighbor_count", {}, "", ""),
    ("K", "neighbor_count", {}, "", ""),
    ("epochs", "max_epochs", {}, "", ""),
    ("nepochs", "max_epochs", {}, "", ""),
    ("logger", "logger_backend", {}, "", ""),
    ("accumulate_grad_batches", "accum_steps", {}, "", ""),
    ("checkpoint_monitor", "checkpoint_monitor_metric", {}, "", ""),
    ("device", "accelerator", {}, "", ""),
    ("n_devices", "devices", {}, "", "Ranks on each node."),
    ("test_data", "test_data_file", {}, "", ""),
    ("probe_mask_diameter", "probe_support_px", {}, "", "In object pixels."),
    ("nll_weight", "physics_weight", {}, "", "Weight of the likelihood."),
    ("realspace_weight", "label_weight", {}, "", "Weight of the error against labels, in mixed and supervised mode."),
    ("mode", "mode", _MODE, "", "There is also `mixed`."),
    ("model_type", "mode", _MODE, "", ""),
    ("loss_function", "likelihood", _LIKELIHOOD, "", "`amplitude` compares square roots of counts."),
    ("torch_loss_mode", "likelihood", _LIKELIHOOD, "", "`amplitude` compares square roots of counts."),
    ("no_deterministic", "deterministic", {}, "false", ""),
    ("disable_checkpointing", "enable_checkpointing", {}, "false", ""),
    ("torch_accelerator", "accelerator", {}, "", ""),
    ("torch_accumulate_grad_batches", "accum_steps", {}, "", ""),
    ("torch_checkpoint_save_top_k", "checkpoint_save_top_k", {}, "", ""),
    ("torch_deterministic", "deterministic", {}, "true", ""),
    ("torch_enable_checkpointing", "enable_checkpointing", {}, "true", ""),
    ("torch_inference_batch_size", "inference_batch_size", {}, "", ""),
    ("torch_learning_rate", "learning_rate", {}, "", ""),
    ("torch_logger", "logger_backend", {}, "", ""),
    ("torch_num_workers", "num_workers", {}, "", ""),
    ("torch_plateau_factor", "plateau_factor", {}, "", ""),
    ("torch_plateau_min_lr", "plateau_min_lr", {}, "", ""),
    ("torch_plateau_patience", "plateau_patience", {}, "", ""),
    ("torch_plateau_threshold", "plateau_threshold", {}, "", ""),
    ("torch_recon_log_every_n_epochs", "recon_log_every_n_epochs", {}, "", ""),
    ("torch_recon_log_fixed_indices", "recon_log_fixed_indices", {}, "", ""),
    ("torch_recon_log_max_stitch_samples", "recon_log_max_stitch_samples", {}, "", ""),
    ("torch_recon_log_num_patches", "recon_log_num_patches", {}, "", ""),
    ("torch_recon_log_stitch", "recon_log_stitch", {}, "true", ""),
    ("torch_scheduler", "scheduler", {}, "", ""),
)
"""Their name, ours, their values that are called otherwise, what the flag alone means, and a note."""

MOOT: Mapping[str, str] = {
    "disable_mlflow": "MLflow is used only with `logger_backend = mlflow`.",
    "do_stitching": "`reconstruct` and `infer` stitch.",
    "enable_oversampling": "`n_groups` above the number of patterns asks for it, with `neighbor_count`.",
    "no_probe_mask": "Only `probe_support_px`, or an array `probe_mask` in the scan file, gives the probe a support.",
    "object_big": "Patches of a group always share one canvas.",
    "positions_provided": "A scan always has positions.",
    "probe_normalize": "The probe is scaled to the photons of the patterns.",
    "phase_subtraction": "Labels are compared at the best phase of each patch.",
    "varpro_scaling": "The trained scale and probe carry the amplitude; there is nothing left to fit.",
    "pad_object": "Canvases hold whole patches.",
}
"""Names that are accepted and change nothing, and why."""

_OWN_NETWORK = "A network of another kind is registered as docs/extending.md shows."
_EXPERIMENT = "Runs are distinguished by their output_dir; MLflow takes its names from its own environment variables."
_SCALING = "Patterns are photon counts here and the probe is scaled to them; there is no other contract of scales."
_CNN_DETAIL = "The shape of ptychopinn_cnn is decided by N, gridsize and n_filters_scale."
_SIMULATE = "See the flags of ptycho-dist simulate."
_PICTURES = "Pictures are drawn of each result; see ptycho-dist evaluate."
_AREA = "Use training.train_rows in training."

ABSENT: tuple[tuple[str, str], ...] = (
    (
        "fno_modes fno_width fno_blocks fno_cnn_blocks learned_input_channels fno_input_transform max_hidden_channels "
        "resnet_width generator_output_mode ffno_encoder_blocks ffno_encoder_modes ffno_encoder_share_weights "
        "ffno_encoder_gate_init ffno_encoder_norm ffno_encoder_mlp_ratio spectral_bottleneck_blocks "
        "spectral_bottleneck_modes spectral_bottleneck_share_weights spectral_bottleneck_gate_init "
        "spectral_bottleneck_gate_mode",
        _OWN_NETWORK,
    ),
    (
        "amp_activation cnn_output_mode use_shared_decoder C_model batch_norm edge_pad decoder_last_c_outer_fraction "
        "decoder_last_amp_channels use_legacy_decoder_channel_override eca_encoder cbam_encoder cbam_bottleneck "
        "cbam_decoder eca_decoder spatial_decoder decoder_spatial_kernel probe_big",
        _CNN_DETAIL,
    ),
    (
        "scale_contract_version measurement_domain normalize probe_scale data_scaling intensity_scale num_datasets "
        "physics_forward_mode rect_s1s2_trainable rect_s1s2_init amplitude_physics_gain profile nll "
        "torch_mae_pred_l2_match_target",
        _SCALING,
    ),
    ("C C_forward grid_size", "Set gridsize; a group has gridsize squared patterns."),
    (
        "K_quadrant neighbor_function min_neighbor_distance max_neighbor_distance scan_pattern",
        "Neighbours are the nearest ones; set neighbor_count.",
    ),
    ("x_bounds y_bounds", _AREA),
    (
        "probe_mask probe_mask_tensor probe_mask_sigma",
        "Keep an array probe_mask of 0 and 1 in the scan file, or set probe_support_px, the diameter of a disc.",
    ),
    ("offset max_position_jitter", "Canvases follow the positions."),
    ("training_patch_weighting", "Patches are weighted by the probe's intensity in training."),
    ("gaussian_smoothing_sigma", "The supplied probe is used as it is."),
    ("mae_weight realspace_mae_weight", "Set likelihood = amplitude, or mode = mixed with label_weight."),
    ("amp_loss phase_loss amp_loss_coeff phase_loss_coeff", "Set tv_weight or amplitude_weight."),
    ("framework orchestrator", "Training runs on Lightning; set logger_backend = mlflow for MLflow."),
    ("epochs_fine_tune fine_tune_gamma", "Train again with init_from, a lower learning_rate, and freeze."),
    ("lr_warmup_epochs", "Set warmup_fraction, a share of all steps."),
    ("stage_3_epochs", "Stage 3 is what is left of max_epochs."),
    ("stage_3_lr_factor", "Set scheduler and its settings."),
    ("log_grad_norm grad_norm_log_freq", "Gradient norms are not logged."),
    ("log_patch_stats patch_stats_limit", "The result holds maps of coverage and disagreement."),
    ("experiment_name notes model_name experiment_number run_id infer_dir file_index", _EXPERIMENT),
    ("training_directories ptycho_dir", "Name a folder of scans (a set) as the scan to train on."),
    ("window", "Give a region instead."),
    ("pad_eval", "Predicted patches lie inside their frames, so that nothing needs padding."),
    ("model", "Settings of the model are fields of the section 'model'."),
    ("objects_per_probe diff_per_object object_class image_size probe_paths beamstop_diameter", _SIMULATE),
    ("comparison_plot phase_vmax phase_vmin debug_dump", _PICTURES),
)
"""Names without a counterpart, and what to do instead."""


_OPPOSITE: Mapping[Any, Any] = MappingProxyType({True: False, False: True, "true": "false", "false": "true"})


@dataclass(frozen=True)
class Entry:
    """What one of PtychoPINN's names means here.

    Parameters
    ----------
    name
        Their name, with underscores.
    ours
        Our plain name; empty where there is none.
    values
        Their values that are called otherwise here.
    switch
        Value that their flag stands for when it is typed without one; empty where it takes one.
    moot
        Whether the name is accepted and changes nothing, because what it asks for is always so here.
    only
        The one value that a moot name may have; empty where it is a switch.
    note
        What to know, or what to do instead.
    """

    name: str
    ours: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    switch: str = ""
    moot: bool = False
    only: str = ""
    note: str = ""

    def translate(self, value: Any) -> Any:
        """Give a value of theirs as ours; of a flag that switches off, the opposite."""
        if self.switch == "false":
            return _OPPOSITE.get(value, value)
        return self.values.get(str(value).lower(), value)

    def require_moot(self, value: Any, level: str) -> None:
        """Refuse a value that asks for something else than what is always so.

        Raises
        ------
        ConfigError
            If it does.
        """
        if self.only and value != self.only:
            msg = f"{level}: {self.name} = {value!r}; expected {self.only!r}: {self.note} Remove {self.name}."
            raise ConfigError(msg)

    def refuse(self, level: str) -> NoReturn:
        """Say why there is no such setting.

        Raises
        ------
        ConfigError
            Always.
        """
        msg = f"{level}: {self.name!r} is a name of PtychoPINN without a counterpart here: {self.note} Remove it."
        raise ConfigError(msg)


def _entries() -> dict[str, Entry]:
    same = [Entry(name, name) for name in SAME.split()]
    changed = [Entry(name, ours, values, switch, note=note) for name, ours, values, switch, note in CHANGED]
    moot = [Entry(name, moot=True, note=note) for name, note in MOOT.items()]
    moot += [Entry(name, moot=True, only=only, note=note) for name, (only, note) in ONLY.items()]
    absent = [Entry(name, note=note) for names, note in ABSENT for name in names.split()]
    return {entry.name: entry for entry in (*same, *changed, *moot, *absent)}


PTYCHOPINN: Mapping[str, Entry] = MappingProxyType(_entries())
"""Every field and flag of PtychoPINN, by its name."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {name: entry.ours for name, entry in PTYCHOPINN.items() if entry.ours and entry.ours != name}
)
"""Their names of our settings, where these differ."""
