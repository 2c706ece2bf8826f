"""Patches of one shard: predicted in fixed batches, kept on disk until they are summed, also over a failure."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho_dist.assembly.accumulate import FixedPointSum, fraction_bits
from ptycho_dist.assembly.synchronise import pair_products
from ptycho_dist.atomic import atomic_path, sync
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.devices import device_of, dtype_of
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.exchange import Agreed, batches_of
from ptycho_dist.inference.precision import precision_context
from ptycho_dist.mapped_files import create_mapped, let_go
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.types import Canvas, FloatArray, IntArray

logger = logging.getLogger(__name__)
_BATCH = 64
_HELD, _PAIRS = 4096, 8192
"""Patches that are written or read before their memory is given back; pairs likewise."""


@dataclass(frozen=True)
class PatchRecipe:
    """How predicted patches enter the sum.

    Parameters
    ----------
    weight_nn
        float64, shape (n, n), on the CPU.
    offset_px
        From the corner of a frame to the corner of its trimmed patch.
    trim_px
        Pixels cut from each side of a prediction.
    """

    weight_nn: Tensor
    offset_px: float
    trim_px: int

    @property
    def side(self) -> int:
        """Side of a trimmed patch."""
        return int(self.weight_nn.shape[-1])


def recipe(model: PtychoModel, payload: InferencePayload) -> PatchRecipe:
    """Weights and trimming that the payload asks for."""
    trim = payload.execution_config.middle_trim
    weight = model.patch_weight().double().cpu()
    if payload.inference_config.patch_weighting == "uniform":
        weight = torch.ones_like(weight)
    side = weight.shape[-1]
    return PatchRecipe(weight[trim : side - trim, trim : side - trim].contiguous(), model.margin_px + trim, trim)


def predict_patches(
    model: PtychoModel, scan: Scan, order: IntArray, payload: InferencePayload, agreed: Agreed | None = None
) -> Iterator[tuple[Tensor, IntArray]]:
    """Yield predicted patches (n, side, side) on the CPU, and their pattern indices (n,).

    Parameters
    ----------
    model, scan, order, payload
        Trained model on this rank's device, the open scan, pattern indices to predict, and settings.
    agreed
        What the stages before the last have agreed on; None where each pattern is predicted on its own.
    """
    device, together = next(model.parameters()).device, model.sizes.patterns_per_sample
    with torch.inference_mode(), precision_context(payload.execution_config, device):
        for photons, numbers, rows in batches_of(model, scan, order, payload):
            if agreed is None:
                yield model.predict_own(photons, len(rows)).cpu(), rows
            else:
                yield agreed.patches(model, photons, numbers)[::together][: len(rows)].cpu(), rows


def place_model(model: PtychoModel, execution: PyTorchExecutionConfig, local_rank: int) -> PtychoModel:
    """Put a model on this rank's device in the precision asked for, ready to predict."""
    device, dtype = device_of(execution.accelerator, local_rank), dtype_of(execution.precision)
    return model.to(device, dtype).eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class PatchFile:
    """Where patches of a rank are kept until they are summed.

    Parameters
    ----------
    path
        The file, named ``*.npy``.
    progress
        Where patterns are reported that were predicted.
    """

    path: Path
    progress: Progress = field(default_factory=Progress)


