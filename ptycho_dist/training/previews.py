"""Pictures of what the network predicts in the middle of a training; they change nothing of it."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from ptycho_dist.assembly.accumulate import FixedPointSum, fraction_bits, normalise
from ptycho_dist.data.batches import PatternBatches
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Source
from ptycho_dist.distributed.collectives import all_reduce_sum, from_rank_0, on_all_ranks
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.lightning_loop import quietly
from ptycho_dist.training.mlflow_runs import RunLogger
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.weights import add_histograms
from ptycho_dist.types import Canvas, IntArray

logger = logging.getLogger(__name__)

FOLDER = "previews"
_BATCH = 32


class Preview:
    """Predicts patches of a scan with a network in training, and stitches them.

    Parameters
    ----------
    payload, scan
        Settings and the open scan.
    context
        Place of this rank.
    """

    def __init__(self, payload: TrainingPayload, scan: Scan, context: RankContext) -> None:
        execution = payload.execution_config
        self._payload, self._scan, self._context = payload, scan, context
        shown = execution.recon_log_fixed_indices
        if shown is None:
            count = min(execution.recon_log_num_patches, len(scan))
            shown = tuple(int(row) for row in np.linspace(0, len(scan) - 1, count).round())
        self.shown: IntArray = np.array(shown, np.int64)
        self._order = canonical_order(scan.positions_px)[: execution.recon_log_max_stitch_samples]

    def patches(self, model: PtychoModel) -> NDArray[np.complex64]:
        """Predict the patches that are shown (n, side, side)."""
        return np.concatenate([patches.numpy() for patches, _ in self._predict(model, self.shown)])

    def share_of_sums(self, model: PtychoModel) -> torch.Tensor:
        """Integer sums (3, H, W) of this rank's patches: weighted real and imaginary parts, weights."""
        own = self._order[local_slice(shard(len(self._order), self._context.rank, self._context.world))]
        corners_px = self._scan.positions_px + model.margin_px
        total = FixedPointSum(Canvas.around(corners_px[self._order], model.output_px), fraction_bits(len(self._scan)))
        weight = model.patch_weight().detach().double().cpu()
        for patches, rows in self._predict(model, own):
            total.add(patches, weight, torch.from_numpy(corners_px[rows]))
        sums = total.arrays()
        return torch.stack([torch.from_numpy(sums[name]) for name in ("real", "imag", "weight")])

    def _predict(self, model: PtychoModel, rows: IntArray) -> list[tuple[torch.Tensor, IntArray]]:
        """Predict in batches of one size, so that a patch has the same bits on any number of ranks."""
        data, patterns_per_sample = self._payload.data_config, model.sizes.patterns_per_sample
        device, dtype = next(model.parameters()).device, model.patch_weight().dtype
        batches = PatternBatches.of_groups(self._scan, rows, _BATCH, data, patterns_per_sample)
        found = []
        for counts, numbers in batches:
            photons = counts.to(device).to(dtype) * self._payload.count_factor
            patches = model.predict_own(photons, len(numbers))
            found.append((patches.to(torch.complex64).cpu(), numbers.numpy()))
        return found


class Previews(Callback):
    """Draws what the network predicts after every so many epochs, to ``previews/epoch-NNNN.png`` and the logger.

    Parameters
    ----------
    preview
        Predicts on this rank.
    every
        Epochs between two pictures.
    stitched
        Whether the stitched object is drawn as well.
    """

    def __init__(self, preview: Preview, folder: Path, every: int, *, stitched: bool) -> None:
        self._preview, self._folder, self._every, self._stitched = preview, folder, every, stitched

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove pictures of epochs that are still to come, which an earlier run has left."""
        from_rank_0(lambda: _forget_after(self._folder, trainer.current_epoch))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw after this epoch, if it is time."""
        assert isinstance(pl_module, PtychoModule)
        done, model = trainer.current_epoch + 1, pl_module.model
        if done % self._every:
            return
        was_training = model.training
        model.eval()
        with torch.random.fork_rng():
            object_ = self._stitch(trainer, model) if self._stitched else None
            from_rank_0(lambda: self._draw(trainer, model, done, object_))
        model.train(was_training)

    def _stitch(self, trainer: pl.Trainer, model: PtychoModel) -> NDArray[np.complex64]:
        sums = on_all_ranks(lambda: quietly(trainer, lambda: self._preview.share_of_sums(model)))
        return normalise(*all_reduce_sum(sums).numpy())

    def _draw(self, trainer: pl.Trainer, model: PtychoModel, done: int, object_: NDArray[np.complex64] | None) -> None:
        from ptycho_dist.evaluate.previews import draw_preview

        found = quietly(trainer, lambda: self._preview.patches(model))
        patches = dict(zip(self._preview.shown.tolist(), found, strict=True))
        path = self._folder / f"epoch-{done:04d}.png"
        pixels = draw_preview(path, f"epoch {done}", patches, object_)
        for one in trainer.loggers:
            if isinstance(one, TensorBoardLogger):
                one.experiment.add_image("preview", pixels, trainer.global_step - 1, dataformats="HWC")
                add_histograms(one, model, trainer.global_step - 1)
            elif isinstance(one, RunLogger):
                one.log_picture(path)
        logger.info("preview written to %s", path)


def build_previews(payload: TrainingPayload, source: Source, context: RankContext) -> list[Callback]:
    """Build the callback that ``execution.recon_log_every_n_epochs`` asks for; none where it is not set.

    Raises
    ------
    ConfigError
        If the source is a set of scans, or an index is none of the scan.
    """
    execution: Any = payload.execution_config
    every = execution.recon_log_every_n_epochs
    if every is None:
        return []
    if not isinstance(source, Scan):
        msg = (
            f"execution.recon_log_every_n_epochs = {every} in a training on a set of scans; expected one scan, for a "
            "preview is of one. Leave it out, and predict a scan with the trained network."
        )
        raise ConfigError(msg)
    wrong = [row for row in execution.recon_log_fixed_indices or () if not 0 <= row < len(source)]
    if wrong:
        msg = (
            f"execution.recon_log_fixed_indices names {wrong}; expected pattern numbers from 0 to {len(source) - 1}. "
            "Change execution.recon_log_fixed_indices."
        )
        raise ConfigError(msg)
    preview = Preview(payload, source, context)
    return [Previews(preview, payload.output_dir / FOLDER, every, stitched=execution.recon_log_stitch)]


def _forget_after(folder: Path, done: int) -> None:
    for path in folder.glob("epoch-*.png"):
        number = re.fullmatch(r"epoch-(\d+)", path.stem)
        if number and int(number[1]) > done:
            path.unlink()
