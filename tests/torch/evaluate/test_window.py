"""A large object is mapped, compared in a window around the middle of its scan, and drawn whole as well."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import (
    COVERAGE,
    Product,
    ProductGeometry,
    ProductWriter,
    read_product,
)
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.comparison import WINDOW, compare_and_draw, overview_of
from ptycho_dist.evaluate.figures import overview_figure
from ptycho_dist.evaluate.placement import find_reference
from ptycho_dist.evaluate.window import LARGEST_PX, cut_around, shrunk, window_of, within
from ptycho_dist.types import ProductMetadata

SHAPE = (3000, 2400)
N = 32
ORIGIN = (-7.0, 5.0)


def _object(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Smooth phase and amplitude that differ everywhere."""
    y, x = (np.arange(n, dtype=np.float32) for n in shape)
    phase = np.sin(0.05 * y)[:, None] * np.cos(0.07 * x) + np.sin(0.011 * y)[:, None] + np.cos(0.017 * x)
    return ((1 - 0.1 * np.abs(phase)) * np.exp(0.6j * phase)).astype(np.complex64)


def _write(path: Path, object_: np.ndarray, origin_px: tuple[float, float] = ORIGIN) -> Path:
    probe = np.exp(-(((np.indices((N, N)) - N / 2) ** 2).sum(axis=0)) / 40).astype(np.complex64)[None]
    steps = (np.arange(0, side - N, 12.0) for side in object_.shape)
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 2)
    geometry = ProductGeometry(N=N, object_origin_px=origin_px)
    with ProductWriter(path, ProductMetadata(name="large"), object_.shape, geometry) as writer:
        writer.write_object_tile((0, 0), object_)
        writer.write_probe(probe)
        writer.write_positions(grid + np.asarray(origin_px))
        writer.write_extra(COVERAGE, np.arange(object_.size, dtype=np.int32).reshape(object_.shape))
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Read a product too large to be compared as a whole."""
    return read_product(_write(tmp_path_factory.mktemp("large") / "large.h5", _object((3000, 3000))))


def test_a_large_object_is_mapped_and_the_same(large: Product) -> None:
    assert isinstance(large.object_, np.memmap)
    np.testing.assert_array_equal(large.object_[1000:1100, 7:300], _object((3000, 3000))[1000:1100, 7:300])


def test_a_mapped_object_stays_readable_when_its_file_is_replaced(tmp_path: Path) -> None:
    first, second = _object((3000, 3000)), np.ones((3000, 3000), np.complex64)
    path = _write(tmp_path / "one.h5", first)
    held = read_product(path).object_
    _write(path, second)
    np.testing.assert_array_equal(held[500:900], first[500:900])
    np.testing.assert_array_equal(read_product(path).object_[500:900], second[500:900])


def test_a_small_object_is_read_and_compared_whole(tmp_path: Path) -> None:
    product = read_product(_write(tmp_path / "small.h5", _object((300, 200))))
    assert not isinstance(product.object_, np.memmap)
    assert window_of(product) is None


def test_the_window_keeps_positions_over_the_same_pixels(large: Product) -> None:
    window = window_of(large)
    assert window is not None
    part = within(large, window)
    assert part.object_.size <= LARGEST_PX
    number = int(np.argmin(np.abs(large.positions_px - np.median(large.positions_px, axis=0)).sum(axis=1)))
    of_whole, of_part = (
        tuple(np.rint(one.positions_px[number] - one.geometry.object_origin_px).astype(int)) for one in (large, part)
    )
    assert part.object_[of_part] == large.object_[of_whole]
    assert part.extras[COVERAGE][of_part] == large.extras[COVERAGE][of_whole]


@pytest.mark.parametrize("shape", [(3000, 2400), (900, 9000)])
def test_a_window_lies_inside_the_object(shape: tuple[int, int], tmp_path: Path) -> None:
    product = read_product(_write(tmp_path / "one.h5", _object(shape)))
    window = window_of(product)
    assert window is not None
    assert window.shape == (min(shape[0], 2048), min(shape[1], 2048))
    assert within(product, window).object_.shape == window.shape


@pytest.mark.slow
def test_a_large_product_is_compared_where_the_reference_shows_it(large: Product, tmp_path: Path) -> None:
    truth, moved = _object((3000, 3000)), (ORIGIN[0] + 40, ORIGIN[1] + 100)
    reference = _write(tmp_path / "reference.h5", truth[40:, 100:], moved)
    found, _ = compare_and_draw(large, None, tmp_path / "overview.png", reference)
    window = window_of(large)
    assert window is not None
    assert found[WINDOW] == [*window.corner, *window.shape]
    assert found["ssim_phase"] > 0.999
    assert abs(found["registration_shift_y_px"]) + abs(found["registration_shift_x_px"]) < 0.01


def test_a_large_reference_that_lies_elsewhere_is_refused(large: Product, tmp_path: Path) -> None:
    reference = _write(tmp_path / "reference.h5", _object((2700, 2700)), (90000.0, 0.0))
    with pytest.raises(ConfigError, match="lies outside the reference"):
        find_reference(reference, None, large, np.ones(large.object_.shape, np.bool_))


@pytest.mark.slow
def test_the_picture_shows_all_of_a_large_object_besides_its_window(large: Product) -> None:
    overview = overview_of(large, None, None)
    assert overview.object_.shape == (2048, 2048)
    assert "2048 x 2048 of 3000 x 3000 pixels" in overview.title
    titles = [axes.get_title() for band in overview_figure(overview).subfigs for axes in band.axes]
    assert "whole object, phase (means of 2 x 2 px)" in titles


def test_shrunk_is_the_mean_over_squares() -> None:
    image = _object((45, 62))
    small, step = shrunk(image, 300)
    assert (small.shape, step) == ((11, 15), 4)
    np.testing.assert_allclose(small[3, 7], image[12:16, 28:32].mean(), rtol=1e-6)


def test_what_an_image_shows_of_a_frame_may_be_nothing() -> None:
    image = np.ones((10, 10), np.complex64)
    assert image[cut_around(image, np.array([-3.0, 4.0]), (6, 20))].shape == (3, 6)
    assert image[cut_around(image, np.array([12.0, 0.0]), (6, 6))].size == 0


@pytest.mark.exhaustive
def test_comparing_takes_no_memory_of_the_whole_object(tmp_path: Path) -> None:
    path = _write(tmp_path / "huge.h5", _object((9000, 9000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compare_and_draw(read_product(path), None, tmp_path / "overview.png", None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1.2 * 2**20
