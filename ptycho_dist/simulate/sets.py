"""Simulate a set of scans that differ, each rank its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ptycho_dist.config.simulate import SetConfig, SimulateConfig
from ptycho_dist.data.set_index import INDEX_NAME, SetEntry, entry_of, write_index
from ptycho_dist.distributed.rank_group import RankGroup, SingleRank
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.folder_claim import FolderClaim, this_process
from ptycho_dist.progress.tracker import Progress
from ptycho_dist.simulate.run import described, simulate

_logger = logging.getLogger(__name__)
_SEEDS = 2**31


def simulate_set(base: SimulateConfig, recipe: SetConfig, ranks: RankGroup | None = None) -> Path:
    """Write a folder of simulated scans and, when all are there, its index.

    The same configuration on one machine gives the same files, on any number of ranks.

    Parameters
    ----------
    base
        What the scans have in common; ``output_file`` is the folder.
    recipe
        How they differ.
    ranks
        Exchange with other ranks that simulate some of the scans each; alone where None.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        If a scan that is drawn would have a setting that is out of range; nothing is written then.
    FolderInUseError
        If another job writes into the folder.
    """
    ranks = ranks or SingleRank()
    configs = scans_of(base, recipe)
    claim = FolderClaim(base.output_file, this_process("simulate", os.environ))
    ranks.on_all_ranks(lambda: claim.take() if ranks.rank == 0 else None)
    try:
        _write_set(base, recipe, configs, ranks)
    finally:
        claim.release()
    _logger.info("simulated %d scans of %d patterns into %s", len(configs), base.n_patterns, base.output_file)
    return base.output_file


def _write_set(base: SimulateConfig, recipe: SetConfig, configs: Sequence[SimulateConfig], ranks: RankGroup) -> None:
    folder = base.output_file
    ranks.on_all_ranks(lambda: _clear(folder) if ranks.rank == 0 else None)
    share = shard(len(configs), ranks.rank, ranks.world)
    with ranks.progress.stage("simulation", share.stop - share.start, "scans", is_shared=False):
        own = ranks.on_all_ranks(lambda: _write(configs[share.start : share.stop], ranks.progress))
    entries = [entry for some in ranks.all_gather(own) for entry in some]
    facts = {"simulated": {**described(base), "output_file": None}, "set": asdict(recipe)}
    ranks.on_all_ranks(lambda: write_index(folder, entries, facts) if ranks.rank == 0 else None)


def scans_of(base: SimulateConfig, recipe: SetConfig) -> list[SimulateConfig]:
    """Draw what each scan of a set is; a pure function of both settings."""
    count = recipe.n_scans or 0
    return [_drawn(base, recipe, number, len(str(count - 1))) for number in range(count)]


def _drawn(base: SimulateConfig, recipe: SetConfig, number: int, digits: int) -> SimulateConfig:
    rng = np.random.default_rng((base.seed, number))
    depth = _factor(recipe.depth_factor, rng)
    amplitude, phase = rng.choice(recipe.pictures, 2, replace=len(recipe.pictures) < 2).tolist()
    return replace(
        base,
        output_file=base.output_file / f"scan-{number:0{digits}d}.h5",
        photons=base.photons * _factor(recipe.photons_factor, rng),
        step_px=base.step_px * _factor(recipe.step_factor, rng),
        pupil_radius=base.pupil_radius * _factor(recipe.probe_factor, rng),
        defocus_m=base.defocus_m * _factor(recipe.probe_factor, rng),
        aberration_rad=base.aberration_rad * float(rng.random()),
        amplitude_picture=amplitude,
        phase_picture=phase,
        phase_range_rad=base.phase_range_rad * depth,
        amplitude_min=max(_LEAST_AMPLITUDE, 1 - (1 - base.amplitude_min) * _factor(recipe.depth_factor, rng)),
        picture_seed=int(rng.integers(_SEEDS)),
        seed=int(rng.integers(_SEEDS)),
    )


_LEAST_AMPLITUDE = 0.05


def _factor(most: float, rng: np.random.Generator) -> float:
    """Draw between 1/most and most, evenly in the logarithm."""
    return float(most ** rng.uniform(-1, 1))


def _write(configs: Sequence[SimulateConfig], progress: Progress) -> list[SetEntry]:
    entries = []
    for config in configs:
        entries.append(entry_of(simulate(config, SingleRank())))
        progress.advance(1, config.n_patterns)
    return entries


def _clear(folder: Path) -> None:
    """Take the index of an older set away, so that the folder is no set until the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX_NAME).unlink(missing_ok=True)
