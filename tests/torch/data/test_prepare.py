"""Tests of the way from what a file says of a measurement to a scan."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.base import RawScan, Turn
from ptycho_dist.data.formats.hdf5_frames import AxisFrames, JoinedFrames, h5_frames
from ptycho_dist.data.formats.intensity import read_counts, sample_index
from ptycho_dist.data.formats.measurement import CENTRE, ELECTRON, PIXELS, Correction, Geometry, Measurement, Positions
from ptycho_dist.data.formats.object_pixel import wavelength_of
from ptycho_dist.data.formats.prepare import raw_scan_of
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.runs import simulate_tiny

GEOMETRY = Geometry(energy_eV=8000.0, detector_distance_m=2.0, detector_pixel_m=(75e-6, 75e-6))
LAMBDA_M = 1.23984198e-6 / 8000
RNG = np.random.default_rng(5)


def frames_file(folder: Path, values: np.ndarray, **kept: Any) -> Path:
    path = folder / "frames.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=values, **kept)
    return path


def blob(n: int, height: int, width: int, centre: tuple[int, int], dtype: Any = np.uint16) -> np.ndarray:
    """Poisson counts of a round spot around a pixel."""
    y, x = np.arange(height)[:, None] - centre[0], np.arange(width) - centre[1]
    return RNG.poisson(200 * np.exp(-(y**2 + x**2) / 18.0) + 0.5, (n, height, width)).astype(dtype)


def measured(path: Path, **kept: Any) -> Measurement:
    source, _ = h5_frames(path, "entry/data", kept.pop("axes", None))
    values = kept.pop("values_m", np.arange(2.0 * source.shape[0]).reshape(-1, 2) * 4e-8)
    settings = {"geometry": GEOMETRY, "positions": Positions(values=values)} | kept
    return Measurement(format_name="test", frames=source, **settings)


def counts_of(path: Path, raw: RawScan) -> np.ndarray:
    return read_counts(path, raw, np.arange(raw.patterns.shape[0]))


def test_metres_become_pixels_of_the_frames_that_are_used(tmp_path: Path) -> None:
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)))
    plain = raw_scan_of(path, measured(path), ScanOptions())
    dx = LAMBDA_M * 2.0 / (32 * 75e-6)
    assert plain.pixel_size_m == pytest.approx(dx)
    np.testing.assert_allclose(plain.positions_px, np.arange(18.0).reshape(-1, 2) * 4e-8 / dx)
    small = raw_scan_of(path, measured(path), ScanOptions(crop_px=16, beam_center_px=(16.0, 16.0)))
    assert small.pixel_size_m == pytest.approx(2 * dx)
    binned = raw_scan_of(path, measured(path), ScanOptions(binning=2))
    assert binned.pixel_size_m == pytest.approx(dx)
    assert (small.patterns.shape, binned.patterns.shape) == ((9, 16, 16), (9, 16, 16))


@pytest.mark.parametrize(("shape", "centre"), [((40, 48), (19, 27)), ((31, 37), (15, 20)), ((64, 64), (30, 35))])
def test_a_crop_has_the_beam_in_its_middle(tmp_path: Path, shape: tuple[int, int], centre: tuple[int, int]) -> None:
    values = blob(9, *shape, centre)
    path = frames_file(tmp_path, values)
    found = raw_scan_of(path, measured(path), ScanOptions(crop_px=24, beam_center_px=tuple(map(float, centre))))
    top, left = centre[0] - 12, centre[1] - 12
    expected = np.zeros((9, 24, 24), np.float32)
    inside = values[:, max(top, 0) : top + 24, max(left, 0) : left + 24]
    expected[:, max(-top, 0) : max(-top, 0) + inside.shape[1], max(-left, 0) : max(-left, 0) + inside.shape[2]] = inside
    np.testing.assert_array_equal(counts_of(path, found), expected)
    guessed = raw_scan_of(path, measured(path), ScanOptions(crop_px=24))
    assert any("centre of mass of the mean pattern" in one for one in guessed.conversions)


def test_a_frame_beyond_the_detector_is_padded_with_masked_pixels(tmp_path: Path) -> None:
    values = blob(4, 20, 24, (10, 12))
    path = frames_file(tmp_path, values)
    found = raw_scan_of(path, measured(path), ScanOptions(crop_px=32, beam_center_px=(10.0, 12.0)))
    assert found.mask is not None
    assert int(found.mask.sum()) == 20 * 24
    assert counts_of(path, found).sum() == values.sum()


def test_a_mask_file_has_the_shape_of_the_detector(tmp_path: Path) -> None:
    values = blob(6, 32, 40, (16, 22))
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["d"], file["y"], file["x"] = values, np.arange(6.0) * 1e-7, np.arange(6.0) * 1e-7
    (tmp_path / "m.yaml").write_text(
        "patterns: {path: d}\npositions: {y: {path: y}, x: {path: x}}\npixel_size: 5.0e-8\n"
        "transform: {flip_rows: true}\n"
    )
    bad = np.zeros((32, 40), bool)
    bad[3, 20] = True
    np.save(tmp_path / "mask.npy", bad)
    said = {"map": str(tmp_path / "m.yaml"), "beam_center_px": (16.0, 22.0), "crop_px": 32}
    with open_scan(path, ScanOptions(mask=str(tmp_path / "mask.npy"), mask_polarity="invalid", **said)) as scan:
        assert scan.mask is not None
        np.testing.assert_array_equal(np.argwhere(~scan.mask), [(29, 14)])
    np.save(tmp_path / "mask.npy", bad[:30])
    with pytest.raises(DataFormatError, match=r"expected numbers \(32, 32\) or \(32, 40\)"):
        open_scan(path, ScanOptions(mask=str(tmp_path / "mask.npy"), **said))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.uint16, 65535),
        (np.uint32, 2**32 - 1),
        (np.uint32, 2**32 - 2),
        (np.uint32, 2**32 - 3),
        (np.int32, -1),
        (np.int16, -2),
        (np.float32, np.nan),
        (np.float64, -1.0),
        (np.float32, 2.0**32 - 1),
        (np.int64, 65535),
        (">u2", 65535),
    ],
)
def test_dead_pixels_are_found_by_their_values(tmp_path: Path, dtype: Any, value: float) -> None:
    values = blob(12, 32, 32, (16, 16), dtype)
    values[:, 3, 5] = values[:, 20:22, 9] = value
    path = frames_file(tmp_path, values)
    found = raw_scan_of(path, measured(path), ScanOptions())
    assert found.mask is not None
    assert sorted(map(tuple, np.argwhere(~found.mask))) == [(3, 5), (20, 9), (21, 9)]
    assert any("masked 3 dead pixels in every frame" in one for one in found.conversions)
    kept = np.where(found.mask, values, 0).astype(np.float32)
    np.testing.assert_array_equal(counts_of(path, found), kept)


def test_a_bin_with_a_dead_part_is_left_out(tmp_path: Path) -> None:
    values = blob(6, 32, 32, (16, 16), np.uint32)
    values[:, 3, 5] = 2**32 - 1
    path = frames_file(tmp_path, values)
    found = raw_scan_of(path, measured(path), ScanOptions(binning=2))
    assert found.mask is not None
    np.testing.assert_array_equal(np.argwhere(~found.mask), [(1, 2)])
    summed = np.where(values == 2**32 - 1, 0, values).reshape(6, 16, 2, 16, 2).sum(axis=(2, 4))
    np.testing.assert_array_equal(counts_of(path, found), np.where(found.mask, summed, 0))


def test_amplitudes_are_squared_before_they_are_added(tmp_path: Path) -> None:
    values = blob(6, 32, 32, (16, 16)).astype(np.float64)
    path = frames_file(tmp_path, np.sqrt(values))
    found = raw_scan_of(path, measured(path, kind="amplitude"), ScanOptions(binning=4))
    np.testing.assert_allclose(counts_of(path, found), values.reshape(6, 8, 4, 8, 4).sum(axis=(2, 4)), rtol=1e-5)


def test_corners_become_the_middle_and_turns_keep_it(tmp_path: Path) -> None:
    values = blob(5, 32, 32, (16, 16))
    values[:, 16, 20] += 500
    path = frames_file(tmp_path, np.fft.ifftshift(values, axes=(-2, -1)))
    found = raw_scan_of(path, measured(path, is_corner=True, turn=Turn(transpose=True)), ScanOptions())
    np.testing.assert_array_equal(counts_of(path, found), np.swapaxes(values, 1, 2))
    flipped = raw_scan_of(path, measured(path, is_corner=True, turn=Turn(flip_columns=True)), ScanOptions())
    assert (counts_of(path, flipped)[:, 16, 12] > 500).all()


def test_dark_and_flat_and_scale(tmp_path: Path) -> None:
    values = blob(5, 32, 32, (16, 16)).astype(np.float64)
    flat = np.full((32, 32), 0.5)
    flat[4, 4] = 0.0
    scale = np.linspace(0.5, 1.5, 5)
    path = frames_file(tmp_path, values * 0.5 + 7)
    correction = Correction(dark=np.full((32, 32), 7.0), flat=flat, scale=scale)
    found = raw_scan_of(path, measured(path, correction=correction), ScanOptions())
    expected = values * scale[:, None, None]
    expected[:, 4, 4] = 0
    np.testing.assert_allclose(counts_of(path, found), expected, rtol=1e-6)


def test_hot_pixels_are_left_out_on_request(tmp_path: Path) -> None:
    values = blob(30, 32, 32, (16, 16))
    values[:, 2, 28] = 400
    path = frames_file(tmp_path, values)
    assert raw_scan_of(path, measured(path), ScanOptions()).mask is None
    found = raw_scan_of(path, measured(path), ScanOptions(hot_pixel_ratio=10.0))
    assert found.mask is not None
    np.testing.assert_array_equal(np.argwhere(~found.mask), [(2, 28)])


def test_electrons_have_the_relativistic_wavelength(tmp_path: Path) -> None:
    assert wavelength_of(200e3, ELECTRON) == pytest.approx(2.5079e-12, rel=1e-4)
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)))
    geometry = Geometry(radiation=ELECTRON, energy_eV=200e3, angle_per_pixel_rad=1e-3)
    found = raw_scan_of(
        path, measured(path, geometry=geometry, values_m=np.arange(18.0).reshape(9, 2) * 1e-10), ScanOptions()
    )
    assert found.pixel_size_m == pytest.approx(2.5079e-12 / (32 * 1e-3), rel=1e-4)


def test_positions_in_pixels_keep_their_patches(tmp_path: Path) -> None:
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)))
    centres = RNG.uniform(20, 40, (9, 2))
    found = raw_scan_of(
        path, measured(path, positions=Positions(values=centres, unit=PIXELS, refer_to=CENTRE)), ScanOptions()
    )
    np.testing.assert_allclose(found.positions_px, centres - 16)
    binned = raw_scan_of(
        path, measured(path, positions=Positions(values=centres, unit=PIXELS, refer_to=CENTRE)), ScanOptions(binning=2)
    )
    np.testing.assert_allclose(binned.positions_px, centres - 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"geometry": replace(GEOMETRY, energy_eV=3e11)}, r"energy .* is 3e\+11 eV; expected 10 to 300000 eV"),
        ({"geometry": replace(GEOMETRY, energy_eV=8.0)}, r"is 8 eV; expected 10 to 300000"),
        (
            {"geometry": replace(GEOMETRY, detector_distance_m=0.0)},
            r"detector_distance_m .* is 0.*--detector_distance_m",
        ),
        ({"geometry": replace(GEOMETRY, detector_pixel_m=(75e-6, 55e-6))}, "expected square ones"),
        ({"geometry": Geometry(energy_eV=8e3)}, r"lacks detector_distance_m, detector_pixel_m"),
        ({"geometry": replace(GEOMETRY, pixel_size_m=1e-7)}, "states an object pixel of 1e-07 m"),
        ({"values_m": np.arange(18.0).reshape(9, 2) * 1e-14}, r"positions .* span 1.6e-13 m.*expected steps"),
        ({"values_m": np.arange(18.0).reshape(9, 2)}, r"positions .* span 16 m"),
        ({"values_m": np.zeros((7, 2))}, "9 frames and 7 positions"),
        ({"values_m": np.full((9, 2), np.nan)}, "expected finite numbers"),
        ({"mask": np.zeros((32, 32), bool)}, "no detector pixel"),
        ({"mask": np.ones((31, 32), bool)}, r"mask .* shape \(31, 32\)"),
    ],
)
def test_what_cannot_be_is_refused_with_numbers(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)))
    with pytest.raises(DataFormatError, match=message):
        raw_scan_of(path, measured(path, **change), ScanOptions())


def test_what_the_user_says_takes_the_place_of_what_cannot_be(tmp_path: Path) -> None:
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)))
    wrong = replace(GEOMETRY, energy_eV=3e11, detector_distance_m=0.0)
    found = raw_scan_of(path, measured(path, geometry=wrong), ScanOptions(energy_eV=8000.0, detector_distance_m=2.0))
    assert (found.energy_eV, found.detector_distance_m) == (8000.0, 2.0)
    assert "energy_eV: 8000 as given, for the file says 3e+11" in found.conversions


def test_negative_counts_are_refused_unless_they_are_said_to_be_counts(tmp_path: Path) -> None:
    path = frames_file(tmp_path, blob(9, 32, 32, (16, 16)).astype(np.float32) - 3.5)
    with pytest.raises(DataFormatError, match=r"counts down to -3.5; expected counts >= 0"):
        raw_scan_of(path, measured(path), ScanOptions())
    raw_scan_of(path, measured(path), ScanOptions(intensity_kind="counts"))


@pytest.mark.parametrize(
    "axes", [("y", "x", "frame"), ("frame", "x", "y"), ("frame", "frame", "y", "x"), (1, "frame", "y", "x")]
)
def test_axes_in_any_order(tmp_path: Path, axes: tuple[Any, ...]) -> None:
    values = blob(6, 10, 12, (5, 6))
    stored = {
        ("y", "x", "frame"): values.transpose(1, 2, 0),
        ("frame", "x", "y"): values.transpose(0, 2, 1),
        ("frame", "frame", "y", "x"): values.reshape(2, 3, 10, 12),
        (1, "frame", "y", "x"): np.stack([values + 1, values]),
    }[axes]
    path = frames_file(tmp_path, stored)
    source, _ = h5_frames(path, "entry/data", axes)
    assert isinstance(source, AxisFrames)
    again = pickle.loads(pickle.dumps(source))
    rows = np.array([4, 0, 4, 5])
    assert again.shape == (6, 10, 12)
    np.testing.assert_array_equal(again.read(rows), values[rows])
    joined = JoinedFrames([source, source])
    np.testing.assert_array_equal(joined.read(np.array([11, 0, 6])), values[[5, 0, 0]])


def test_a_scan_of_any_format_can_be_cropped_and_binned(tmp_path: Path) -> None:
    path = simulate_tiny(tmp_path / "scan.h5")
    with open_scan(path) as plain, open_scan(path, ScanOptions(binning=2, crop_px=24)) as small:
        assert small.header.N == 12
        assert small.probe is not None
        assert small.probe.shape[-1] == 12
        ratio = 24 / 32
        middle, other = plain.positions_px + 16, small.positions_px + 6
        np.testing.assert_allclose(other, middle * ratio)
        assert small.header.pixel_size_m == pytest.approx(plain.header.pixel_size_m / ratio)


def test_real_positions_and_frame_sums(data_dir: Path) -> None:
    folder = data_dir / "formats" / "written"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    path = folder / "ptychodus_training.h5"
    with np.load(folder / "truth.npz") as held:
        truth = dict(held)
    with h5py.File(path) as file:
        centres = np.stack([file["probe_position_y_px"][()], file["probe_position_x_px"][()]], axis=1)
        valid = ~file["bad_pixels"][()]
        pixel = float(file["object_pixel_width_m"][()])
    source, _ = h5_frames(path, "patterns")
    found = raw_scan_of(
        path,
        Measurement(
            format_name="training",
            frames=source,
            positions=Positions(values=centres, unit=PIXELS, refer_to=CENTRE),
            geometry=Geometry(energy_eV=8800.0, detector_distance_m=1.92, pixel_size_m=pixel),
            mask=valid,
        ),
        ScanOptions(),
    )
    moved = found.positions_px - found.positions_px.mean(axis=0)
    assert np.abs(moved - (truth["scan_px"] - truth["scan_px"].mean(axis=0))).max() < 0.01
    np.testing.assert_allclose(counts_of(path, found).sum(axis=(1, 2)), truth["frame_sums"], rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "value", "said", "dead_values"),
    [
        (np.uint16, 65535, {"binning": 2}, ()),
        (np.int32, -1, {"binning": 2}, ()),
        (np.uint32, 2**32 - 2, {"crop_px": 64, "binning": 2}, ()),
        (np.uint16, 4095, {}, (4095.0,)),
        (np.uint16, 4095, {"crop_px": 64}, (4095.0,)),
    ],
)
def test_a_pixel_that_is_dead_in_a_frame_that_was_not_sampled_is_no_count(
    tmp_path: Path, dtype: Any, value: int, said: dict[str, Any], dead_values: tuple[float, ...]
) -> None:
    values = blob(200, 80, 80, (40, 40), np.uint16).astype(dtype)
    row = int(np.setdiff1d(np.arange(200), sample_index(200))[3])
    path = frames_file(tmp_path, values)
    with h5py.File(path, "a") as file:
        file["entry/data"][row, 41, 42] = value
    raw = raw_scan_of(path, measured(path, dead_values=dead_values), ScanOptions(**said))
    with pytest.raises(DataFormatError, match=rf"pattern {row} .* holds nan at pixel .*--mask_saturated"):
        read_counts(path, raw, np.array([row]))
    assert read_counts(path, raw, np.array([row - 1])).sum() > 0


def test_a_pixel_that_is_dead_in_a_later_frame_is_left_out_on_request(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    values = blob(200, 32, 32, (16, 16))
    row = int(np.setdiff1d(np.arange(200), sample_index(200))[3])
    values[row, 14, 13] = 65535
    with h5py.File(path, "w") as file:
        file["d"], file["y"], file["x"] = values, np.arange(200.0) * 1e-7, np.arange(200.0) * 1e-7
    (tmp_path / "m.yaml").write_text(
        "patterns: {path: d}\npositions: {y: {path: y}, x: {path: x}}\npixel_size: 5.0e-8\n"
    )
    options = ScanOptions(map=str(tmp_path / "m.yaml"), binning=2, mask_saturated=True)
    with open_scan(path, options) as scan:
        assert scan.mask is not None
        np.testing.assert_array_equal(np.argwhere(~scan.mask), [(7, 6)])
        assert np.isfinite(scan.counts()).all()
