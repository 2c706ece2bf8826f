"""How a run is executed: ranks, devices, precision, loader, optimiser step.

Field names are those of PtychoPINN's execution config, so that its users can
switch; fields that nothing here would use are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ptycho_dist.config import validators
from ptycho_dist.config.plausibility import require_possible

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp", "single_device")
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
SCHEDULERS = ("WarmupStableDecay", "Default", "WarmupCosine", "Exponential", "ReduceLROnPlateau")
LOOPS = ("auto", "compiled", "torch")
LOGGER_BACKENDS = ("csv", "tensorboard", "mlflow", "none", None)
CLIP_ALGORITHMS = ("norm", "value")
MONITOR_METRICS = ("auto", "train_loss", "val_loss")

TRAIN, INFER, REFINE, ORIENT, CONVERT = STAGES = ("train", "infer", "refine", "orient", "convert")
_NAMES_OF_STAGES: Mapping[tuple[str, ...], str] = {
    (TRAIN, INFER, REFINE): "accelerator devices precision resume timeout_s report",
    (TRAIN, REFINE): "enable_progress_bar enable_checkpointing checkpoint_interval_s logger_backend",
    (TRAIN, INFER): "pin_memory",
    (INFER, REFINE): "cpu_loops",
    (INFER,): "inference_batch_size middle_trim",
    (TRAIN,): """strategy cuda_graphs deterministic gradient_clip_val gradient_clip_algorithm accum_steps num_workers
        persistent_workers prefetch_factor learning_rate scheduler checkpoint_save_top_k checkpoint_monitor_metric
        checkpoint_mode early_stop_patience recon_log_every_n_epochs recon_log_num_patches
        recon_log_fixed_indices recon_log_stitch recon_log_max_stitch_samples""",
}
_TRAVELS = ("data.propagation", "data.source_distance_m")
_FITTED_ALIKE = tuple(f"data.{name}" for name in ["probe_support_px", "n_modes", "background"])
USED_BY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {f"execution.{name}": stages for stages, names in _NAMES_OF_STAGES.items() for name in names.split()}
    | dict.fromkeys(("data.N", "data.nphotons", "data.group_size", "data.group_step", "data.gridsize"), (TRAIN,))
    | dict.fromkeys(_TRAVELS, (TRAIN, REFINE, ORIENT, CONVERT))
    | dict.fromkeys(_FITTED_ALIKE, (TRAIN, REFINE, ORIENT))
    | {"data.probe_trainable": (TRAIN, REFINE)}
)
"""The stages that use a setting; a command offers those of its stages, and all that are not listed."""


@dataclass(frozen=True, kw_only=True)
class PyTorchExecutionConfig:
    """Execution knobs of training and inference."""

    accelerator: str = "auto"
    """Device type: auto, cpu, gpu, cuda. auto takes a GPU where there is one; mps is refused, it has no float64."""

    devices: int | str = "auto"
    """Ranks per node. auto: what the launcher started on this node, else every GPU, else 1."""

    strategy: str = "auto"
    """auto, ddp or single_device. auto is ddp for more than one rank."""

    cuda_graphs: bool | str = "auto"
    """Capture a training step as CUDA graphs, which spares a GPU its wait for the host. auto: on a GPU."""

    deterministic: bool | str = True
    """Deterministic algorithms: True, False or "warn"."""

    precision: str = "32-true"
    """32-true, 64-true, bf16-mixed or 16-mixed (GPU only)."""

    gradient_clip_val: float | None = 1.0
    """Clip gradients at this norm (or value), some ten times what a healthy training has; None leaves them."""

    gradient_clip_algorithm: str = "norm"
    """What gradient_clip_val bounds: norm or value."""

    accum_steps: int = 1
    """Global steps whose gradients are added before the optimiser steps."""

    num_workers: int = 0
    """Loader processes of each rank; 0 loads in the rank itself. Where not set, 2 for a training on a GPU."""

    pin_memory: bool = False
    """Copy batches to page-locked memory (faster transfer to a GPU). Where not set, true on a GPU."""

    persistent_workers: bool = False
    """Keep loader processes alive between epochs; needs num_workers > 0. Where not set, true on a GPU with them."""

    prefetch_factor: int | None = None
    """Batches that each loader process prepares ahead; needs num_workers > 0. Where not set, 4 on a GPU with them."""

    learning_rate: float = 2e-3
    """Peak learning rate of the network."""

    scheduler: str = "WarmupStableDecay"
    """WarmupStableDecay, WarmupCosine, Exponential, ReduceLROnPlateau, or Default (constant rate)."""

    enable_progress_bar: bool | str = "auto"
    """Show a progress bar on rank 0; false: a line every few seconds. auto: on a terminal, not under a launcher."""

    enable_checkpointing: bool = True
    """Write checkpoints: the best ones of a training, and those from which a killed job resumes."""

    checkpoint_interval_s: float = 60.0
    """Seconds between checkpoints from which a killed job resumes; 0 makes one after each step or iteration."""

    report: bool = True
    """Write report.html beside the results, a page with all of them that opens in any browser."""

    resume: bool = True
    """Resume an unfinished job of the same settings that the output folder holds."""

    checkpoint_save_top_k: int = 1
    """Best checkpoints to keep; 0 keeps only the last one."""

    checkpoint_monitor_metric: str = "auto"
    """Metric that ranks checkpoints and stops early. auto: val_loss with validation, else train_loss."""

    checkpoint_mode: str = "min"
    """Whether a smaller (min) or larger (max) metric is better."""

    early_stop_patience: int = 100
    """Epochs without improvement after which training stops."""

    logger_backend: str | None = "csv"
    """Metric logger beside the tables: csv (these alone), tensorboard, mlflow (package extra [mlflow]) or none."""

    recon_log_every_n_epochs: int | None = None
    """Epochs between two previews (previews/epoch-NNNN.png, and TensorBoard if it is the logger); None makes none."""

    recon_log_num_patches: int = 4
    """Predicted patches in a preview, evenly spread over the scan."""

    recon_log_fixed_indices: tuple[int, ...] | None = None
    """Pattern numbers of the patches in a preview, instead of evenly spread ones."""

    recon_log_stitch: bool = False
    """Whether a preview shows the stitched object too."""

    recon_log_max_stitch_samples: int | None = None
    """Most patterns, neighbours in the scan, that a preview stitches; None takes all."""

    inference_batch_size: int | None = None
    """Patterns in one prediction batch; 32 where not set. Part of the result's identity."""

    middle_trim: int = 0
    """Object pixels cut from each side of a predicted patch before stitching."""

    cpu_loops: str = "auto"
    """Loops of a refinement: compiled (32-true on a CPU) or torch. auto takes the compiled ones where it can."""

    timeout_s: float = 300.0
    """Longest wait of one rank for the others, and of a prediction that follows a running scan for news, in seconds."""

    def __post_init__(self) -> None:
        self._check_devices()
        self._check_optimisation()
        self._check_loader()
        self._check_outputs()

    def _check_devices(self) -> None:
        validators.require_choice("execution.accelerator", self.accelerator, ACCELERATORS)
        if self.devices != "auto":
            validators.require_int("execution.devices", self.devices, 1)
        validators.require_choice("execution.strategy", self.strategy, STRATEGIES)
        validators.require_choice("execution.cuda_graphs", self.cuda_graphs, ("auto", True, False))
        validators.require_choice("execution.deterministic", self.deterministic, (True, False, "warn"))
        validators.require_choice("execution.precision", self.precision, PRECISIONS)
        validators.require_choice("execution.cpu_loops", self.cpu_loops, LOOPS)
        validators.require_positive("execution.timeout_s", self.timeout_s)

    def _check_optimisation(self) -> None:
        validators.require_optional_positive("execution.gradient_clip_val", self.gradient_clip_val)
        validators.require_choice("execution.gradient_clip_algorithm", self.gradient_clip_algorithm, CLIP_ALGORITHMS)
        validators.require_int("execution.accum_steps", self.accum_steps, 1)
        validators.require_positive("execution.learning_rate", self.learning_rate)
        require_possible("execution.learning_rate", self.learning_rate)
        validators.require_choice("execution.scheduler", self.scheduler, SCHEDULERS)

    def _check_loader(self) -> None:
        validators.require_int("execution.num_workers", self.num_workers, 0)
        validators.require_bool("execution.pin_memory", self.pin_memory)
        validators.require_bool("execution.persistent_workers", self.persistent_workers)
        validators.require_optional_int("execution.prefetch_factor", self.prefetch_factor, 1)

    def _check_outputs(self) -> None:
        validators.require_choice("execution.enable_progress_bar", self.enable_progress_bar, ("auto", True, False))
        validators.require_bool("execution.report", self.report)
        validators.require_bool("execution.enable_checkpointing", self.enable_checkpointing)
        validators.require_positive("execution.checkpoint_interval_s", self.checkpoint_interval_s, zero_allowed=True)
        validators.require_bool("execution.resume", self.resume)
        validators.require_int("execution.checkpoint_save_top_k", self.checkpoint_save_top_k, 0)
        validators.require_choice(
            "execution.checkpoint_monitor_metric", self.checkpoint_monitor_metric, MONITOR_METRICS
        )
        validators.require_choice("execution.checkpoint_mode", self.checkpoint_mode, ("min", "max"))
        validators.require_int("execution.early_stop_patience", self.early_stop_patience, 1)
        validators.require_choice("execution.logger_backend", self.logger_backend, LOGGER_BACKENDS)
        self._check_previews()
        validators.require_optional_int("execution.inference_batch_size", self.inference_batch_size, 1)
        validators.require_int("execution.middle_trim", self.middle_trim, 0)

    def _check_previews(self) -> None:
        validators.require_optional_int("execution.recon_log_every_n_epochs", self.recon_log_every_n_epochs, 1)
        validators.require_int("execution.recon_log_num_patches", self.recon_log_num_patches, 1)
        for number in self.recon_log_fixed_indices or ():
            validators.require_int("execution.recon_log_fixed_indices", number, 0)
        validators.require_bool("execution.recon_log_stitch", self.recon_log_stitch)
        validators.require_optional_int("execution.recon_log_max_stitch_samples", self.recon_log_max_stitch_samples, 1)
