"""One judge for all: phase SSIM of an object against the truth of its scan, over the scanned area."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from ptycho_dist.data.formats.product_h5 import UNCERTAINTY, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.comparison import compare_in_place, illumination, scanned_area
from ptycho_dist.evaluate.metrics import Placed, ReferenceMetrics, compare_to_reference, soft_weight
from ptycho_dist.evaluate.registration import register

_LOCAL_PX = 2.0
_LEAST_SHARE = 0.9
"""Share of the scanned area that a comparison must cover, so that no strip of it passes for the whole."""
_BAND_90 = float(np.sqrt(np.log(10)))
"""A complex normal error is below so many times its root mean square in 90 % of the cases."""


@dataclass(frozen=True)
class Truth:
    """The object of a simulated scan.

    Parameters
    ----------
    positions_px, probe
        Of the scan: corners (B, 2) of the patches, and modes (P, N, N).
    placed
        The object (H, W), and where it lies.
    """

    positions_px: NDArray[np.float64]
    probe: NDArray[np.complexfloating]
    placed: Placed

    @classmethod
    def of(cls, path: Path) -> Truth:
        """Read that of a scan file."""
        with open_scan(path) as scan:
            assert scan.object_ is not None
            assert scan.object_origin_px is not None
            assert scan.probe is not None
            y, x = (float(one) for one in scan.object_origin_px)
            return cls(np.asarray(scan.positions_px), scan.probe, Placed(scan.object_, (y, x)))

    def compare(self, found: Placed) -> ReferenceMetrics:
        """Compare an object with it; one so unlike it that no true shift is found, where it says that it lies."""
        area = self._area(self.placed)
        try:
            moved = compare_in_place(found, self.placed, self._area)
        except ConfigError:
            moved = None
        if moved is not None and moved.area.sum() >= _LEAST_SHARE * area.sum():
            return moved
        return compare_to_reference(found, self.placed, area, find_shift=False)

    def _area(self, placed: Placed) -> NDArray[np.bool_]:
        rows, columns = placed.object_.shape
        return scanned_area(illumination(self.positions_px, self.probe, (rows, columns), np.asarray(placed.origin_px)))

    def ssim(self, found: Placed) -> float:
        """Phase SSIM of an object."""
        return float(self.compare(found).ssim_phase)


def placed_product(path: Path) -> Placed:
    """Object of a product, and where it lies."""
    product = read_product(path)
    y, x = (float(one) for one in product.geometry.object_origin_px)
    return Placed(product.object_, (y, x))


def judge_uncertainty(truth: Truth, path: Path) -> dict[str, float]:
    """Rank correlation of uncertainty and true error, pixel by pixel and locally (rms over 2 px), and coverage."""
    product = read_product(path)
    origin = np.asarray(product.geometry.object_origin_px)
    area = scanned_area(illumination(product.positions_px, product.probe, product.object_.shape, origin))
    corner = np.rint(origin - np.asarray(truth.placed.origin_px)).astype(int)
    reference = _cut(truth.placed.object_, corner, area.shape)
    found = product.object_.astype(np.complex128)
    error = np.asarray(np.abs(register(reference, found, soft_weight(area)).object_ - found))
    told = product.extras[UNCERTAINTY].astype(np.float64)
    share = np.maximum(gaussian_filter(area.astype(np.float64), _LOCAL_PX), 1e-3)
    local = np.sqrt(gaussian_filter(np.where(area, error**2, 0.0), _LOCAL_PX) / share)
    return {
        "rank_correlation_local": float(spearmanr(told[area], local[area])[0]),
        "rank_correlation_pixel": float(spearmanr(told[area], error[area])[0]),
        "coverage_90": float((error[area] < _BAND_90 * told[area]).mean()),
    }


def _cut(image: NDArray[Any], corner: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Window of an image; ones beyond its edge."""
    padded = np.pad(image.astype(np.complex128), 64, constant_values=1.0)
    y, x = corner + 64
    return np.asarray(padded[y : y + shape[0], x : x + shape[1]])
