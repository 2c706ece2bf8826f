"""The mask of the probe: all formats hold it, wrong ones are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.convert.run import convert
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike

INSIDE = np.hypot(*np.mgrid[-8:8, -8:8]) < 5


def write_own_with(path: Path, made: Any, probe_mask: Any) -> Path:
    """Write the project's HDF5 layout, the mask as it is."""
    with h5py.File(write_own(path, made), "r+") as file:
        file["probe_mask"] = probe_mask
    return path


WRITERS: dict[str, Callable[..., Path]] = {
    "tike.npz": write_tike,
    "ptychopinn.npz": write_ptychopinn,
    "own.h5": write_own_with,
}


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4"])
@pytest.mark.parametrize("name", WRITERS)
def test_readers_deliver_the_probe_mask(tmp_path: Path, name: str, dtype: str) -> None:
    with open_scan(WRITERS[name](tmp_path / name, make_scan(), probe_mask=INSIDE.astype(dtype))) as scan:
        assert scan.probe_mask is not None
        assert scan.probe_mask.dtype == np.bool_
        np.testing.assert_array_equal(scan.probe_mask, INSIDE)
        assert scan.header.probe_mask_px == INSIDE.sum()


@pytest.mark.parametrize("write", [write_tike, write_ptychopinn, write_own])
def test_probe_mask_is_none_when_the_file_has_none(tmp_path: Path, write: Callable[..., Path]) -> None:
    with open_scan(write(tmp_path / f"s.{'h5' if write is write_own else 'npz'}", make_scan())) as scan:
        assert (scan.probe_mask, scan.header.probe_mask_px) == (None, None)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (
            np.ones((1, 16, 16)),
            r"shape \(1, 16, 16\) and dtype float64; expected bool, or 0 and 1, of shape \(16, 16\)",
        ),
        (np.ones((8, 8), bool), r"shape \(8, 8\) and dtype bool"),
        (np.full((16, 16), "x", dtype="S1"), r"dtype \|S1"),
        (np.full((16, 16), 0.5), r"holds 0\.5; expected 0 and 1 only"),
        (np.full((16, 16), math.nan), "holds nan; expected 0 and 1 only"),
        (np.full((16, 16), -1), "holds -1; expected 0 and 1 only"),
        (np.zeros((16, 16), bool), "is 0 everywhere; expected 1 where the probe is"),
    ],
)
@pytest.mark.parametrize("name", WRITERS)
def test_probe_mask_is_refused_when_it_is_no_mask(tmp_path: Path, name: str, mask: Any, words: str) -> None:
    path = WRITERS[name](tmp_path / name, make_scan(), probe_mask=mask)
    with pytest.raises(DataFormatError, match=rf"'probe_mask' in .*{name} .*{words}"):
        open_scan(path)


@pytest.mark.parametrize("name", WRITERS)
def test_convert_keeps_the_probe_mask(tmp_path: Path, name: str) -> None:
    with open_scan(WRITERS[name](tmp_path / name, make_scan(), probe_mask=INSIDE.astype(int))) as scan:
        convert(scan, tmp_path / "c.h5")
        with open_scan(tmp_path / "c.h5") as found:
            np.testing.assert_array_equal(found.probe_mask, INSIDE)
            np.testing.assert_array_equal(found.probe, scan.probe)


def test_inspect_names_the_probe_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(write_own(tmp_path / "bare.h5", make_scan()))]) == 0
    assert "probe_mask" not in capsys.readouterr().out
    assert main(["inspect", str(write_own(tmp_path / "masked.h5", make_scan(), probe_mask=INSIDE))]) == 0
    assert f"1 mode(s), zero outside the {INSIDE.sum()} pixels of probe_mask" in capsys.readouterr().out
