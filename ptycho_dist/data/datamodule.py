"""From rows of a scan to the tensors of one training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.data.batches import loader_options
from ptycho_dist.data.labels import Labels
from ptycho_dist.data.sampler import (
    Chosen,
    Layout,
    Split,
    StepSampler,
    StepShare,
    split_patterns,
    split_scans,
)
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Recent, ScanSet, Source
from ptycho_dist.errors import DataFormatError
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.propagators import propagation_of
from ptycho_dist.types import FAR_FIELD, FloatArray, IntArray

_REGIONS, _REGION_PATTERNS, _REGION_STREAM = 2, 96, 5
"""Places that are looked at, and patterns of each."""


class ScanBatch(NamedTuple):
    """One rank's share of one step, of one scan; numbers that the host needs are no tensors, so that none is read back.

    The groups' canvases are stacked into one tall canvas.
    """

    number: int
    """Number of the scan in its set."""
    counts: Tensor
    """shape (B, N, N): counts as the file has them, DC at the centre; integers of up to 2 bytes, else float32."""
    corners_px: Tensor
    """float64, shape (B, 2): patch corners (y, x) on the tall canvas."""
    canvas_px: Sequence[int]
    """Rows and columns of the tall canvas."""
    count_factor: Tensor
    """float32 scalar: factor from the file's counts to photons."""
    photons_per_count: float
    """What one of the photons of the batch stands for: one over the factor."""
    labels: Tensor | None = None
    """complex64, shape (B, n, n): what the network should predict, where it learns from a stored object."""
    probe: Tensor | None = None
    """complex64, shape (P, N, N): probe modes in the scale of the file; None where the model holds the probe."""
    mask: Tensor | None = None
    """bool, shape (N, N), beside ``probe``: valid detector pixels; None where all are."""
    probe_mask: Tensor | None = None
    """bool, shape (N, N), beside ``probe``: where it may differ from zero; None where anywhere."""
    propagation: tuple[str, float, float, float] = astuple(FAR_FIELD)
    """Fields of the :class:`~ptycho_dist.types.Propagation`, beside ``probe``."""

    @property
    def photons(self) -> Tensor:
        """Photon counts of the patterns, floating-point, shape (B, N, N); made where the batch is."""
        return self.counts.to(self.count_factor.dtype) * self.count_factor


class StepBatch(NamedTuple):
    """Tensors of one rank's share of one step."""

    parts: tuple[ScanBatch, ...]
    """Patterns of one scan each."""
    weight: float
    """0 when this rank only joins the collectives."""
    n_patterns_global: float
    """Patterns in the step over all ranks."""
    n_patterns_accumulated: float
    """Patterns in all steps whose gradients are added."""

    @property
    def n_patterns(self) -> int:
        """Patterns of this share, also where its weight is 0."""
        return sum(len(part.counts) for part in self.parts)


class StepDataset(Dataset[StepBatch]):
    """Reads the rows that a :class:`~ptycho_dist.data.sampler.StepShare` names.

    Parameters
    ----------
    scans
        Open scans; only the rows of this rank are read.
    photons
        Mean photons that the patterns of each scan are scaled to, so that each counts alike.
    labels_of
        Reads the object of a scan to learn from; None where patterns alone are learnt from. That of a single scan
        is read at once, for all workers.
    data
        Data settings, which say how the waves of the scans travel.
    """

    def __init__(
        self,
        scans: ScanSet,
        photons: float,
        labels_of: Callable[[Scan], Labels] | None = None,
        data: DataConfig | None = None,
    ) -> None:
        self._scans, self._photons, self._read_labels, self._data = scans, photons, labels_of, data or DataConfig()
        self._labels: Recent[Labels] = Recent()
        if scans.is_single:
            self._labels_of(0)

    def __getitem__(self, share: StepShare) -> StepBatch:
        return StepBatch(
            tuple(self.part(number, groups) for number, groups in share.parts),
            float(share.weight),
            float(share.n_patterns_global),
            float(share.n_patterns_accumulated),
        )

    def part(self, number: int, groups: Sequence[IntArray]) -> ScanBatch:
        """Read groups of one scan."""
        scan = self._scans.scan(number)
        part = read_groups(scan, groups, self._photons / scan.header.mean_counts, self._labels_of(number))
        if self._scans.is_single:
            return part
        mask, probe_mask = (None if one is None else torch.from_numpy(one) for one in (scan.mask, scan.probe_mask))
        propagation = astuple(propagation_of(self._data, scan.header))
        return part._replace(
            number=number, probe=_probe(scan), mask=mask, probe_mask=probe_mask, propagation=propagation
        )

    def _labels_of(self, number: int) -> Labels | None:
        if self._read_labels is None:
            return None
        if number not in self._labels:
            self._labels.keep(number, self._read_labels(self._scans.scan(number)))
        return self._labels.use(number)


