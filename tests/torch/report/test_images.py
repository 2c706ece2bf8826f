"""Maps become pictures that give their values back."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ptycho_dist.evaluate.figure_data import wave_picture
from ptycho_dist.report.images import LARGEST_SIDE_PX, Map, mask_address, pack


def pixels(address: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))))


def unpacked(packed: dict[str, Any]) -> NDArray[np.float64]:
    """Undo the packing as the page does."""
    data = pixels(packed["png"]).astype(np.float64)
    span = packed["high"] - packed["low"]
    if packed["bits"] == 8:
        return np.where(data > 0, packed["low"] + span * (data - 1) / 254, np.nan)
    values = packed["low"] + span * (256 * data[..., 0] + data[..., 1]) / 65535
    return np.where(data[..., 2] > 0, values, np.nan)


def test_a_small_map_keeps_its_values_to_sixteen_bits() -> None:
    values = np.random.default_rng(0).normal(5, 2, (40, 30))
    values[3, 4] = np.nan
    packed = pack(values)
    back = unpacked(packed)
    assert (packed["rows"], packed["columns"], packed["bits"]) == (40, 30, 16)
    assert np.isnan(back[3, 4])
    assert np.nanmax(np.abs(back - values)) <= np.ptp(values[np.isfinite(values)]) / 65535


def test_a_large_map_keeps_its_values_to_eight_bits_and_cuts_outliers_off() -> None:
    values = np.random.default_rng(0).normal(5, 2, (900, 900))
    values[0, 0], values[5, 5] = np.nan, 1e6
    packed = pack(values)
    back = unpacked(packed)
    inside = np.isfinite(values) & (values > packed["low"]) & (values < packed["high"])
    assert packed["bits"] == 8
    assert packed["high"] < 20
    assert np.isnan(back[0, 0])
    assert np.abs(back - values)[inside].max() <= (packed["high"] - packed["low"]) / 254
    assert inside.mean() > 0.99


@pytest.mark.parametrize("fill", [2.5, np.nan])
def test_a_flat_or_empty_map_is_packed(fill: float) -> None:
    back = unpacked(pack(np.full((5, 6), fill)))
    np.testing.assert_allclose(back, np.full((5, 6), fill), atol=1e-4)


def test_a_map_is_shrunk_by_means_of_what_is_known() -> None:
    values = np.ones((LARGEST_SIDE_PX + 10, 40))
    values[::2] = np.nan
    values[1::2] = 3
    values[:2, :2] = np.nan
    small = Map("m", "m", "", values, (0.0, 1.0), "gray", (7.0, 8.0)).fitted()
    assert max(small.values.shape) <= LARGEST_SIDE_PX
    assert small.step_px == 2
    assert small.corner_px == (7.0, 8.0)
    assert np.isnan(small.values[0, 0])
    assert (small.values[1:] == 3).all()


def test_a_mask_keeps_its_pixels() -> None:
    mask = np.random.default_rng(0).random((20, 33)) > 0.5
    assert (pixels(mask_address(mask)) == mask).all()


def test_hue_tells_the_phase_and_brightness_the_amplitude() -> None:
    turn = np.exp(1j * np.linspace(-np.pi, np.pi, 8, endpoint=False))
    full, half = wave_picture(turn[None], 1.0)[0], wave_picture(0.5 * turn[None], 1.0)[0]
    assert len({tuple(colour) for colour in full.tolist()}) == 8
    luminance = full.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert np.ptp(luminance) < 0.35 * luminance.mean(), "one phase looks brighter than another"
    assert (half.sum(axis=-1) < full.sum(axis=-1)).all()
    assert not wave_picture(np.zeros((2, 2), complex)).any()
