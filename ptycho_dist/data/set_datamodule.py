"""From the scans of a set to the tensors of one training step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.datamodule import LoaderModule, StepBatch, StepDataset
from ptycho_dist.data.labels import Labels, read_labels
from ptycho_dist.data.sampler import StepShare
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Recent, ScanSet
from ptycho_dist.data.set_sampler import SetSampler, SetShare, split_scans
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import IntArray


class SetBatch(NamedTuple):
    """Tensors of one rank's share of one step on a set: one entry for each scan."""

    numbers: tuple[int, ...]
    """Number of each scan in the set."""
    parts: tuple[StepBatch, ...]
    """Patterns of one scan each; counts are brought to the mean photons of the set."""
    probes: tuple[Tensor, ...]
    """complex64, shape (P, N, N): probe modes of each scan, in the scale of its file."""
    masks: tuple[Tensor | None, ...]
    """bool, shape (N, N): valid detector pixels of each scan; None where all are."""
    probe_masks: tuple[Tensor | None, ...]
    """bool, shape (N, N): where the probe of each scan may differ from zero; None where anywhere."""
    weight: Tensor
    """float32 scalar: 0 when this rank only keeps step."""
    n_patterns_global: Tensor
    """float32 scalar: patterns in the step over all ranks."""
    n_patterns_window: Tensor
    """float32 scalar: patterns in all steps whose gradients are added."""


class SetDataset(Dataset[SetBatch]):
    """Reads the rows that a :class:`~ptycho_dist.data.set_sampler.SetShare` names.

    Parameters
    ----------
    scans
        The set; only the rows of this rank are read.
    N
        Side of a pattern in pixels.
    photons
        Mean photons that the patterns of each scan are scaled to, so that each counts alike.
    label_px
        Side of the patches of each scan's own object to learn from; None where patterns alone are learnt from.
    """

    def __init__(self, scans: ScanSet, N: int, photons: float, label_px: int | None = None) -> None:
        self._scans, self._N, self._photons, self._label_px = scans, N, photons, label_px
        self._labels: Recent[Labels] = Recent()

    def __getitem__(self, share: SetShare) -> SetBatch:
        numbers = [number for number, _ in share.parts]
        opened = [self._scans.scan(number) for number in numbers]
        return SetBatch(
            tuple(numbers),
            tuple(self._part(number, groups, share) for number, groups in share.parts),
            tuple(_probe(scan) for scan in opened),
            tuple(None if scan.mask is None else torch.from_numpy(scan.mask) for scan in opened),
            tuple(None if scan.probe_mask is None else torch.from_numpy(scan.probe_mask) for scan in opened),
            torch.tensor(share.weight),
            torch.tensor(float(share.n_patterns_global)),
            torch.tensor(float(share.n_patterns_window)),
        )

    def _part(self, number: int, groups: tuple[IntArray, ...], share: SetShare) -> StepBatch:
        count_factor = self._photons / self._scans.entries[number].mean_counts
        one = StepShare(groups, share.weight, share.n_patterns_global, share.n_patterns_window)
        scan = self._scans.scan(number)
        return StepDataset(scan, self._N, count_factor, self._labels_of(number, scan))[one]

    def _labels_of(self, number: int, scan: Scan) -> Labels | None:
        if self._label_px is None:
            return None
        if number not in self._labels:
            self._labels.keep(number, read_labels(scan, None, self._label_px))
        return self._labels.use(number)


class SetDataModule(LoaderModule):
    """Loaders of training and validation steps on a set, for one rank.

    Parameters
    ----------
    scans
        The set.
    configs
        Data, training and execution settings.
    place
        This rank and the number of ranks.
    photons
        Mean photons that patterns are scaled to.
    start
        Epoch and step of it where an unfinished training goes on.
    label_px
        As in :class:`SetDataset`.
    """

    def __init__(
        self,
        scans: ScanSet,
        configs: tuple[DataConfig, TrainingConfig, PyTorchExecutionConfig],
        place: tuple[int, int],
        photons: float,
        start: tuple[int, int] = (0, 0),
        label_px: int | None = None,
    ) -> None:
        self._scans, self._place = scans, place
        self._data, self._training, execution = configs
        split = split_scans(len(scans), self._training)
        super().__init__(SetDataset(scans, self._data.N, photons, label_px), split, execution, start)

    @property
    def subject(self) -> str:
        """What is trained on, in words."""
        n_patterns = sum(self._scans.entries[int(number)].n_patterns for number in self.split.train)
        return f"{n_patterns} patterns of {len(self.split.train)} scans"

    def sampler(
        self, chosen: IntArray, *, shuffle: bool, start: tuple[int, int], accum_steps: int = 1
    ) -> SetSampler:  # fmt: skip
        """Draw this rank's shares of the steps over the chosen scans."""
        configs = (self._data, self._training)
        return SetSampler(
            self._scans, chosen, configs, self._place, shuffle=shuffle, start=start, accum_steps=accum_steps
        )  # fmt: skip


def _probe(scan: Scan) -> Tensor:
    if scan.probe is None:
        msg = f"{scan.header.path} holds no probe; expected one, for the network needs it. Add it to the scan file."
        raise DataFormatError(msg)
    return torch.from_numpy(scan.probe)
