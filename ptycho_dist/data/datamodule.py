"""From rows of a scan to the tensors of one training step."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.batches import loader_options
from ptycho_dist.data.labels import Labels
from ptycho_dist.data.sampler import Split, StepSampler, StepShare, split_patterns
from ptycho_dist.data.scan import Scan
from ptycho_dist.types import FloatArray, IntArray


class StepBatch(NamedTuple):
    """Tensors of one rank's share of one step.

    The groups' canvases are stacked into one tall canvas, ``rows`` each.
    """

    counts: Tensor
    """shape (B, N, N): counts as the file has them, DC at the centre; integers of up to 2 bytes, else float32."""
    corners_px: Tensor
    """float64, shape (B, 2): patch corners (y, x) on the tall canvas."""
    canvas_px: Tensor
    """int64, shape (2,): rows and columns of the tall canvas."""
    weight: Tensor
    """float32 scalar: 0 when this rank only keeps step."""
    n_patterns_global: Tensor
    """float32 scalar: patterns in the step over all ranks."""
    n_patterns_window: Tensor
    """float32 scalar: patterns in all steps whose gradients are added."""
    count_factor: Tensor
    """float32 scalar: factor from the file's counts to photons."""
    labels: Tensor | None = None
    """complex64, shape (B, n, n): what the network should predict, where it learns from a stored object."""

    @property
    def photons(self) -> Tensor:
        """Photon counts of the patterns, floating-point, shape (B, N, N); made where the batch is."""
        return self.counts.to(self.count_factor.dtype) * self.count_factor


class StepDataset(Dataset[StepBatch]):
    """Reads the rows that a :class:`~ptycho_dist.data.sampler.StepShare` names.

    Parameters
    ----------
    scan
        Open scan; only the rows of this rank are read.
    N
        Side of a pattern in pixels.
    count_factor
        Factor from the file's counts to photons.
    labels
        Stored object to learn from; None where patterns alone are learnt from.
    """

    def __init__(self, scan: Scan, N: int, count_factor: float, labels: Labels | None = None) -> None:
        self._scan, self._N, self._count_factor, self._labels = scan, N, count_factor, labels

    def __getitem__(self, share: StepShare) -> StepBatch:
        rows = np.concatenate(share.groups)
        counts = self._scan.read_numbers(rows)
        corners, canvas = stack_canvases([self._scan.positions_px[group] for group in share.groups], self._N)
        return StepBatch(
            torch.from_numpy(counts),
            torch.from_numpy(corners),
            torch.tensor(canvas),
            torch.tensor(share.weight),
            torch.tensor(float(share.n_patterns_global)),
            torch.tensor(float(share.n_patterns_window)),
            torch.tensor(float(self._count_factor)),
            None if self._labels is None else self._labels.patches(self._scan.positions_px[rows]),
        )


def stack_canvases(positions: list[FloatArray], N: int) -> tuple[FloatArray, tuple[int, int]]:
    """Shift each group onto its own rows of one tall canvas.

    The shift is a whole number of pixels, so sub-pixel parts are kept.

    Returns
    -------
    corners
        float64, shape (B, 2), of all groups in turn.
    canvas_px
        Rows and columns of the tall canvas.
    """
    local = [group - np.floor(group.min(axis=0)) for group in positions]
    extent = np.max([np.ceil(group.max(axis=0)) for group in local], axis=0).astype(int) + N + 1
    corners = np.concatenate([group + np.array([row * extent[0], 0]) for row, group in enumerate(local)])
    return corners, (int(extent[0]) * len(local), int(extent[1]))


class LoaderModule(pl.LightningDataModule):
    """Loaders of training and validation steps, whatever they are read from.

    Parameters
    ----------
    dataset
        Reads what a sampler names.
    split
        What is trained on, and what validates.
    execution
        Options of the loader, and steps whose gradients are added.
    start
        Epoch and step of it where an unfinished training goes on.
    """

    def __init__(
        self, dataset: Dataset[Any], split: Split, execution: PyTorchExecutionConfig, start: tuple[int, int]
    ) -> None:  # fmt: skip
        super().__init__()
        self.split, self._dataset, self._execution, self._start = split, dataset, execution, start

    def train_dataloader(self) -> DataLoader[Any]:
        """Shares of shuffled global steps."""
        accum_steps = self._execution.accum_steps
        return self._loader(self.sampler(self.split.train, shuffle=True, start=self._start, accum_steps=accum_steps))

    def val_dataloader(self) -> DataLoader[Any]:
        """Shares of the validation steps, always the same."""
        return self._loader(self.sampler(self.split.validation, shuffle=False, start=(0, 0)))

    def first_batch(self) -> Any:
        """Return this rank's share of the very first step, wherever the training starts."""
        return self._dataset[next(iter(self.sampler(self.split.train, shuffle=True, start=(0, 0))))]

    @abstractmethod
    def sampler(
        self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int], accum_steps: int = 1
    ) -> Sampler[Any]:  # fmt: skip
        """Draw this rank's shares of the steps over what is chosen."""

    def _loader(self, sampler: Sampler[Any]) -> DataLoader[Any]:
        return DataLoader(self._dataset, sampler=sampler, batch_size=None, **loader_options(self._execution))


class ScanDataModule(LoaderModule):
    """Loaders of training and validation steps for one rank.

    Parameters
    ----------
    scan
        Open scan.
    configs
        Data, training and execution settings.
    place
        This rank and the number of ranks.
    count_factor
        Factor from the file's counts to photons.
    start
        Epoch and step of it where an unfinished training goes on.
    labels
        Stored object to learn from.
    """

    def __init__(
        self,
        scan: Scan,
        configs: tuple[DataConfig, TrainingConfig, PyTorchExecutionConfig],
        place: tuple[int, int],
        count_factor: float,
        start: tuple[int, int] = (0, 0),
        labels: Labels | None = None,
    ) -> None:
        self._scan, self._place = scan, place
        self._data, self._training, execution = configs
        split = split_patterns(scan.positions_px, self._data, self._training)
        super().__init__(StepDataset(scan, self._data.N, count_factor, labels), split, execution, start)

    @property
    def subject(self) -> str:
        """What is trained on, in words."""
        return f"{len(self.split.train)} patterns"

    def sampler(
        self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int], accum_steps: int = 1
    ) -> StepSampler:  # fmt: skip
        """Draw this rank's shares of the steps over the chosen patterns."""
        configs, positions_px = (self._data, self._training), self._scan.positions_px
        return StepSampler(
            positions_px, chosen, configs, self._place, shuffle=shuffle, start=start, accum_steps=accum_steps
        )  # fmt: skip
