"""Predicted patches of one shard, kept on disk until their phases are known."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.assembly.accumulate import Canvas, FixedPointSum, fraction_bits
from ptycho_dist.assembly.synchronise import pair_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.predict import predict_patches, recipe
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.types import FloatArray, IntArray

_BATCH = 64


class ShardPatches:
    """Predictions of some patterns in an unnamed file, until closed.

    Memory does not grow with the shard: patches go to disk as they come.

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
    folder
        Where the unnamed file lives.
    """

    def __init__(
        self, model: PtychoModel, scan: Scan, rows: IntArray, payload: InferencePayload, folder: Path
    ) -> None:  # fmt: skip
        self._recipe = recipe(model, payload)
        self._corners_px: FloatArray = scan.positions_px + self._recipe.offset_px
        self._place = {int(row): place for place, row in enumerate(rows)}
        self._bits = fraction_bits(payload.n_patterns)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by close()
        self._patches = self._predict(model, scan, rows, payload)

    def close(self) -> None:
        """Give the file back to the system."""
        del self._patches
        self._file.close()

    def products(self, pairs: IntArray) -> NDArray[np.complex128]:
        """Inner products of overlapping patches (E,), one for each pair (E, 2) of pattern indices."""
        weight = self._recipe.weight_nn.numpy()
        offsets = np.rint(self._corners_px[pairs[:, 1]] - self._corners_px[pairs[:, 0]]).astype(np.int64)
        values = [
            pair_product(self._patch(i), self._patch(j), weight, (int(y), int(x)))
            for (i, j), (y, x) in zip(pairs, offsets, strict=True)
        ]
        return np.array(values, dtype=np.complex128)

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
            turned = self._patches[[self._place[int(row)] for row in some]] * np.exp(1j * phases[some])[:, None, None]
            total.add(torch.from_numpy(turned), self._recipe.weight_nn, torch.from_numpy(self._corners_px[some]))
        return total

    def _patch(self, row: int) -> NDArray[np.complex64]:
        patch: NDArray[np.complex64] = self._patches[self._place[int(row)]]
        return patch

    def _predict(
        self, model: PtychoModel, scan: Scan, rows: IntArray, payload: InferencePayload
    ) -> NDArray[np.complex64]:
        side, trim = self._recipe.side, self._recipe.trim_px
        shape = (len(rows), side, side)
        self._file.truncate(max(1, int(np.prod(shape)) * np.dtype(np.complex64).itemsize))
        patches = np.memmap(self._file, np.complex64, "r+", shape=shape) if len(rows) else np.empty(shape, np.complex64)
        done = 0
        for predicted, some in predict_patches(model, scan, rows, payload):
            inside = slice(trim, predicted.shape[-1] - trim)
            patches[done : done + len(some)] = predicted[:, inside, inside].numpy()
            done += len(some)
        return patches
