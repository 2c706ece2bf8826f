"""What a user says of a scan is done: turns, masks, dropped patterns, positions, kinds of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from skimage.io import imsave

import ptycho_dist as ptd
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.base import Turn
from ptycho_dist.data.formats.intensity import common_step
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.results import run_evaluate
from tests.support.scans import make_scan, write_own, write_ptychopinn, write_tike

MADE = make_scan(20, 16)
WRITERS = {"own": (write_own, "s.h5"), "tike": (write_tike, "s.npz"), "ptychopinn": (write_ptychopinn, "p.npz")}
TURNS = [(False, True, False), (False, False, True), (True, False, False), (True, True, False), (True, True, True)]


def write(folder: Path, name: str, **changes: Any) -> Path:
    writer, file = WRITERS[name]
    return writer(folder / file, MADE, **changes)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("N", [16, 17])
def test_turning_keeps_the_zero_frequency_and_is_undone_by_its_inverse(turn: tuple[bool, ...], N: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, N, N))
    turned = Turn(*turn)(values)
    assert np.array_equal(turned[:, N // 2, N // 2], values[:, N // 2, N // 2])
    transposes, rows, columns = turn
    inverse = Turn(transposes, columns, rows) if transposes else Turn(transposes, rows, columns)
    assert np.array_equal(inverse(turned), values)


def test_a_turned_wave_makes_a_turned_pattern() -> None:
    wave = np.random.default_rng(0).normal(size=(16, 16, 2)) @ [1, 1j]

    def pattern(of: Any) -> Any:
        return np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(of)))) ** 2

    for turn in TURNS:
        np.testing.assert_allclose(pattern(Turn(*turn)(wave)), Turn(*turn)(pattern(wave)), atol=1e-9)


@pytest.mark.parametrize("name", list(WRITERS))
@pytest.mark.parametrize("turn", TURNS)
def test_every_format_is_turned(tmp_path: Path, name: str, turn: tuple[bool, ...]) -> None:
    options = ScanOptions(**dict(zip(("transpose", "flip_rows", "flip_columns"), turn, strict=True)))
    scan = open_scan(write(tmp_path, name), options)
    np.testing.assert_allclose(scan.counts(), Turn(*turn)(MADE.counts), rtol=1e-5)
    assert any("turned" in sentence for sentence in scan.header.conversions)


def mask_files(folder: Path, valid: np.ndarray) -> dict[str, str]:
    np.save(folder / "m.npy", valid)
    np.savez(folder / "m.npz", other=np.zeros(3), mask=valid.astype("u1"))
    imsave(folder / "m.png", (255 * valid).astype("u1"), check_contrast=False)
    imsave(folder / "m.tif", valid.astype("f4"), check_contrast=False)
    with h5py.File(folder / "m.h5", "w") as file:
        file["entry/mask"] = valid.astype("i4")
        file["other"] = np.zeros(3)
    return {suffix: str(folder / f"m.{suffix}") for suffix in ("npy", "npz", "png", "tif")} | {
        "h5": f"{folder / 'm.h5'}:entry/mask"
    }


@pytest.mark.parametrize("suffix", ["npy", "npz", "png", "tif", "h5"])
@pytest.mark.parametrize("name", list(WRITERS))
def test_masks_of_every_kind_of_file_apply_to_every_format(tmp_path: Path, suffix: str, name: str) -> None:
    valid = np.ones((16, 16), bool)
    valid[2:5, 7] = False
    path = write(tmp_path, name)
    mask = mask_files(tmp_path, valid)[suffix]
    for polarity in ("auto", "valid"):
        scan = open_scan(path, ScanOptions(mask=mask, mask_polarity=polarity))
        assert np.array_equal(scan.mask, valid)
        assert scan.counts()[:, ~valid].max() == 0
    inverse = mask_files(tmp_path, ~valid)[suffix]
    for polarity in ("auto", "invalid"):
        assert np.array_equal(open_scan(path, ScanOptions(mask=inverse, mask_polarity=polarity)).mask, valid)
    turned = open_scan(path, ScanOptions(mask=inverse, flip_rows=True))
    assert np.array_equal(turned.mask, Turn(flip_rows=True)(valid))


def test_the_content_of_a_mask_is_part_of_the_checksum(tmp_path: Path) -> None:
    path, valid = write(tmp_path, "own"), np.ones((16, 16), bool)
    valid[0, 0] = False
    options = ScanOptions(mask=mask_files(tmp_path, valid)["npy"])
    first = open_scan(path, options).header.checksum
    assert first != open_scan(path).header.checksum
    valid[0, 1] = False
    mask_files(tmp_path, valid)
    assert open_scan(path, options).header.checksum != first


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.ones((8, 8)), r"shape \(8, 8\)"),
        (np.zeros((16, 16)), "leaves no pixel valid"),
        (np.eye(16)[::-1].cumsum(axis=0) > 0.5, "not zero; expected a clear majority"),
        (np.full((16, 16), np.nan), "256 values that are no numbers"),
        (None, "missing"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused(tmp_path: Path, mask: Any, expected: str) -> None:
    if mask is not None:
        np.save(tmp_path / "m.npy", mask)
    polarity = "valid" if "leaves" in expected else "auto"
    with pytest.raises(DataFormatError, match=expected):
        open_scan(write(tmp_path, "own"), ScanOptions(mask=str(tmp_path / "m.npy"), mask_polarity=polarity))


def test_an_array_that_a_mask_file_lacks_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.ones((16, 16)), b=np.ones((16, 16)))
    with pytest.raises(DataFormatError, match="holds a, b; expected an array 'c'"):
        open_scan(write(tmp_path, "own"), ScanOptions(mask=f"{tmp_path}/two.npz:c"))


@pytest.mark.parametrize("given", ["7-5", "", "[]"])
def test_patterns_that_name_none_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, none, or pattern numbers"):
        ScanOptions(drop_frames=given)


@pytest.mark.parametrize("given", ["3,5-7", "[3, 5, 6, 7]", (3, 5, 6, 7)])
def test_named_patterns_are_dropped(tmp_path: Path, given: Any) -> None:
    scan = open_scan(write(tmp_path, "tike"), ScanOptions(drop_frames=given))
    kept = np.setdiff1d(np.arange(20), [3, 5, 6, 7])
    np.testing.assert_array_equal(scan.counts(), MADE.counts[kept])
    np.testing.assert_allclose(scan.positions_px, MADE.positions_px[kept])
    assert (len(scan), scan.header.n_patterns) == (16, 16)


def test_patterns_beyond_the_last_and_all_of_them_are_not_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, "own")
    with pytest.raises(DataFormatError, match="names pattern 20, but"):
        open_scan(path, ScanOptions(drop_frames="20"))
    with pytest.raises(DataFormatError, match="leaves none of the 20"):
        open_scan(path, ScanOptions(drop_frames="0-19"))
    with pytest.raises(ConfigError, match="such as 3,11"):
        ScanOptions(drop_frames="first")


@pytest.mark.parametrize("name", list(WRITERS))
def test_positions_are_swapped_then_signed(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, name)
    plain = open_scan(path).positions_px
    np.testing.assert_allclose(open_scan(path, ScanOptions(swap_positions=True)).positions_px, plain[:, ::-1])
    both = open_scan(path, ScanOptions(swap_positions=True, negate_x=True)).positions_px
    np.testing.assert_allclose(both, plain[:, ::-1] * [1, -1])


@pytest.mark.parametrize(("unit", "metres"), [("m", 1.0), ("um", 1e-6), ("nm", 1e-9)])
def test_positions_are_read_in_the_unit_that_is_said(tmp_path: Path, unit: str, metres: float) -> None:
    path = write(tmp_path, "own", positions_px=MADE.positions_px * 2e-8 / metres)
    scan = open_scan(path, ScanOptions(position_unit=unit, pixel_size_m=2e-8))
    np.testing.assert_allclose(scan.positions_px, MADE.positions_px, atol=1e-6)
    with pytest.raises(DataFormatError, match="Give --pixel_size_m"):
        open_scan(path, ScanOptions(position_unit=unit))


def test_counts_per_photon_divide_the_patterns(tmp_path: Path) -> None:
    scan = open_scan(write(tmp_path, "own"), ScanOptions(counts_per_photon=4.0))
    np.testing.assert_allclose(scan.counts(), MADE.counts / 4, rtol=1e-6)
    assert scan.header.mean_counts == pytest.approx(float(MADE.counts.sum(axis=(1, 2)).mean()) / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "square", "words"),
    [
        (np.sqrt(MADE.counts), True, "squares are multiples of 1"),
        (np.sqrt(MADE.counts * 0.37), True, "squares are multiples of 0.37"),
        (MADE.counts * np.float32(0.37), False, "multiples of 0.37, taken as normalised counts"),
        (np.clip(MADE.counts - 0.37, 0, None), False, "whole numbers less 0.37"),
        (MADE.counts, False, "whole numbers"),
        (MADE.counts + np.random.default_rng(0).normal(5, 0.3, MADE.counts.shape), True, "this is a guess"),
    ],
    ids=["amplitudes", "scaled amplitudes", "normalised", "dark-subtracted", "counts", "neither"],
)
def test_the_kind_of_values_is_found_from_many_patterns(tmp_path: Path, values: Any, square: bool, words: str) -> None:
    path = write(tmp_path, "ptychopinn", diffraction=values.astype("f4"))
    scan = open_scan(path)
    assert scan.raw.square == square
    assert any(words in sentence for sentence in scan.header.conversions), scan.header.conversions


def test_one_fractional_pixel_does_not_turn_a_scan(tmp_path: Path) -> None:
    counts = MADE.counts.copy()
    counts[0, 3, 3] = 2.5
    scan = open_scan(write(tmp_path, "ptychopinn", diffraction=counts))
    np.testing.assert_array_equal(scan.counts(), counts)


def test_negative_counts_of_a_subtracted_dark_become_zero_where_counts_are_said(tmp_path: Path) -> None:
    values = MADE.counts - np.float32(0.4)
    path = write(tmp_path, "ptychopinn", diffraction=values)
    with pytest.raises(DataFormatError, match="--intensity_kind counts"):
        open_scan(path).counts()
    np.testing.assert_allclose(open_scan(path, ScanOptions(intensity_kind="counts")).counts(), values.clip(0))


def test_steps_are_found_only_where_there_are_some() -> None:
    rng = np.random.default_rng(0)
    assert common_step(rng.poisson(3.0, 5000)[:, None] * 0.123 + 0.123) == pytest.approx(0.123)
    assert common_step(rng.uniform(1, 9, 5000)) is None
    assert common_step(np.empty(0)) is None


def test_what_was_said_of_a_scan_is_in_its_product_and_needed_no_more(tmp_path: Path) -> None:
    path = ptd.simulate_scan(tmp_path / "s.h5", n_patterns=25, N=32, photons=1e5, devices=1)
    settings = {"drop_frames": "3,4", "negate_y": True, "flip_rows": True}
    made = ptd.refine_object(path, output_dir=tmp_path / "o", iterations=2, accelerator="cpu", **settings)
    assert made.metrics["n_patterns"] == 23
    again = run_evaluate(RunRequest(scan=path.header.path, product=made.path, output_dir=tmp_path / "e", overrides={}))
    assert again["fourier_error"] == pytest.approx(made.metrics["fourier_error"], rel=1e-6)
