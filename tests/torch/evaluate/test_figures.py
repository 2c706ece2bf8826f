"""Figures, what they show, the scanned area, and metrics.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import io

from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.figures import Overview, draw_overview, overview_figure
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference
from ptycho_dist.evaluate.metrics_file import NotMeasured, write_metrics
from ptycho_dist.evaluate.registration import ramp


def _object(seed: int = 0) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.standard_normal((80, 72)), 3) for _ in range(2)]
    return np.asarray((1 + fields[0]) * np.exp(4j * fields[1]))


def _area() -> NDArray[np.bool_]:
    area = np.zeros((80, 72), dtype=bool)
    area[10:70, 8:60] = True
    return area


@pytest.mark.parametrize("pixel_size_m", [float("nan"), 2e-8])
@pytest.mark.parametrize("with_truth", [True, False])
def test_overview_is_drawn(tmp_path: Path, with_truth: bool, pixel_size_m: float) -> None:
    truth = _object()
    found = truth + 0.05 * _object(3)
    comparison = compare_to_reference(Placed(found), Placed(truth), _area()) if with_truth else None
    overview = Overview(
        title="test",
        object_=found,
        area=_area(),
        comparison=comparison,
        probe=np.ones((2, 16, 16), np.complex64),
        losses=np.array([3.0, 2.0, 1.5]),
        pixel_size_m=pixel_size_m,
    )
    picture = io.imread(draw_overview(tmp_path / "overview.png", overview))
    assert min(picture.shape[:2]) > 600
    assert picture[..., :3].std() > 20, "the picture is blank"
    assert [path.name for path in tmp_path.iterdir()] == ["overview.png"]


def test_overview_says_that_the_resolution_was_not_measured() -> None:
    truth, area = _object(), _area()
    area[20:70:12, 10:60:12] = False
    overview = Overview(title="t", object_=truth, area=area, comparison=compare_to_reference(
        Placed(truth + 0.05 * _object(3)), Placed(truth), area))  # fmt: skip
    figure = overview_figure(overview)
    assert "FRC 1/2-bit not measured" in figure.get_suptitle()
    assert "Fourier ring correlation" not in [one.get_title() for one in figure.axes]


@pytest.mark.parametrize("losses", [np.empty(0), np.array([-3.0, -4.0]), np.array([np.nan, 2.0])])
def test_overview_is_drawn_when_losses_are_odd(tmp_path: Path, losses: NDArray[np.float64]) -> None:
    overview = Overview(title="test", object_=_object(), area=_area(), losses=losses)
    assert draw_overview(tmp_path / "o.png", overview).stat().st_size > 10_000


def test_epochs_of_the_loss_curve_are_whole_numbers() -> None:
    overview = Overview(title="test", object_=_object(), area=_area(), losses=np.array([3.0, 2.0, 1.5]))
    axes = next(one for one in overview_figure(overview).axes if one.get_title() == "training loss")
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_flattened_removes_phase_and_ramp() -> None:
    flat = np.exp(0.2j * np.angle(_object()))
    shown = figure_data.flattened(flat * np.exp(2j) * ramp(flat.shape, (0.2, -0.1)), _area())
    error = np.angle(shown * flat.conj())[_area()]
    assert error.std() < 0.02
    assert abs(np.angle(shown[_area()].sum())) < 1e-6


@pytest.mark.parametrize(
    ("width", "pixel_m", "expected"),
    [
        (400, float("nan"), (100, "100 px")),
        (250, 2e-8, (50, "1 \u00b5m")),
        (100, 2e-8, (25, "500 nm")),
        (90, 5e-12, (20, "100 pm")),
    ],
)
def test_scale_bar_is_round(width: int, pixel_m: float, expected: tuple[float, str]) -> None:
    length, label = figure_data.scale_bar(width, pixel_m)
    assert length == pytest.approx(expected[0])
    assert label == expected[1]


def test_limits_ignore_what_lies_outside_the_area() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (80, 72))
    image[~_area()] = 1e6
    low, high = figure_data.limits(image, _area())
    assert 0 <= low < 0.02
    assert 0.98 < high <= 1
    assert figure_data.limits(np.ones((80, 72)), _area()) == (0.5, 1.5)


def test_illumination_is_the_sum_of_shifted_probes() -> None:
    rng = np.random.default_rng(0)
    probe = (rng.standard_normal((2, 8, 8)) + 1j * rng.standard_normal((2, 8, 8))).astype(np.complex64)
    positions = rng.integers(-3, 25, (20, 2)) + np.array([100.0, -50.0])
    expected = np.zeros((46, 46))
    for y, x in (positions - [100, -50]).astype(int) + 8:
        expected[y : y + 8, x : x + 8] += (np.abs(probe) ** 2).sum(0)
    light = illumination(positions, probe, (30, 30), np.array([100.0, -50.0]))
    np.testing.assert_allclose(light, expected[8:38, 8:38], atol=1e-4)


def test_scanned_area_covers_the_scan_only() -> None:
    positions = np.stack(np.meshgrid(np.arange(20, 60, 4.0), np.arange(20, 60, 4.0)), axis=-1).reshape(-1, 2)
    light = illumination(positions, np.ones((1, 8, 8), np.complex64), (90, 90), np.zeros(2))
    area = scanned_area(light)
    assert area[24:60, 24:60].all()
    assert not area[:12].any()
    assert not area[76:].any()
    assert not scanned_area(np.zeros((20, 20))).any()


def test_metrics_file_is_strict_json(tmp_path: Path) -> None:
    values = {"a": np.float32(1.5), "b": NotMeasured("too dark"), "d": {"e": np.arange(2)}, "f": Path("x")}
    path = write_metrics(tmp_path / "m" / "metrics.json", values)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content == {"a": 1.5, "b": None, "d": {"e": [0, 1]}, "f": "x", "null_reasons": {"b": "too dark"}}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_file_takes_no_number_that_is_none_without_a_reason(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path / "m.json", {"a": value})
    assert not list(tmp_path.iterdir())


def test_metrics_file_stays_when_a_value_has_no_json_form(tmp_path: Path) -> None:
    path = write_metrics(tmp_path / "metrics.json", {"a": 1})
    with pytest.raises(TypeError):
        write_metrics(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_maps_of_the_patches_are_drawn_where_the_product_has_them(tmp_path: Path) -> None:
    area = _area()
    between = np.where(area, 0.1, np.nan)
    coverage = area.astype(np.int32) * 7
    overview = Overview(title="test", object_=_object(), area=area, coverage=coverage, disagreement=between)
    titles = {axes.get_title() for band in overview_figure(overview).subfigs for axes in band.axes}
    assert {"coverage", "disagreement of patches (median 0.1)"} <= titles
    unknown = Overview(title="t", object_=_object(), area=area, coverage=coverage, disagreement=between * np.nan)
    assert draw_overview(tmp_path / "unknown.png", unknown).stat().st_size > 10_000
    without = Overview(title="test", object_=_object(), area=area)
    assert "coverage" not in {axes.get_title() for band in overview_figure(without).subfigs for axes in band.axes}
