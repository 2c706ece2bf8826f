"""Train on all ranks; rank 0 writes the bundle."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from ptycho_dist.bundle import BUNDLE_FOLDER, save_bundle
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import barrier
from ptycho_dist.distributed.environment import RankContext
from ptycho_dist.errors import DataFormatError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.build import build_model
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


def run_training(payload: TrainingPayload, context: RankContext, scan: Scan) -> TrainingResult:
    """Train the network and the probe on every rank.

    Raises
    ------
    DataFormatError
        If the scan has no probe to start from.
    """
    module = build_module(payload, scan, context.world)
    configs = (payload.data_config, payload.training_config, payload.execution_config)
    data = ScanDataModule(scan, configs, (context.rank, context.world), payload.count_factor)
    with calm_lightning():
        trainer = build_trainer(payload, context)
        logger.info("training on %d patterns with %d ranks", len(data.split.train), context.world)
        _fit(trainer, module, data)
    return _save(payload, context, module, trainer)


def _fit(trainer: pl.Trainer, module: PtychoModule, data: ScanDataModule) -> None:
    """Train; an interrupt or SIGTERM, which Lightning turns into a plain exit, is told as what it was."""
    try:
        trainer.fit(module, datamodule=data)
    except SIGTERMException as stop:
        raise SystemExit(128 + signal.SIGTERM) from stop
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise


def build_module(payload: TrainingPayload, scan: Scan, world: int) -> PtychoModule:
    """Build the untrained module; the same on every rank (the seed decides)."""
    if scan.probe is None:
        msg = f"{scan.header.path} holds no probe; expected a start of the probe to train from. Add one to the file."
        raise DataFormatError(msg)
    mask = None if scan.mask is None else torch.from_numpy(scan.mask)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(payload.training_config.seed)
        model = build_model(payload.data_config, payload.model_config, torch.from_numpy(scan.probe), mask)
    return PtychoModule(model, payload, world)


def _save(payload: TrainingPayload, context: RankContext, module: PtychoModule, trainer: pl.Trainer) -> TrainingResult:
    path = payload.training_config.output_dir / BUNDLE_FOLDER
    if context.rank == 0:
        history = {"train_loss": module.train_losses, "steps": trainer.global_step}
        save_bundle(path, module.model.state_dict(), payload.to_dict() | {"history": history})
        logger.info("bundle written to %s", path)
    barrier()
    speed = float(trainer.callback_metrics.get("patterns_per_s", float("nan")))
    return TrainingResult(path, tuple(module.train_losses), speed)
