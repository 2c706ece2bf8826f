"""A window of the object is predicted from the patterns that touch it, and lies where the whole object has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.inference.run import InferenceResult, run_inference
from ptycho_dist.launching.environment import detect
from tests.support.runs import inference_payload, training_payload, untrained_bundle


@pytest.fixture
def bundle(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> Path:
    return untrained_bundle(training_payload(tiny_path, tmp_path / "trained", depth=1), tiny_scan)


def predict(bundle: Path, scan: Scan, folder: Path, **overrides: Any) -> tuple[InferenceResult, Product]:
    settings = {"synchronise_phases": False, "inference_batch_size": 4} | overrides
    payload = inference_payload(bundle, scan.header.path, folder, **settings)
    result = run_inference(payload, detect({}), scan)
    return result, read_product(result.product_path)


def window_in(whole: Product, region: tuple[int, int, int, int]) -> tuple[slice, slice]:
    (y, x), (top, left, bottom, right) = whole.geometry.object_origin_px, region
    return slice(top - int(y), bottom - int(y)), slice(left - int(x), right - int(x))


def a_region(whole: Product) -> tuple[int, int, int, int]:
    """Choose a window near a corner of the patches, which not all of them reach."""
    y, x = (int(value) for value in whole.geometry.object_origin_px)
    return y + 10, x + 11, y + 22, x + 19


def test_region_has_the_bits_that_the_whole_object_has_there(bundle: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    everything, whole = predict(bundle, tiny_scan, tmp_path / "whole")
    region = a_region(whole)
    some, part = predict(bundle, tiny_scan, tmp_path / "part", region=region)
    there = window_in(whole, region)
    assert part.object_.shape == (12, 8)
    assert part.geometry.object_origin_px == region[:2]
    assert part.object_.tobytes() == whole.object_[there].tobytes()
    for name in ("coverage", "disagreement"):
        assert part.extras[name].tobytes() == whole.extras[name][there].tobytes(), name
    assert some.n_patterns == len(part.indexes) < everything.n_patterns == 25
    assert np.allclose(part.positions_px, tiny_scan.positions_px[part.indexes], atol=1e-6)


def test_only_patterns_that_touch_the_region_are_predicted(bundle: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    _, whole = predict(bundle, tiny_scan, tmp_path / "whole")
    region = a_region(whole)
    _, part = predict(bundle, tiny_scan, tmp_path / "part", region=region)
    corners = np.floor(tiny_scan.positions_px + 8)  # the patches are the central 16 of 32 pixels
    reaches = [
        any(region[0] <= y < region[2] for y in range(int(top), int(top) + 17))
        and any(region[1] <= x < region[3] for x in range(int(left), int(left) + 17))
        for top, left in corners
    ]
    assert part.indexes.tolist() == np.flatnonzero(reaches).tolist()


def test_part_of_a_region_beyond_the_scan_is_empty(bundle: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    _, whole = predict(bundle, tiny_scan, tmp_path / "whole")
    y, x = (int(value) for value in whole.geometry.object_origin_px)
    _, part = predict(bundle, tiny_scan, tmp_path / "part", region=(y - 40, x - 40, y + 30, x + 30))
    assert part.object_.shape == (70, 70)
    assert np.all(part.object_[:40] == 1)
    assert np.all(part.extras["coverage"][:40] == 0)
    assert np.isnan(part.extras["disagreement"][:40]).all()
    assert part.object_[40:, 40:].tobytes() == whole.object_[:30, :30].tobytes()


def test_region_without_any_patch_is_refused_with_the_place_of_the_patches(
    bundle: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"region = \(9000, 0, 9001, 5\) touches no patch .* lie within \(-?\d+, "):
        predict(bundle, tiny_scan, tmp_path, region=(9000, 0, 9001, 5))


def test_fourier_error_of_a_region_is_that_of_the_frames_within(bundle: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    _, whole = predict(bundle, tiny_scan, tmp_path / "whole")
    y, x = (int(value) for value in whole.geometry.object_origin_px)
    result, part = predict(bundle, tiny_scan, tmp_path / "part", region=(y, x, y + 45, x + 45))
    metrics = evaluate_product(result.product_path, tiny_scan, tmp_path / "part")
    within = (part.positions_px + 33 <= np.array([y + 45, x + 45])).all(axis=1)
    assert metrics["fourier_error_patterns"] == within.sum() < len(part.indexes)
    assert metrics["fourier_error"] > 0
    assert (tmp_path / "part" / "overview.png").is_file()
