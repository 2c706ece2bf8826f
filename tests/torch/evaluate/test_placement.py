"""References of another extent are found by what they show, or refused with the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ptycho_dist.cli import main
from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter
from ptycho_dist.evaluate.placement import place_in
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.types import ProductMetadata

SIDE, N = 610, 64
CORNER = (190, 150)
"""Where the product's pixel (0, 0) lies in the large object."""


def picture(shape: tuple[int, int], seed: int) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.0)
    return np.asarray((noise - noise.min()) / np.ptp(noise))


def sample(shape: tuple[int, int], seed: int = 0) -> NDArray[np.complex128]:
    return np.asarray((0.6 + 0.4 * picture(shape, seed)) * np.exp(1.5j * picture(shape, seed + 1)))


def probe() -> NDArray[np.complex64]:
    y, x = np.mgrid[:N, :N] - N / 2
    return np.exp(-(y**2 + x**2) / 200).astype(np.complex64)[None]


def positions() -> NDArray[np.float64]:
    steps = np.arange(0, 172, 8, dtype=np.float64)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)


def write_product(
    path: Path, object_: NDArray[np.complexfloating], origin_px: tuple[float, float], pixel_size_m: float = 1e-8
) -> Path:
    geometry = ProductGeometry(N=N, pixel_size_m=pixel_size_m, object_origin_px=origin_px)
    with ProductWriter(path, ProductMetadata(name="p"), object_.shape, geometry) as writer:  # type: ignore[arg-type]
        writer.write_object_tile((0, 0), object_.astype(np.complex64))
        writer.write_probe(probe())
        writer.write_positions(positions())
    return path


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Write a noisy product, with a phase ramp, of a part of the sample."""
    y, x = np.mgrid[:236, :236]
    part = sample((SIDE, SIDE))[CORNER[0] : CORNER[0] + 236, CORNER[1] : CORNER[1] + 236]
    noise = np.random.default_rng(9).standard_normal((2, 236, 236))
    found = part * np.exp(1j * (0.02 * y - 0.03 * x + 1)) + 0.02 * (noise[0] + 1j * noise[1])
    return write_product(tmp_path / "product.h5", found, (0.0, 0.0))


def metrics_of(product: Path, reference: Path, folder: Path) -> dict[str, Any]:
    evaluate_product(product, None, folder, reference=reference)
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_large_npz_reference_is_searched(product: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "large.npz", object=sample((SIDE, SIDE)))
    metrics = metrics_of(product, tmp_path / "large.npz", tmp_path)
    assert metrics["ssim_phase"] > 0.95
    assert metrics["frc_mean"] > 0.3
    assert abs(metrics["registration_shift_y_px"]) < 0.1
    assert "null_reasons" not in metrics


def test_coordinates_of_a_product_are_used(product: Path, tmp_path: Path) -> None:
    reference = write_product(tmp_path / "large.h5", sample((SIDE, SIDE)), (-float(CORNER[0]), -float(CORNER[1])))
    assert metrics_of(product, reference, tmp_path)["ssim_phase"] > 0.95


def test_coordinates_of_another_frame_are_mended(product: Path, tmp_path: Path) -> None:
    reference = write_product(tmp_path / "large.h5", sample((SIDE, SIDE)), (0.0, 0.0))
    assert metrics_of(product, reference, tmp_path)["ssim_phase"] > 0.95


def test_part_of_the_scanned_area_is_enough(product: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", object=sample((SIDE, SIDE))[CORNER[0] + 40 : CORNER[0] + 200, CORNER[1] + 50 :])
    assert metrics_of(product, tmp_path / "small.npz", tmp_path)["ssim_phase"] > 0.95


def test_reference_of_another_sample_is_refused_with_the_numbers(product: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", object=sample((SIDE, SIDE), seed=50))
    metrics = metrics_of(product, tmp_path / "other.npz", tmp_path)
    assert metrics["ssim_phase"] is None
    assert metrics["frc_mean"] is None
    assert metrics["null_reasons"]["ssim_phase"] == "see reference_refused"
    said = metrics["reference_refused"]
    assert "nowhere in the reference (610, 610): the best place correlates by 0." in said


def test_edges_do_not_count_where_the_place_was_a_few_pixels_off(product: Path, tmp_path: Path) -> None:
    whole = sample((SIDE, SIDE))
    metrics = list[dict[str, Any]]()
    for off in (0, 8):
        top, left = CORNER[0] - off, CORNER[1] - off
        np.savez(tmp_path / "near.npz", object=whole[top : top + 236, left : left + 236])
        metrics.append(metrics_of(product, tmp_path / "near.npz", tmp_path))
    assert metrics[1]["phase_rmse_rad"] < 1.1 * metrics[0]["phase_rmse_rad"]
    assert abs(metrics[1]["registration_shift_y_px"]) < 0.1


def test_small_reference_is_found_whatever_its_global_phase(tmp_path: Path) -> None:
    whole = ndimage.zoom(sample((24, 24)), 3)
    found = np.pad(whole, 22, constant_values=1.0)
    place = place_in(found, np.pad(np.ones((40, 40), np.bool_), ((38, 38), (38, 38))), whole * np.exp(2j), (-22, -22))
    assert place.corner_px == (-22, -22)
    assert place.stands_out


def test_reference_with_nan_is_refused_as_such(product: Path, tmp_path: Path) -> None:
    object_ = sample((SIDE, SIDE))
    object_[3, 4:6] = np.nan
    np.savez(tmp_path / "nan.npz", object=object_)
    said = metrics_of(product, tmp_path / "nan.npz", tmp_path)["reference_refused"]
    assert "holds 2 NaN or infinite pixels" in said


def test_reference_with_pixels_of_another_size_is_refused(product: Path, tmp_path: Path) -> None:
    reference = write_product(tmp_path / "coarse.h5", sample((SIDE, SIDE)), (0.0, 0.0), pixel_size_m=2e-8)
    said = metrics_of(product, reference, tmp_path)["reference_refused"]
    assert "has pixels of 2e-08 m; expected 1e-08 m" in said


def test_flat_reference_is_told_as_such(product: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", object=np.ones((236, 236), np.complex64))
    metrics = metrics_of(product, tmp_path / "flat.npz", tmp_path)
    assert metrics["ssim_phase"] is None
    assert metrics["null_reasons"]["ssim_phase"].startswith("the reference is flat")


@pytest.mark.parametrize("corner", [(0, 0), (300, 374), (-20, -30)])
def test_place_is_found_at_the_edges_too(corner: tuple[int, int]) -> None:
    whole = np.pad(sample((SIDE, SIDE)), 40, mode="reflect")
    part = whole[40 + corner[0] : 276 + corner[0], 40 + corner[1] : 276 + corner[1]]
    area = np.zeros(part.shape, np.bool_)
    area[20:-20, 20:-20] = True
    place = place_in(part, area, sample((SIDE, SIDE)), (0.0, 0.0))
    assert place.corner_px == corner
    assert place.stands_out


def test_evaluate_ends_with_the_refusal_and_writes_the_other_metrics(
    product: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "other.npz", object=sample((SIDE, SIDE), seed=50))
    line = ["evaluate", str(product), "--reference", str(tmp_path / "other.npz"), "--output_dir", str(tmp_path / "e")]
    assert main(line) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "other.npz: the object (236, 236) is nowhere in the reference" in said
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["mode_powers"] == [1.0]