def read_groups(scan: Scan, groups: Sequence[IntArray], count_factor: float, labels: Labels | None = None) -> ScanBatch:
    """Read the patterns of some groups of a scan, each group on a canvas of its own.

    Parameters
    ----------
    scan
        Open scan.
    groups
        Pattern indices of each group.
    count_factor
        Factor from the file's counts to photons.
    labels
        Stored object to learn from; None where patterns alone are learnt from.
    """
    rows = np.concatenate(groups)
    counts = scan.read_numbers(rows)
    corners, canvas = stack_canvases([scan.positions_px[group] for group in groups], scan.header.N)
    factor = torch.tensor(float(count_factor))
    return ScanBatch(
        0,
        torch.from_numpy(counts),
        torch.from_numpy(corners),
        canvas,
        factor,
        1 / float(factor),
        None if labels is None else labels.patches(scan.positions_px[rows]),
    )


def _probe(scan: Scan) -> Tensor:
    if scan.probe is None:
        msg = f"{scan.header.path} holds no probe; expected one, for the network needs it. Add it to the scan file."
        raise DataFormatError(msg)
    return torch.from_numpy(scan.probe)


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


class ScanDataModule(pl.LightningDataModule):
    """Loaders of training and validation steps for one rank.

    Parameters
    ----------
    source
        Open scan, of which groups validate, or set of scans, of which whole scans do.
    configs
        Data, training and execution settings.
    context
        Place of this rank.
    photons
        Mean photons that patterns are scaled to.
    start
        Epoch and step of it where a training resumes.
    labels_of
        As in :class:`StepDataset`.
    """

    def __init__(
        self,
        source: Source,
        configs: tuple[DataConfig, TrainingConfig, PyTorchExecutionConfig],
        context: RankContext,
        photons: float,
        start: tuple[int, int] = (0, 0),
        labels_of: Callable[[Scan], Labels] | None = None,
    ) -> None:
        super().__init__()
        self.scans = source if isinstance(source, ScanSet) else ScanSet.of_one(source)
        self._data, self._training, self._execution = configs
        self._context, self._start = context, start
        self.split = self._split()
        self.dataset = StepDataset(self.scans, photons, labels_of, self._data)

    @property
    def subject(self) -> str:
        """What is trained on, in words."""
        chosen = self._chosen(self.split.train)
        of_scans = "" if self.scans.is_single else f" of {len(chosen.scans)} scans"
        return f"{chosen.n_patterns.sum()} patterns{of_scans}"

    def train_dataloader(self) -> DataLoader[StepBatch]:
        """Shares of shuffled global steps."""
        accum_steps = self._execution.accum_steps
        return self._loader(self._sampler(self.split.train, shuffle=True, start=self._start, accum_steps=accum_steps))

    def val_dataloader(self) -> DataLoader[StepBatch]:
        """Shares of the validation steps, always the same."""
        return self._loader(self._sampler(self.split.validation, shuffle=False))

    @property
    def held_out(self) -> IntArray:
        """Numbers of the scans that are held back; none of a single scan, of which groups are."""
        return np.empty(0, np.int64) if self.scans.is_single else self.split.validation

    def first_batch(self) -> StepBatch:
        """Return this rank's share of the very first step, wherever the training starts."""
        return self.dataset[next(iter(self._sampler(self.split.train, shuffle=True)))]

    def regions(self) -> list[ScanBatch]:
        """Patterns of a few places, always the same: of a set, of the scans that validate, or else of the first."""
        if self.scans.is_single:
            rows = self.split.train
            return [self.dataset.part(0, [one]) for one in self._places(0, rows, _REGIONS)]
        numbers = self.split.validation if len(self.split.validation) else self.split.train
        chosen = [int(one) for one in numbers[:_REGIONS]]
        return [self.dataset.part(one, self._places(one, None, 1)) for one in chosen]

    def _places(self, number: int, rows: IntArray | None, count: int) -> list[IntArray]:
        positions_px = self.scans.scan(number).positions_px
        rows = np.arange(len(positions_px)) if rows is None else rows
        centres = np.random.default_rng((self._training.seed, _REGION_STREAM)).choice(len(rows), min(count, len(rows)))
        distance = np.linalg.norm(positions_px[rows][:, None] - positions_px[rows[centres]], axis=2)
        return [np.sort(rows[np.argsort(one, kind="stable")[:_REGION_PATTERNS]]) for one in distance.T]

    def _split(self) -> Split:
        if self.scans.is_single:
            return split_patterns(self.scans.scan(0).positions_px, self._data, self._training)
        return split_scans(len(self.scans), self._training)

    def _chosen(self, numbers: IntArray) -> Chosen:
        """Patterns that a part of the split stands for."""
        if self.scans.is_single:
            return Chosen.of_one(numbers)
        return Chosen(numbers, np.array([self.scans.entries[int(one)].n_patterns for one in numbers]))

    def _sampler(
        self, numbers: IntArray, *, shuffle: bool, start: tuple[int, int] = (0, 0), accum_steps: int = 1
    ) -> StepSampler:
        def layout_of(number: int) -> Layout:
            scan = self.scans.scan(number)
            return Layout(scan.positions_px, scan.probe_diameter_px)

        configs, chosen = (self._data, self._training), self._chosen(numbers)
        return StepSampler(
            layout_of, chosen, configs, self._context, shuffle=shuffle, start=start, accum_steps=accum_steps
        )

    def _loader(self, sampler: StepSampler) -> DataLoader[StepBatch]:
        return DataLoader(self.dataset, sampler=sampler, batch_size=None, **loader_options(self._execution))
