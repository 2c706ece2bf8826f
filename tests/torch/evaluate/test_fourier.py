"""Fourier error of a global object: known answers, shards, rows."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.data.formats.product_h5 import Product, ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.sampler import rows_between
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.fourier import FourierErrors, fourier_errors
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.launching.environment import single_rank
from ptycho_dist.physics.patches import extract
from ptycho_dist.types import Canvas, FloatArray, ProductMetadata
from tests.support.optics import far_field_counts
from tests.support.scans import make_scan, write_own

N, COUNT = 16, 40


def write_truth(folder: Path, positions_px: FloatArray, pixel_size_m: float, **content: Any) -> tuple[Path, Path]:
    """Write a scan without noise, and the product that holds its truth."""
    rng = np.random.default_rng(0)
    canvas = Canvas.around(positions_px, N)
    object_ = (rng.uniform(0.5, 1, canvas.shape) * np.exp(1j * rng.uniform(0, 2, canvas.shape))).astype(np.complex64)
    made = make_scan(N=N, n_modes=2)
    corners = torch.from_numpy(positions_px - np.array(canvas.origin_px))
    waves = 30 * torch.from_numpy(made.probe)[:, None] * extract(torch.from_numpy(object_), corners, N)
    counts = far_field_counts(waves).numpy()
    scan = write_own(folder / "scan.h5", made, patterns=[counts], positions_px=positions_px, probe=30 * made.probe,
                     object_=None, **content)  # fmt: skip
    geometry = ProductGeometry(N=N, pixel_size_m=pixel_size_m, object_origin_px=_pair(canvas.origin_px))
    metadata = ProductMetadata(name="truth", provenance={"training": {"train_rows": [0.0, 0.5]}})
    with ProductWriter(folder / "product.h5", metadata, canvas.shape, geometry) as writer:
        writer.write_object_tile((0, 0), object_)
        writer.write_probe(30 * made.probe)
        writer.write_positions(positions_px)
    return scan, folder / "product.h5"


def _pair(values: tuple[int, int]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def scattered(offset: float = 0.0, *, whole: bool = False) -> FloatArray:
    found = np.random.default_rng(1).uniform(-20, 20, (COUNT, 2)) + offset
    return np.round(found) if whole else found


@pytest.fixture
def truth(tmp_path: Path) -> tuple[Product, Scan]:
    scan, product = write_truth(tmp_path, scattered(), 2e-8)
    return read_product(product), open_scan(scan)


def test_truth_explains_a_scan_without_noise(truth: tuple[Product, Scan]) -> None:
    product, scan = truth
    assert fourier_errors(product, scan).error() < 1e-4


@pytest.mark.parametrize("pixel_size_m", [2e-8, 7.3e-9, 1.1e-10, float("nan")])
@pytest.mark.parametrize("offset", [0.0, 3.0, -1117.0])
def test_truth_explains_it_at_whole_positions_whatever_the_units(
    tmp_path: Path, pixel_size_m: float, offset: float
) -> None:
    scan, product = write_truth(tmp_path, scattered(offset, whole=True), pixel_size_m)
    assert fourier_errors(read_product(product), open_scan(scan)).error() < 1e-4


def test_patch_at_the_edge_stays_inside_when_metres_round_it_off(truth: tuple[Product, Scan]) -> None:
    product, scan = truth
    low = product.positions_px.min(axis=0)
    y, x = product.geometry.object_origin_px + (low - product.geometry.object_origin_px) + 1e-12
    moved = replace(product, geometry=replace(product.geometry, object_origin_px=(float(y), float(x))))
    assert np.isfinite(fourier_errors(moved, scan).error())


@pytest.mark.parametrize(("factor", "expected"), [(2.0, 1.0), (0.5, 0.5), (0.0, 1.0), (1.1, 0.1)])
def test_object_of_wrong_amplitude_gives_its_known_error(
    truth: tuple[Product, Scan], factor: float, expected: float
) -> None:
    product, scan = truth
    wrong = replace(product, object_=(factor * product.object_).astype(np.complex64))
    assert fourier_errors(wrong, scan).error() == pytest.approx(expected, rel=2e-3)


def test_global_phase_changes_nothing(truth: tuple[Product, Scan]) -> None:
    product, scan = truth
    turned = replace(product, object_=(np.exp(1.3j) * product.object_).astype(np.complex64))
    assert fourier_errors(turned, scan).error() < 1e-4


@pytest.mark.parametrize("world", [2, 3, 50])
def test_shares_of_ranks_add_up_to_the_whole(truth: tuple[Product, Scan], world: int) -> None:
    product, scan = truth
    wrong = replace(product, object_=np.ones_like(product.object_))
    whole = fourier_errors(wrong, scan)
    ranks = [
        replace(single_rank(), rank=rank, world=world, local_rank=rank, local_world=world) for rank in range(world)
    ]
    parts = [fourier_errors(wrong, scan, one) for one in ranks]
    assert np.allclose(sum(part.misfit for part in parts), whole.misfit, rtol=1e-6)
    assert np.allclose(sum(part.counts for part in parts), whole.counts, rtol=1e-12)
    assert (sum((part.counts > 0).astype(int) for part in parts) == 1).all()


def test_masked_pixels_do_not_count(tmp_path: Path) -> None:
    mask = np.ones((N, N), np.bool_)
    mask[5:9, 3] = False
    scan, product = write_truth(tmp_path, scattered(), 2e-8, mask=mask)
    found = read_product(product)
    with open_scan(scan) as opened:
        assert opened.mask is not None
        assert fourier_errors(found, opened).error() < 1e-4
        dark = replace(found, object_=np.zeros_like(found.object_))
        assert fourier_errors(dark, opened).error() == pytest.approx(1.0, rel=1e-3)


def test_product_of_another_scan_is_refused(truth: tuple[Product, Scan], tiny_scan: Scan) -> None:
    with pytest.raises(ConfigError, match="has 25 patterns of 32 pixels; the product was made from patterns of 16"):
        fourier_errors(truth[0], tiny_scan)


def test_error_weighs_patterns_by_their_photons_and_takes_some() -> None:
    errors = FourierErrors(np.array([1.0, 9.0]), np.array([100.0, 100.0]), np.ones(2))
    assert errors.error() == pytest.approx(np.sqrt(10 / 200))
    assert errors.error(np.array([False, True])) == pytest.approx(0.3)
    assert np.isnan(errors.error(np.array([False, False])))


def test_rows_between_takes_quantiles_of_y() -> None:
    positions = np.stack([np.arange(10.0)[::-1], np.zeros(10)], axis=1)
    assert rows_between(positions, (0.0, 0.5)).tolist() == [False] * 5 + [True] * 5
    assert rows_between(positions, (0.0, 1.0)).all()


def test_evaluate_product_tells_trained_from_unseen_rows(tmp_path: Path) -> None:
    scan, path = write_truth(tmp_path, scattered(), 2e-8)
    product = read_product(path)
    object_ = product.object_.copy()
    object_[object_.shape[0] // 2 + N // 2 :] *= 2
    with ProductWriter(path, product.metadata, object_.shape, product.geometry) as writer:
        writer.write_object_tile((0, 0), object_)
        writer.write_probe(product.probe)
        writer.write_positions(product.positions_px)
        writer.write_losses([1.0, 0.5])
    with open_scan(scan) as opened:
        metrics = evaluate_product(path, opened, tmp_path / "out")
    assert metrics["fourier_error_trained_rows"] < 0.5 * metrics["fourier_error_unseen_rows"]
    assert metrics["fourier_error_trained_rows"] < metrics["fourier_error"] < metrics["fourier_error_unseen_rows"]
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["fourier_error"] == pytest.approx(metrics["fourier_error"])
    assert (tmp_path / "out" / "overview.png").stat().st_size > 1000


def test_evaluate_product_writes_the_fourier_error_when_the_area_is_too_small_to_compare(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan, path = write_truth(tmp_path, np.zeros((1, 2)), 2e-8)
    reference = tmp_path / "reference.npz"
    np.savez(reference, object=np.ones((12, 12), np.complex64))
    with open_scan(scan) as opened:
        metrics = evaluate_product(path, opened, tmp_path / "out", reference=reference)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["fourier_error"] == metrics["fourier_error"]
    assert metrics["reference_refused"].startswith("object (17, 17)")
    assert "metrics against the reference are left out" in caplog.text


def test_patterns_that_are_far_apart_are_explained_with_little_memory(tmp_path: Path) -> None:
    near = scattered()
    far = np.concatenate([near[:20], near[20:] + 500.0])[np.random.default_rng(2).permutation(COUNT)]
    scan_path, product_path = write_truth(tmp_path, far, 2e-8)
    product, scan = read_product(product_path), open_scan(scan_path)
    fourier_errors(product, scan)  # modules that it imports take memory, too
    tracemalloc.start()
    found = fourier_errors(product, scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.error() < 1e-3
    assert found.compared == COUNT
    assert peak < product.object_.nbytes / 2
