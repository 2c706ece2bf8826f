"""Train on all ranks; rank 0 writes the bundle."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from ptycho_dist.bundle import BUNDLE_FOLDER, find_bundle, load_bundle, save_bundle
from ptycho_dist.data.content import checksum
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.labels import Labels, read_labels
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import ScanSet, Source
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.distributed.devices import dtype_of, keep_freed_memory
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.errors import BundleError, DataFormatError
from ptycho_dist.factory.payload import TrainingPayload, plain
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.model.build import PROBE, build_model, empty_model, load_network, network_state, settled_probe
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.physics.start_modes import separable
from ptycho_dist.training.budget import Budget
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.checkpoints import FOLDER, ResumePoint, forget, newest_whole
from ptycho_dist.training.fine_tuning import Judge, Tuned, error_for_all
from ptycho_dist.training.freeze import freeze
from ptycho_dist.training.held_out import HeldOut
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.previews import build_previews
from ptycho_dist.training.trainer import build_trainer, calm_lightning

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Parameters
    ----------
    bundle_path
        Folder of the trained model.
    losses
        Training loss of each epoch; of the last one only if it was whole, or the only one.
    patterns_per_s
        Speed of the last epoch over all ranks.
    fourier_error
        Of what the network of the bundle predicts for groups spread over the scan, or over some scans of a set, each
        on its own canvas; None where labels alone are learnt.
    """

    bundle_path: Path
    losses: tuple[float, ...]
    patterns_per_s: float
    fourier_error: float | None = None


def run_training(
    payload: TrainingPayload,
    context: RankContext,
    scan: Source,
    *,
    stop: StopSignals | None = None,
    resume: bool = False,
) -> TrainingResult:
    """Train the network and the probe on every rank; on a set of scans the network alone.

    Parameters
    ----------
    payload, context, scan
        Settings, place of this rank, and the open scan or set of scans.
    stop
        Signals that stop the training between two steps; its state is saved then.
    resume
        Resume from the newest whole checkpoint in the output folder.

    Raises
    ------
    BundleError
        If the bundle to start from is damaged, or was changed since the payload was made.
    DataFormatError
        If the scan has no probe to start from, or a scan was changed since it was opened.
    TrainingError
        If the training has gone wrong too often, or no checkpoint is whole.
    StopRequested
        If a rank was told to stop.
    """
    keep_freed_memory()
    if isinstance(scan, ScanSet):
        on_all_ranks(lambda: scan.verify(shard(len(scan), context.local_rank, context.local_world)))
    module = on_all_ranks(lambda: build_module(payload, scan, context.world))
    start = from_rank_0(lambda: _start(payload, resume=resume))
    keeping = Keeping(payload.training_config.output_dir, start, stop or StopSignals())
    data = on_all_ranks(lambda: _loaders(payload, scan, context, (start.epoch, start.batch) if start else (0, 0)))
    previews = on_all_ranks(lambda: build_previews(payload, scan, context))
    budget = on_all_ranks(lambda: Budget(payload.training_config, data.regions()))
    held_out = HeldOut.of(payload, data, context)
    judge = None if held_out else Judge.of(payload, data, module)
    with calm_lightning():
        trainer = build_trainer(payload, context, keeping, [budget, *previews, *([held_out] if held_out else [])])
        logger.info("training on %s with %d ranks", data.subject, context.world)
        _fit(trainer, module, data, keeping)
    losses = _losses_of_epochs(trainer, module)
    history: dict[str, Any] = {"train_loss": losses, "steps": trainer.global_step}
    if held_out is not None:
        history |= held_out.settle(module.model)
    tuned = None
    if judge is not None:
        module, tuned = judge.settle(module, lambda: build_module(payload, scan, context.world))
        history |= tuned.facts()
    on_all_ranks(scan.require_unchanged)
    error = _groups_error(payload, data, module, tuned)
    path = _save(payload, module.model, history, holds_probe=isinstance(scan, Scan))
    speed = float(trainer.callback_metrics.get("patterns_per_s", float("nan")))
    return TrainingResult(path, tuple(losses), speed, error)


def _losses_of_epochs(trainer: pl.Trainer, module: PtychoModule) -> list[float]:
    """Losses that can be compared: one of a few groups, where the last epoch was cut short, says little of a scan."""
    losses = module.train_losses
    is_cut = module.steps < len(losses) * trainer.num_training_batches
    return losses[:-1] if is_cut and len(losses) > 1 else losses


def _groups_error(
    payload: TrainingPayload, data: ScanDataModule, module: PtychoModule, tuned: Tuned | None
) -> float | None:
    """Fourier error of groups with the weights that are kept; the last epoch may have seen but a few of them."""
    if tuned is not None:
        return tuned.kept_error
    if payload.training_config.mode == "supervised":
        return None
    error = error_for_all(payload, data, module)
    return error if math.isfinite(error) else None


def _loaders(payload: TrainingPayload, source: Source, context: RankContext, start: tuple[int, int]) -> ScanDataModule:
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    labels_of = _labels(payload) if payload.training_config.uses_labels else None
    return ScanDataModule(source, configs, context, payload.photons, start, labels_of)


