"""Train on all ranks; rank 0 writes the bundle."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch

from ptycho_dist.bundle import BUNDLE_FOLDER, save_bundle
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.allocator import keep_freed_memory
from ptycho_dist.distributed.collectives import from_rank_0
from ptycho_dist.distributed.devices import dtype_of
from ptycho_dist.distributed.environment import RankContext
from ptycho_dist.distributed.stop import StopSignals
from ptycho_dist.errors import DataFormatError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.build import build_model
from ptycho_dist.training.callbacks import Keeping
from ptycho_dist.training.checkpoints import FOLDER, ResumePoint, forget, newest_whole
from ptycho_dist.training.module import PtychoModule
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
        Training loss of each epoch.
    patterns_per_s
        Speed of the last epoch over all ranks.
    """

    bundle_path: Path
    losses: tuple[float, ...]
    patterns_per_s: float


def run_training(
    payload: TrainingPayload, context: RankContext, scan: Scan, *, stop: StopSignals | None = None, resume: bool = False
) -> TrainingResult:
    """Train the network and the probe on every rank.

    Parameters
    ----------
    payload, context, scan
        Settings, place of this rank, and the open scan.
    stop
        Signals that stop the training between two steps; its state is saved then.
    resume
        Go on from the newest whole checkpoint in the output folder.

    Raises
    ------
    DataFormatError
        If the scan has no probe to start from.
    TrainingError
        If the loss is no longer finite, or no checkpoint is whole.
    StopRequested
        If a rank was told to stop.
    """
    keep_freed_memory()
    module = build_module(payload, scan, context.world)
    start = from_rank_0(lambda: _start(payload, resume=resume))
    keeping = Keeping(payload.training_config.output_dir, start, stop or StopSignals())
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    place = (start.epoch, start.batch) if start else (0, 0)
    data = ScanDataModule(scan, configs, (context.rank, context.world), payload.count_factor, place)
    with calm_lightning():
        trainer = build_trainer(payload, context, keeping)
        logger.info("training on %d patterns with %d ranks", len(data.split.train), context.world)
        _fit(trainer, module, data, keeping)
    return _save(payload, context, module, trainer)


def _start(payload: TrainingPayload, *, resume: bool) -> ResumePoint | None:
    """Where to go on; a fresh training first clears what an unfinished one left."""
    folder = payload.training_config.output_dir / FOLDER
    if not resume:
        forget(folder)
        return None
    found = newest_whole(folder, payload.result_fingerprint())
    if found is None:
        logger.info("the unfinished training in %s has no checkpoint yet; it starts anew", folder.parent)
    else:
        logger.info("going on from %s: epoch %d, step %d", found.path, found.epoch + 1, found.step + 1)
    return found


def _fit(trainer: pl.Trainer, module: PtychoModule, data: ScanDataModule, keeping: Keeping) -> None:
    """Train; an interrupt, which Lightning turns into a plain exit, is told as what it was."""
    deferred = keeping.stop.deferred() if trainer.checkpoint_callbacks else nullcontext()
    try:
        with deferred:
            trainer.fit(module, datamodule=data, ckpt_path=keeping.start.path if keeping.start else None)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    keeping.stop.check()


def build_module(payload: TrainingPayload, scan: Scan, world: int) -> PtychoModule:
    """Build the untrained module; the same on every rank (the seed decides).

    It has the final dtype, for Lightning loads a checkpoint before it converts the module.
    """
    if scan.probe is None:
        msg = f"{scan.header.path} holds no probe; expected a start of the probe to train from. Add one to the file."
        raise DataFormatError(msg)
    mask = None if scan.mask is None else torch.from_numpy(scan.mask)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(payload.training_config.seed)
        model = build_model(payload.data_config, payload.model_config, torch.from_numpy(scan.probe), mask)
    return PtychoModule(model.to(dtype_of(payload.execution_config.precision)), payload, world)


def _save(payload: TrainingPayload, context: RankContext, module: PtychoModule, trainer: pl.Trainer) -> TrainingResult:
    """Rank 0 writes the bundle; then there is nothing left to go on from."""
    path = payload.training_config.output_dir / BUNDLE_FOLDER
    history = {"train_loss": module.train_losses, "steps": trainer.global_step}

    def write() -> None:
        save_bundle(path, module.model.state_dict(), payload.to_dict() | {"history": history})
        forget(payload.training_config.output_dir / FOLDER)
        logger.info("bundle written to %s", path)

    from_rank_0(write)
    speed = float(trainer.callback_metrics.get("patterns_per_s", float("nan")))
    return TrainingResult(path, tuple(module.train_losses), speed)
