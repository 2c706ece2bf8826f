"""The picture of a scan: made of the one look at all patterns, and telling why pixels are left out."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from skimage.io import imread

from ptycho_dist.cli import main
from ptycho_dist.commands.inspect_unopened import _picture
from ptycho_dist.data.formats.hdf5_patterns import H5Patterns
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.data.scan import ScanOptions, open_looked_at
from ptycho_dist.evaluate.scan_figure import reasons
from tests.support.runs import simulate_tiny

N_PATTERNS = 25


def spoiled(folder: Path) -> Path:
    """Write a scan with a mask, a dead pixel, and a hot one."""
    path = simulate_tiny(folder / "scan.h5", n_patterns=N_PATTERNS)
    with h5py.File(path, "a") as file:
        patterns = file["patterns"][:].astype(np.uint16)
        patterns[:, 5, 7], patterns[:, 20, 3] = 65535, 30_000
        del file["patterns"]
        file["patterns"] = patterns
        mask = np.ones((32, 32), bool)
        mask[30:] = False
        file["mask"] = mask
    return path


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTYCHO_DIST_CACHE", "")


@pytest.mark.usefixtures("no_cache")
def test_patterns_are_read_once_for_the_words_and_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, times = simulate_tiny(tmp_path / "scan.h5", n_patterns=N_PATTERNS), np.zeros(N_PATTERNS, int)
    read = H5Patterns.read

    def counted(self: H5Patterns, index: np.ndarray) -> np.ndarray:
        np.add.at(times, index, 1)
        return read(self, index)

    monkeypatch.setattr(H5Patterns, "read", counted)
    assert main(["inspect", str(path)]) == 0
    words = times.copy()
    times[:] = 0
    assert main(["inspect", str(path), "--figure", str(tmp_path / "scan.png")]) == 0
    np.testing.assert_array_equal(times, words)
    assert imread(tmp_path / "scan.png").shape[0] > 500
    assert len(sample_index(N_PATTERNS)) == N_PATTERNS  # so that samples are counted alike


def test_the_picture_is_of_the_counts_that_are_used(tmp_path: Path) -> None:
    for options in (ScanOptions(), ScanOptions(counts_per_photon=2.0), ScanOptions(intensity_kind="amplitude")):
        with open_looked_at(simulate_tiny(tmp_path / "scan.h5"), options) as scan:
            picture = _picture(scan)
            counts = scan.counts().astype(np.float64)
            np.testing.assert_allclose(picture.mean, counts.mean(axis=0), rtol=1e-5)
            np.testing.assert_allclose(picture.sums, counts.sum(axis=(1, 2)), rtol=1e-5)


def test_each_pixel_says_why_it_is_left_out(tmp_path: Path) -> None:
    given = np.ones((32, 32), bool)
    given[:, 0] = False
    np.save(tmp_path / "given.npy", given)
    options = ScanOptions(hot_pixel_ratio=5.0, crop_px=40, mask=str(tmp_path / "given.npy"), flip_rows=True)
    with open_looked_at(spoiled(tmp_path), options) as scan:
        picture = _picture(scan)
    why = reasons(picture)
    names = ["valid", "mask of the file", *(name for name, _ in picture.left_out)]
    told = {name: set(map(tuple, np.argwhere(why == number).tolist())) for number, name in enumerate(names)}
    assert told["dead pixels found"] == {(40 - (5 + 4), 7 + 4)}
    assert told["hot pixels found"] == {(40 - (20 + 4), 3 + 4)}
    assert len(told["mask of the file"]) == 2 * 32
    assert len(told["beyond the detector"]) == 40 * 40 - 32 * 32
    assert len(told["mask given by --mask"]) == 30
    np.testing.assert_array_equal(why == 0, picture.mask)