def _labels(payload: TrainingPayload) -> Callable[[Scan], Labels]:
    """Make sure that the object to learn from is the one of the payload; return what reads it.

    Raises
    ------
    DataFormatError
        If it was changed.
    """
    path, output_px = payload.training_config.label_file, payload.model_config.output_px
    assert output_px is not None
    if path is not None and checksum(path) != payload.label_checksum:
        msg = f"{path} was changed since this job was begun; expected the labels to stay. Start again."
        raise DataFormatError(msg)
    return partial(read_labels, path=path, output_px=output_px)


def _start(payload: TrainingPayload, *, resume: bool) -> ResumePoint | None:
    """Where to resume; a fresh training first clears what an unfinished one left."""
    folder = payload.training_config.output_dir / FOLDER
    if not resume:
        forget(folder)
        return None
    found = newest_whole(folder, payload.result_fingerprint(), payload.scan_checksum)
    if found is None:
        logger.info("the unfinished training in %s has no checkpoint yet; it starts anew", folder.parent)
    else:
        logger.info("resuming from %s: epoch %d, step %d", found.path, found.epoch + 1, found.step + 1)
    return found


def _fit(trainer: pl.Trainer, module: PtychoModule, data: ScanDataModule, keeping: Keeping) -> None:
    """Train; an interrupt, which Lightning turns into a plain exit, is raised as what it was."""
    deferred = keeping.stop.deferred() if trainer.checkpoint_callbacks else nullcontext()
    try:
        with deferred:
            trainer.fit(module, datamodule=data, ckpt_path=keeping.start.path if keeping.start else None)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    keeping.stop.check()


def build_module(payload: TrainingPayload, source: Source, world: int) -> PtychoModule:
    """Build the module before its first step; the same on every rank (the seed decides).

    It has the final dtype, for Lightning loads a checkpoint before it converts the module.

    Raises
    ------
    BundleError
        If the bundle to start from does not fit.
    ConfigError
        If what is to be frozen is not there, or all that is trained.
    DataFormatError
        If a scan has no probe.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(payload.training_config.seed)
        model = _untrained(payload, source)
    _warm_start(model, payload)
    freeze(model, payload.training_config.freeze)
    return PtychoModule(model.to(dtype_of(payload.execution_config.precision)), payload, world)


def _untrained(payload: TrainingPayload, source: Source) -> PtychoModel:
    if isinstance(source, ScanSet):
        return _untrained_of_set(payload, source)
    if source.probe is None:
        msg = f"{source.header.path} holds no probe; expected a start of the probe to train from. Add one to the file."
        raise DataFormatError(msg)
    mask, probe_mask = (None if one is None else torch.from_numpy(one) for one in (source.mask, source.probe_mask))
    given, propagation = torch.from_numpy(source.probe), propagation_of(payload.data_config, source.header)
    probe = separable(given) if payload.data_config.probe_trainable else given
    return build_model(payload.data_config, payload.model_config, probe, mask, probe_mask, propagation)


def _untrained_of_set(payload: TrainingPayload, scans: ScanSet) -> PtychoModel:
    """Network without a probe; where scales are trained, each scan has its own."""
    propagation_of(payload.data_config, scans.scan(0).header)  # what is missing is refused before the training
    config = replace(payload.model_config, intensity_scale_trainable=False)
    model = empty_model(payload.data_config, config, has_mask=False)
    if payload.model_config.intensity_scale_trainable:
        model.optics.add_scan_scales(len(scans))
    return model


def _warm_start(model: PtychoModel, payload: TrainingPayload) -> None:
    """Give the network the weights of ``training.init_from``, if that is set."""
    if payload.training_config.init_from is None:
        return
    path = find_bundle(payload.training_config.init_from)
    bundle = load_bundle(path)
    if bundle.weights_checksum != payload.init_checksum:
        msg = f"the weights of bundle {path} were changed since this job was begun; expected them to stay. Start again."
        raise BundleError(msg)
    try:
        load_network(model, bundle.state)
    except RuntimeError as error:
        msg = f"the weights of bundle {path} do not fit this network ({error}); use the version that wrote it."
        raise BundleError(msg) from error


def _save(payload: TrainingPayload, model: PtychoModel, history: dict[str, Any], *, holds_probe: bool) -> Path:
    """Rank 0 writes the bundle; then there is nothing left to resume. Returns its folder."""
    path = payload.training_config.output_dir / BUNDLE_FOLDER

    def write() -> None:
        state = model.state_dict()
        facts: dict[str, Any] = {"history": history, "holds_probe": holds_probe}
        if holds_probe:
            facts["scan_path"] = str(payload.scan_path.resolve())
            facts["propagation"] = plain(model.optics.propagation)
            state[PROBE] = settled_probe(state[PROBE], is_trained=model.optics.probe_parts.requires_grad)
            facts["mode_powers"] = mode_powers(torch.view_as_complex(state[PROBE]))
            if len(state[PROBE]) > 1:
                fractions = ", ".join(f"{one:.1%}" for one in facts["mode_powers"])
                logger.info("power fractions of the probe modes: %s", fractions)
        scales = model.optics.scan_log_scales
        if scales is not None:
            facts["intensity_scales"] = scales.detach().exp().tolist()
        save_bundle(path, state if holds_probe else network_state(state), payload.to_dict() | facts)
        forget(payload.training_config.output_dir / FOLDER)
        logger.info("bundle written to %s", path)

    from_rank_0(write)
    return path
