"""Objects that lie in a file while a scan of them is simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.data.scan import open_scan
from ptycho_dist.distributed.rank_group import SingleRank
from ptycho_dist.simulate import large_objects
from ptycho_dist.simulate.large_objects import object_on_ranks
from ptycho_dist.simulate.objects import PictureObject
from ptycho_dist.simulate.run import simulate

SHAPE = (1100, 900)
SOURCE = PictureObject(amplitude="moon", phase="camera", amplitude_min=0.4, phase_range_rad=1.2)


@pytest.mark.parametrize("seed", [None, 3])
def test_rows_are_those_of_the_whole_but_for_its_extremes(seed: int | None) -> None:
    source = PictureObject(amplitude="moon", phase="camera", amplitude_min=0.4, phase_range_rad=1.2, seed=seed)
    make = source.in_rows(SHAPE)
    found = np.concatenate([make(first, min(first + 300, SHAPE[0])) for first in range(0, SHAPE[0], 300)])
    assert found.shape == SHAPE
    assert np.array_equal(found, make(0, SHAPE[0]))
    inside = (slice(5, -5), slice(5, -5))
    assert np.abs(found - source.make(SHAPE))[inside].max() < 0.02
    assert np.abs(found).max() <= 1 + 1e-6


def test_large_object_is_made_in_a_file_of_all_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_objects, "_MOST_IN_MEMORY_PX", 1000)
    with object_on_ranks(SOURCE, SHAPE, tmp_path / "beside", SingleRank()) as found:
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, SOURCE.in_rows(SHAPE)(0, SHAPE[0]))


def test_scan_of_a_large_object_is_that_of_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimulateConfig(
        output_file=tmp_path / "s.h5", n_patterns=40, N=32, defocus_m=2e-5, step_px=110, order="spatial"
    )
    expected = open_scan(simulate(config))
    expected_patterns = expected.read_patterns(np.arange(40))
    monkeypatch.setattr(large_objects, "_MOST_IN_MEMORY_PX", 1000)
    found = open_scan(simulate(SimulateConfig(**{**config.__dict__, "output_file": tmp_path / "mapped.h5"})))
    assert expected.object_ is not None
    assert found.object_ is not None
    inside = (slice(8, -8), slice(8, -8))  # the edges of the picture are continued in other ways
    assert np.abs(found.object_ - expected.object_)[inside].max() < 0.05
    misfit = np.abs(np.sqrt(found.read_patterns(np.arange(40))) - np.sqrt(expected_patterns))
    assert np.median(misfit) < 1.0
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []
