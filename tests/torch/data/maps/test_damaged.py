"""Damaged files of beamlines are refused in words: no other error, whatever byte is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.commands.inspect import describe
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import PtychoDistError
from tests.torch.data.maps.test_shipped_maps import (
    Layout,
    aps_velociprobe,
    fold_slice,
    made,
    nanomax,
    nsls2_hxn,
    nxcxi_list,
    ptylab,
)

MAKERS: tuple[Callable[[], Layout], ...] = (aps_velociprobe, fold_slice, nanomax, nsls2_hxn, nxcxi_list, ptylab)
EACH = 25


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file short, or change some of its bytes, mostly where its structure is."""
    if rng.random() < 0.15:
        return whole[: rng.integers(len(whole))]
    data = np.frombuffer(whole, np.uint8).copy()
    end = int(rng.choice([2000, 10_000, len(data)]))
    places = rng.integers(0, min(end, len(data)), rng.choice([1, 4, 32]))
    data[places] = rng.integers(0, 256, len(places))
    return data.tobytes()


def read(path: Path, options: ScanOptions) -> None:
    with open_scan(path, options) as scan:
        scan.counts(slice(0, 4))


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 20))])
def test_a_damaged_file_is_read_or_refused(make: Callable[[], Layout], seed: int, tmp_path: Path) -> None:
    layout, rng = make(), np.random.default_rng(seed)
    path = made(layout, tmp_path)
    whole = path.read_bytes()
    for number in range(EACH):
        path.write_bytes(damaged(whole, rng))
        with contextlib.suppress(PtychoDistError, OSError):
            if number % 3 == 0:
                describe(path, ScanOptions(**layout.options))
            else:
                read(path, ScanOptions(**layout.options))
