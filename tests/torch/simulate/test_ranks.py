"""Ranks that simulate together make the patterns that one rank makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.scan import open_scan
from ptycho_dist.simulate.run import own_rows, simulate
from tests.support.threads import on_ranks


def config(path: Path) -> SimulateConfig:
    return SimulateConfig(output_file=path, n_patterns=40, N=32, defocus_m=2e-5, n_modes=2)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_simulated_patterns_are_the_same_for_any_number_of_ranks(tmp_path: Path, world: int) -> None:
    alone, rows = open_scan(simulate(config(tmp_path / "alone.h5"))), np.arange(40)
    ended = on_ranks(world, lambda ranks: simulate(config(tmp_path / "s.h5"), ranks))
    assert ended == [tmp_path / "s.h5"] * world
    together = open_scan(tmp_path / "s.h5")
    np.testing.assert_array_equal(together.read_patterns(rows), alone.read_patterns(rows))
    assert together.header.mean_counts == alone.header.mean_counts
    assert together.positions_px.tobytes() == alone.positions_px.tobytes()


def test_noise_of_patterns_differs_from_chunk_to_chunk(tmp_path: Path) -> None:
    patterns = open_scan(simulate(config(tmp_path / "s.h5"))).read_patterns(np.arange(40))
    noise = patterns - patterns.mean(axis=0)
    similar = np.corrcoef(noise[:8].ravel(), noise[16:24].ravel())[0, 1]
    assert similar < 0.9


@pytest.mark.parametrize(("n", "world"), [(40, 2), (1, 3), (100, 7), (16, 1)])
def test_own_rows_cover_the_scan_once(n: int, world: int) -> None:
    rows = [own_rows(n, rank, world) for rank in range(world)]
    assert [i for one in rows for i in range(one.start, one.stop)] == list(range(n))
