"""Small sets of scans made in the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_dist.config.simulate import SetConfig, SimulateConfig
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.distributed.rank_group import RankGroup
from ptycho_dist.simulate.sets import simulate_set
from tests.support.scans import MadeScan, write_own

BASE: dict[str, Any] = {"n_patterns": 14, "N": 32, "defocus_m": 2e-5, "photons": 1e5}


def simulate_small_set(folder: Path, n_scans: int = 3, ranks: RankGroup | None = None, **changes: Any) -> Path:
    """Simulate scans of 14 patterns of 32 by 32 pixels; a keyword replaces a setting of SimulateConfig."""
    base = SimulateConfig(output_file=folder, **(BASE | changes))
    return simulate_set(base, SetConfig(n_scans=n_scans), ranks)


def write_set(folder: Path, *scans: MadeScan) -> Path:
    """Make a set of given scans."""
    files = [write_own(folder / f"{number}.h5", made) for number, made in enumerate(scans)]
    write_index(folder, [entry_of(file) for file in files])
    return folder
