"""Metrics on cases with a known answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.frc import half_bit_threshold, ring_correlation
from ptycho_dist.evaluate.metrics import METRIC_NAMES, NO_BOX, Placed, compare_to_reference, largest_inner_box
from ptycho_dist.evaluate.metrics_file import NotMeasured
from ptycho_dist.evaluate.registration import find_ramp, fourier_shift, ramp, register
from ptycho_dist.types import Canvas


def _picture(shape: tuple[int, int], seed: int, blur: float = 2.0) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), blur, mode="wrap")
    return (noise - noise.min()) / np.ptp(noise)


def _object(shape: tuple[int, int] = (128, 112), seed: int = 0, blur: float = 2.0) -> NDArray[np.complex128]:
    amplitude = 0.6 + 0.4 * _picture(shape, seed, blur)
    return np.asarray(amplitude * np.exp(1.5j * _picture(shape, seed + 1, blur)))


def _whole(array: NDArray[Any]) -> NDArray[np.bool_]:
    return np.ones(array.shape, dtype=bool)


def _inner(array: NDArray[Any], margin: int = 20) -> NDArray[np.bool_]:
    area = np.zeros(array.shape, dtype=bool)
    area[margin:-margin, margin:-margin] = True
    return area


def test_comparison_is_perfect_for_the_same_object() -> None:
    truth = _object()
    metrics = compare_to_reference(Placed(truth), Placed(truth), _whole(truth))
    assert metrics.psnr_db > 120
    assert metrics.ssim_phase == pytest.approx(1, abs=1e-6)
    assert metrics.ssim_amplitude == pytest.approx(1, abs=1e-6)
    assert metrics.frc is not None
    assert metrics.frc.correlation.min() == pytest.approx(1, abs=1e-6)
    assert metrics.frc.resolution_half_bit_px == pytest.approx(2.0)


@pytest.mark.parametrize("slope", [(0.031, -0.017), (-0.2, 0.35)])
def test_comparison_removes_phase_ramp_and_scale(slope: tuple[float, float]) -> None:
    truth = _object()
    found = 3.7 * np.exp(2.1j) * truth * ramp(truth.shape, slope)
    metrics = compare_to_reference(Placed(found), Placed(truth), _whole(truth), find_shift=False)
    assert metrics.registered.ramp_rad_per_px == pytest.approx(slope, abs=1e-5)
    assert metrics.psnr_db > 80
    assert metrics.ssim_phase > 0.99999


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.37, -1.62), (0.5, 0.25)])
def test_comparison_removes_shift_ramp_and_phase_together(shift: tuple[float, float]) -> None:
    truth = _object()
    moved = fourier_shift(truth, shift)
    found = np.exp(-1j) * moved * ramp(truth.shape, (0.04, 0.02))
    metrics = compare_to_reference(Placed(found), Placed(truth), _inner(truth))
    assert metrics.registered.shift_px == pytest.approx((-shift[0], -shift[1]), abs=0.02)
    assert metrics.ssim_phase > 0.999
    assert metrics.psnr_db > 40


def test_comparison_uses_the_origins() -> None:
    truth = _object((160, 150))
    crop = truth[11:140, 7:149]
    metrics = compare_to_reference(Placed(crop, (11.0, 7.0)), Placed(truth), _inner(truth), find_shift=False)
    assert metrics.psnr_db > 120
    moved = fourier_shift(truth, (0.4, -0.3))
    placed = compare_to_reference(Placed(moved, (-0.4, 0.3)), Placed(truth), _inner(truth), find_shift=False)
    assert placed.psnr_db > 45


def test_phase_wraps_are_no_error() -> None:
    truth = 1.0 * np.exp(9j * _picture((128, 128), 3, 6.0))
    metrics = compare_to_reference(Placed(truth * np.exp(0.5j)), Placed(truth), _whole(truth))
    assert metrics.ssim_phase == pytest.approx(1, abs=1e-5)
    assert metrics.phase_rmse_rad < 1e-4


def test_psnr_is_that_of_known_noise() -> None:
    truth, sigma = _object(), 0.02
    rng = np.random.default_rng(5)
    noise = sigma / math.sqrt(2) * (rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape))
    metrics = compare_to_reference(Placed(truth + noise), Placed(truth), _whole(truth), find_shift=False)
    expected = 20 * math.log10(np.abs(truth).max() / sigma)
    assert metrics.psnr_db == pytest.approx(expected, abs=0.1)


def test_ssim_falls_with_blur_and_is_low_for_another_picture() -> None:
    truth = _object()
    blurred = ndimage.gaussian_filter(truth.real, 2) + 1j * ndimage.gaussian_filter(truth.imag, 2)
    of_blurred = compare_to_reference(Placed(blurred), Placed(truth), _whole(truth), find_shift=False)
    of_other = compare_to_reference(Placed(_object(seed=40)), Placed(truth), _whole(truth), find_shift=False)
    assert 0.5 < of_blurred.ssim_phase < 0.98
    assert of_other.ssim_phase < 0.4


@pytest.mark.parametrize("cutoff", [0.1, 0.25])
def test_frc_finds_a_known_cutoff(cutoff: float) -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((256, 256))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij"))
    low = np.fft.ifft2(np.fft.fft2(signal) * (radius < cutoff)).real
    a, b = (low + 0.1 * rng.standard_normal(low.shape) for _ in range(2))
    frc = ring_correlation(a, b)
    assert 1 / frc.resolution_half_bit_px == pytest.approx(cutoff, abs=0.015)
    assert 1 / frc.resolution_one_seventh_px == pytest.approx(cutoff, abs=0.015)


def test_frc_of_unrelated_noise_stays_below_the_threshold() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((200, 180)) for _ in range(2))
    frc = ring_correlation(a, b)
    assert np.abs(frc.correlation[10:]).mean() < 0.1
    assert (frc.correlation[5:] < frc.half_bit[5:]).mean() > 0.98
    assert not frc.resolution_half_bit_px < 20


def test_frc_ignores_a_common_offset_and_frame() -> None:
    rng = np.random.default_rng(2)
    a, b = (100 + rng.standard_normal((128, 128)) for _ in range(2))
    assert ring_correlation(a, b).correlation[4:].mean() < 0.1


def test_half_bit_threshold_has_its_known_limits() -> None:
    assert half_bit_threshold(np.array([10**12]))[0] == pytest.approx(0.2071 / 1.2071, abs=1e-4)
    assert half_bit_threshold(np.array([1]))[0] == pytest.approx(1.0)


def test_find_ramp_is_exact_when_weighted_unevenly() -> None:
    truth = _object()
    slope = (0.0123, -0.0456)
    weighted = truth * np.linspace(0.1, 1, truth.shape[1])
    assert find_ramp(weighted * ramp(truth.shape, slope), weighted) == pytest.approx(slope, abs=1e-6)


def test_window_and_inner_box_of_a_disc() -> None:
    y, x = np.mgrid[:100, :120]
    disc = np.hypot(y - 50, x - 60) < 30
    assert Canvas.bounding(disc) == Canvas((21.0, 31.0), (59, 59))
    box = largest_inner_box(disc)
    assert disc[box.slices].all()
    assert box.shape[0] * box.shape[1] > 0.85 * 2 * 30**2


def test_comparison_refuses_objects_without_common_area() -> None:
    truth = _object()
    with pytest.raises(ConfigError, match="expected at least 16 by 16"):
        compare_to_reference(Placed(truth, (500.0, 0.0)), Placed(truth), _whole(truth))
    with pytest.raises(ConfigError, match="area is empty"):
        compare_to_reference(Placed(truth), Placed(truth), np.zeros(truth.shape, dtype=bool))
    with pytest.raises(ConfigError, match="expected equal shapes"):
        register(truth, truth[1:], np.ones(truth.shape))


def test_mean_ring_correlation_leaves_out_the_mean_that_was_taken_off() -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((4, 64, 64))
    reference = 1 + 0.1 * (noise[0] + 1j * noise[1])
    metrics = compare_to_reference(
        Placed(reference + 0.1 * (noise[2] + 1j * noise[3])), Placed(reference), np.ones((64, 64), np.bool_)
    )
    assert metrics.frc is not None
    assert metrics.summary()["frc_mean"] == pytest.approx(float(metrics.frc.correlation[1:].mean()), abs=1e-12)


def test_area_with_holes_loses_the_ring_correlation_alone() -> None:
    truth = _object()
    area = _inner(truth)
    area[25:-20:12, 25:-20:12] = False
    metrics = compare_to_reference(Placed(truth * (1 + 0.05 * _picture(truth.shape, 9))), Placed(truth), area)
    assert metrics.frc is None
    reasons = {name for name, value in metrics.summary(1e-8).items() if isinstance(value, NotMeasured)}
    assert reasons == {name for name in METRIC_NAMES if name.startswith("frc")}
    assert metrics.summary()["frc_mean"] == NO_BOX
    assert metrics.ssim_phase > 0.5


def test_number_that_is_not_finite_has_a_reason_whatever_its_name() -> None:
    truth = _object()
    metrics = compare_to_reference(Placed(truth), Placed(truth), _whole(truth))
    summary = replace(metrics, phase_rmse_rad=math.nan).summary()
    assert summary["phase_rmse_rad"] == "the object or the reference holds values that are not finite"
    assert summary["frc_resolution_half_bit_m"] == "the size of a pixel is unknown"
