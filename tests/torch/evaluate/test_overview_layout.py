"""The overview is readable for wide, tall and square objects, and says what each panel is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text

from ptycho_dist.evaluate.figures import Overview, overview_figure
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference
from tests.support.results import grid_positions, hermite_probe, smooth_object

PROBE = "probe (hue: phase)"


def drawn(shape: tuple[int, int], *, with_truth: bool = True, n_modes: int = 1) -> Figure:
    truth, area = smooth_object(shape), np.zeros(shape, np.bool_)
    area[6:-6, 8:-8] = True
    found = truth + 0.05 * smooth_object(shape, 3)
    positions = grid_positions(50, shape, 32)
    figure = overview_figure(
        Overview(
            title="scan, refined from network",
            told=("made by a version at a date",),
            object_=found,
            area=area,
            comparison=compare_to_reference(Placed(found), Placed(truth), area) if with_truth else None,
            probe=hermite_probe(32, n_modes),
            losses=0.06 + 0.01 * np.exp(-np.arange(20) / 5),
            loss_epochs=np.arange(1, 21),
            loss_name="Fourier error",
            loss_unit="iteration",
            pixel_size_m=1e-8,
            positions_px=positions,
            normalised_errors=np.linspace(1, 1.3, len(positions)),
            shifts_px=np.random.default_rng(0).normal(0, 0.3, positions.shape),
        )
    )
    FigureCanvasAgg(figure).draw()
    return figure


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def pictures(figure: Figure, word: str) -> list[AxesImage]:
    return [axes.get_images()[0] for axes in figure.axes if word in axes.get_title() and axes.get_images()]


@pytest.mark.parametrize(("shape", "least"), [((40, 240), 0.75), ((60, 240), 0.75), ((120, 120), 0.18)])
def test_a_picture_is_wide_enough_to_be_read(shape: tuple[int, int], least: float) -> None:
    figure = drawn(shape)
    width = figure.bbox.width
    found = pictures(figure, "reconstruction")
    assert len(found) == 2
    for image in found:
        assert image.get_window_extent().width >= least * width


@pytest.mark.parametrize("shape", [(40, 240), (120, 120), (240, 40)])
def test_a_colour_bar_is_as_high_as_its_picture(shape: tuple[int, int]) -> None:
    figure = drawn(shape)
    for axes in figure.axes:
        for image in axes.get_images():
            bars = [one for one in axes.child_axes if one.get_ylabel()]
            for bar in bars:
                assert bar.get_window_extent().height == pytest.approx(image.axes.get_window_extent().height, rel=0.02)


def test_titles_of_a_tall_object_do_not_cross() -> None:
    figure = drawn((240, 40))
    beside = [image.axes.title.get_window_extent() for image in pictures(figure, "") if image.axes.get_title() != PROBE]
    extents = sorted(beside, key=lambda one: float(one.x0))
    assert len(extents) == 6
    assert all(left.x1 <= right.x0 for left, right in pairwise(extents))


def test_each_mode_of_a_probe_has_a_panel_with_its_power() -> None:
    assert sum("probe mode" in title for title in titles(drawn((120, 120), n_modes=3))) == 3
    assert PROBE in titles(drawn((120, 120)))


def test_curves_name_their_axes_and_ticks() -> None:
    figure = drawn((120, 120))
    curve = next(axes for axes in figure.axes if axes.get_title() == "Fourier error")
    assert curve.get_xlabel() == "iteration"
    low, high = curve.get_ylim()
    shown = [text for text in curve.get_yticklabels() if text.get_text() and low <= text.get_position()[1] <= high]
    assert len(shown) >= 2
    assert all("^" not in text.get_text() for text in shown), "plain numbers are read at once"
    rings = next(axes for axes in figure.axes if axes.get_title() == "Fourier ring correlation")
    assert rings.get_ylim()[0] > -0.5


def test_the_head_says_stage_version_and_what_is_dashed() -> None:
    figure = drawn((120, 120))
    head = next(text for text in figure.findobj(Text) if "refined from network" in text.get_text()).get_text()
    assert "made by a version" in head
    assert "dashed: edge of the scanned area" in head
    assert any(title.startswith("shifts found") for title in titles(figure))
    assert "error of each pattern" in titles(figure)
