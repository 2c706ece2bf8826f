"""Fixed batches of patterns for prediction, and what the loaders of all kinds have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.grouping import neighbor_groups
from ptycho_dist.data.scan import Scan
from ptycho_dist.types import IntArray


def loader_options(execution: PyTorchExecutionConfig) -> dict[str, Any]:
    """Loader arguments that the execution config decides."""
    return {
        "num_workers": execution.num_workers,
        "pin_memory": execution.pin_memory,
        "persistent_workers": execution.persistent_workers,
        "prefetch_factor": execution.prefetch_factor,
    }


class PatternBatches(Dataset[tuple[Tensor, Tensor]]):
    """Fixed-size prediction batches over a canonical list of patterns.

    Batch ``b`` holds list entries ``[b * size, (b + 1) * size)``, zero-padded at
    the end, so that a pattern's prediction does not depend on who predicts it.
    Where patterns are seen together, each entry brings the patterns of its group, itself first.

    Parameters
    ----------
    scan
        Open scan.
    order
        Pattern indices of this share of the canonical list.
    size
        Patterns in a batch.
    groups
        int64, shape (n, G): for each pattern of ``order`` those that it is seen together with, itself first; each
        alone where not given.
    """

    def __init__(self, scan: Scan, order: IntArray, size: int, groups: IntArray | None = None) -> None:
        self._scan, self._order, self._size, self._groups = scan, order, size, groups
        self._by_row = np.argsort(order)

    @classmethod
    def of_groups(
        cls, scan: Scan, order: IntArray, size: int, data: DataConfig, patterns_per_sample: int
    ) -> PatternBatches:
        """Batches for a network that sees so many patterns together: those around each, as in training."""
        if patterns_per_sample == 1:
            return cls(scan, order, size)
        return cls(scan, order, size, neighbor_groups(scan.positions_px, data.gridsize or 1, order).index)

    def __len__(self) -> int:
        return -(-len(self._order) // self._size)

    def __getitem__(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return counts (size * G, N, N), zero-padded, and the pattern indices (n,) int64 they start with.

        Counts are those of the file: integers of up to 2 bytes, else float32.
        """
        if not 0 <= batch < len(self):
            raise IndexError(batch)
        rows = self._order[batch * self._size : (batch + 1) * self._size]
        counts = self._read(rows)
        missing = (self._size - len(rows)) * (len(counts) // len(rows))
        if missing:
            counts = np.concatenate([counts, np.zeros((missing, *counts.shape[1:]), counts.dtype)])
        return torch.from_numpy(counts), torch.from_numpy(rows)

    def members(self, rows: IntArray) -> IntArray:
        """Pattern numbers (size * G,) of a batch that starts with these rows; the first stands for those missing."""
        padded = np.concatenate([rows, np.full(self._size - len(rows), rows[0])])
        return padded if self._groups is None else self._groups_of(self._groups, padded).reshape(-1)

    def _read(self, rows: IntArray) -> NDArray[Any]:
        """Patterns of these rows, or of their groups, each read once."""
        if self._groups is None:
            return self._scan.read_numbers(rows)
        needed, places = np.unique(self._groups_of(self._groups, rows), return_inverse=True)
        return self._scan.read_numbers(needed)[places.reshape(-1)]

    def _groups_of(self, groups: IntArray, rows: IntArray) -> IntArray:
        """Find the groups (n, G) of some patterns of the list."""
        return np.asarray(groups[self._by_row[np.searchsorted(self._order, rows, sorter=self._by_row)]])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[batch] for batch in range(len(self)))
