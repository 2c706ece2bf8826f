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
from ptycho_dist.data.sampler import Split, StepSampler, StepShare, split_patterns
from ptycho_dist.data.scan import Scan
from ptycho_dist.types import FloatArray, IntArray


class StepBatch(NamedTuple):
    """Tensors of one rank's share of one step.

    The groups' canvases are stacked into one tall canvas, ``rows`` each.
    """

    counts: Tensor
    """float32, shape (B, N, N): photon counts, DC at the centre."""
    corners_px: Tensor
    """float64, shape (B, 2): patch corners (y, x) on the tall canvas."""
    canvas_px: Tensor
    """int64, shape (2,): rows and columns of the tall canvas."""
    weight: Tensor
    """float32 scalar: 0 when this rank only keeps step."""
    n_patterns_global: Tensor
    """float32 scalar: patterns in the step over all ranks."""


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
    """

    def __init__(self, scan: Scan, N: int, count_factor: float) -> None:
        self._scan, self._N, self._count_factor = scan, N, count_factor

    def __getitem__(self, share: StepShare) -> StepBatch:
        counts = self._scan.read_patterns(np.concatenate(share.groups))
        if self._count_factor != 1.0:
            counts = counts * np.float32(self._count_factor)
        corners, canvas = stack_canvases([self._scan.positions_px[group] for group in share.groups], self._N)
        return StepBatch(
            torch.from_numpy(counts),
            torch.from_numpy(corners),
            torch.tensor(canvas),
            torch.tensor(share.weight),
            torch.tensor(float(share.n_patterns_global)),
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
    options
        Loader options of the execution config.
    start
        Epoch and step of it where an unfinished training goes on.
    """

    def __init__(self, dataset: Dataset[Any], split: Split, options: dict[str, Any], start: tuple[int, int]) -> None:
        super().__init__()
        self.split, self._dataset, self._options, self._start = split, dataset, options, start

    def train_dataloader(self) -> DataLoader[Any]:
        """Shares of shuffled global steps."""
        return self._loader(self.split.train, shuffle=True, start=self._start)

    def val_dataloader(self) -> DataLoader[Any]:
        """Shares of the validation steps, always the same."""
        return self._loader(self.split.validation, shuffle=False, start=(0, 0))

    def first_batch(self) -> Any:
        """Return this rank's share of the very first step, wherever the training starts."""
        return self._dataset[next(iter(self.sampler(self.split.train, shuffle=True, start=(0, 0))))]

    @abstractmethod
    def sampler(self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int]) -> Sampler[Any]:
        """Draw this rank's shares of the steps over what is chosen."""

    def _loader(self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int]) -> DataLoader[Any]:
        sampler = self.sampler(chosen, shuffle=shuffle, start=start)
        return DataLoader(self._dataset, sampler=sampler, batch_size=None, **self._options)


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
    """

    def __init__(
        self,
        scan: Scan,
        configs: tuple[DataConfig, TrainingConfig, PyTorchExecutionConfig],
        place: tuple[int, int],
        count_factor: float,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        self._scan, self._place = scan, place
        self._data, self._training, execution = configs
        split = split_patterns(scan.positions_px, self._data, self._training)
        super().__init__(StepDataset(scan, self._data.N, count_factor), split, loader_options(execution), start)

    @property
    def subject(self) -> str:
        """What is trained on, in words."""
        return f"{len(self.split.train)} patterns"

    def sampler(self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int]) -> StepSampler:
        """Draw this rank's shares of the steps over the chosen patterns."""
        return StepSampler(
            self._scan.positions_px, chosen, (self._data, self._training), self._place, shuffle=shuffle, start=start
        )  # fmt: skip