class ShardPatches:
    """Predictions of some patterns, in a file of ``folder``.

    Memory does not grow with the shard: patches go to disk as they come. A file that an
    earlier run of the same prediction has finished is taken as it is.

    Parameters
    ----------
    model
        Trained model on this rank's device.
    scan
        Open scan.
    rows
        Pattern indices to predict, int64, sorted or not, each once.
    payload
        Settings.
    file
        Where they are kept.
    agreed
        As in :func:`predict_patches`.
    """

    def __init__(
        self,
        model: PtychoModel,
        scan: Scan,
        rows: IntArray,
        payload: InferencePayload,
        file: PatchFile,
        agreed: Agreed | None = None,
    ) -> None:
        path = file.path
        self._agreed, self._progress = agreed, file.progress
        self._recipe = recipe(model, payload)
        self._corners_px: FloatArray = scan.positions_px + self._recipe.offset_px
        self._rows, self._by_row = rows, np.argsort(rows)
        self._bits = fraction_bits(payload.n_patterns)
        self._path, self._seal = path, path.with_suffix(".json")
        sealed = _seal(payload, rows)
        if self._seal.is_file() and json.loads(self._seal.read_text(encoding="utf-8")) == sealed:
            logger.info("patches of an earlier run are taken from %s", path)
            self._patches: NDArray[np.complex64] = np.load(path, mmap_mode="r")
        else:
            self._patches = self._predict(model, scan, rows, payload)
            with atomic_path(self._seal) as temporary:
                temporary.write_text(json.dumps(sealed), encoding="utf-8")

    def close(self) -> None:
        """Let the file go; it stays for a resumed run."""
        del self._patches

    def discard(self) -> None:
        """Remove the file: its patches are summed, and the sum is written."""
        self._seal.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def products(self, pairs: IntArray) -> NDArray[np.complex128]:
        """Inner products of overlapping patches (E,), one for each pair (E, 2) of pattern indices."""
        weight = self._recipe.weight_nn.numpy()
        offsets = np.rint(self._corners_px[pairs[:, 1]] - self._corners_px[pairs[:, 0]]).astype(np.int64)
        patches = np.asarray(self._patches)  # slices of a plain view are made several times faster than of a mapping
        places, found = self._places(pairs), np.empty(len(pairs), np.complex128)
        for start in range(0, len(pairs), _PAIRS):
            some = slice(start, start + _PAIRS)
            found[some] = pair_products(patches, places[some], offsets[some], weight)
            let_go(self._patches)
        return found

    def total(self, rows: IntArray, phases: FloatArray) -> FixedPointSum:
        """Sum patches, turned by their phases, on the tile they touch.

        Parameters
        ----------
        rows
            Pattern indices of the shard, int64; not empty.
        phases
            float64, shape (B,), of all patterns of the scan, in radians.
        """
        side = self._recipe.side
        total = FixedPointSum(Canvas.around(self._corners_px[rows], side), self._bits)
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            turned = self._patches[self._places(some)] * np.exp(1j * phases[some])[:, None, None]
            total.add(torch.from_numpy(turned), self._recipe.weight_nn, torch.from_numpy(self._corners_px[some]))
            if start % _HELD == 0:
                let_go(self._patches)
        return total

    def _places(self, rows: IntArray) -> IntArray:
        """Where in the file the patches of these patterns are."""
        return np.asarray(self._by_row[np.searchsorted(self._rows, rows, sorter=self._by_row)])

    def _predict(
        self, model: PtychoModel, scan: Scan, rows: IntArray, payload: InferencePayload
    ) -> NDArray[np.complex64]:
        side, trim = self._recipe.side, self._recipe.trim_px
        patches = create_mapped(self._path, (len(rows), side, side), np.complex64)
        done = 0
        for predicted, some in predict_patches(model, scan, rows, payload, self._agreed):
            inside = slice(trim, predicted.shape[-1] - trim)
            patches[done : done + len(some)] = predicted[:, inside, inside].numpy()
            if done // _HELD != (done + len(some)) // _HELD:
                let_go(patches)
            done += len(some)
            self._progress.advance(len(some))
        patches.flush()
        sync(self._path)
        return patches


def _seal(payload: InferencePayload, rows: IntArray) -> dict[str, Any]:
    """Tell a finished file of patches from one of another prediction."""
    numbers = np.ascontiguousarray(rows, np.int64).tobytes()
    return {"fingerprint": payload.result_fingerprint(), "rows_sha256": hashlib.sha256(numbers).hexdigest()}
