"""Shifts of positions against those of the scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.shifts import shift_facts, shifts_of
from tests.support.results import hermite_probe, smooth_object, write_product
from tests.support.scans import make_scan, write_own


def test_shifts_are_told_without_the_common_one(tmp_path: Path) -> None:
    made = make_scan(n_patterns=12, N=16)
    with open_scan(write_own(tmp_path / "scan.h5", made)) as scan:
        path = write_product(tmp_path / "p.h5", smooth_object((60, 60)), hermite_probe(16, 1), 12)
        still = replace(read_product(path), positions_px=scan.positions_px + 5.0)
        assert shifts_of(still, scan) is None
        assert shifts_of(still, None) is None
        moves = np.random.default_rng(0).normal(0, 0.5, scan.positions_px.shape)
        found = shifts_of(replace(still, positions_px=still.positions_px + moves), scan)
    assert found is not None
    np.testing.assert_allclose(found, moves - moves.mean(axis=0), atol=1e-9)


def test_facts_have_metres_where_pixels_have_a_size() -> None:
    shifts = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert shift_facts(None, 1e-8) == {}
    told = shift_facts(shifts, 1e-8)
    assert told["position_shift_largest_px"] == 5
    assert told["position_shift_rms_m"] == pytest.approx(1e-8 * np.sqrt(12.5))
    assert set(shift_facts(shifts, float("nan"))) == {"position_shift_rms_px", "position_shift_largest_px"}
