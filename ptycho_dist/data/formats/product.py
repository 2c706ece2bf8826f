"""What a reconstruction product holds, and its coordinates.

Ptychodus gives positions in metres, as centres of patches, and puts the centre
of an array of W pixels at index (W - 1) / 2 (``ObjectGeometry`` and
``resolve_patch_bounds`` of its package ``ptychodus.api``, version 1.7). Here a
position is the corner of a patch in pixels; both frames have the same origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.measurement import MeasurementConfig
from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.base import NAN, ComplexArray
from ptycho_dist.types import FloatArray, IntArray, ProductMetadata

COVERAGE, DISAGREEMENT = "coverage", "disagreement"
"""Arrays (H, W) of the group ``ptycho_dist``: patches in a pixel, and the deviation between them."""
FLUX, BACKGROUND = "flux", "background"
"""Arrays (B,) and (N, N) there: brightness of each pattern; counts that do not come from the object, in the order of
the detector that the propagator has."""
FIRST_POSITIONS = "first_positions_px"
"""Array (B, 2) there: patch corners (y, x) as they were measured, where they were refined since."""
_READING = tuple(one.name for one in fields(ScanOptions))
_MODEL = tuple(one.name for one in fields(MeasurementConfig) if one.name not in _READING)
UNCERTAINTY = "uncertainty"
"""Array (H, W) there: root mean square error of the transmission, as far as two halves of the photons tell it."""
NORMALISED = "normalised_error"
"""Array (B,) there: misfit of each pattern over what photon noise alone leaves; NaN where a pattern does not count."""


@dataclass(frozen=True, kw_only=True)
class ProductGeometry:
    """How pixels of a product lie in space.

    Parameters
    ----------
    N
        Side of the probe, and so of a patch, in pixels.
    pixel_size_m
        Object pixel in metres; NaN where unknown, then lengths are written in pixels.
    object_origin_px
        Position (y, x) of the object's pixel (0, 0), in the frame of the positions.
    """

    N: int
    pixel_size_m: float = NAN
    object_origin_px: tuple[float, float] = (0.0, 0.0)

    @property
    def units_known(self) -> bool:
        """True where the pixel size is known in metres."""
        return math.isfinite(self.pixel_size_m)

    @property
    def scale(self) -> float:
        """Length of a pixel as written: metres, or 1 where unknown."""
        return self.pixel_size_m if self.units_known else 1.0

    def centre_of_object(self, shape: tuple[int, int]) -> tuple[float, float]:
        """Return the object's centre (y, x) in written lengths."""
        y, x = (self.scale * (o + (n - 1) / 2) for o, n in zip(self.object_origin_px, shape, strict=True))
        return y, x

    def centres_of_patches(self, positions_px: FloatArray) -> FloatArray:
        """Turn patch corners (B, 2) in pixels into centres (B, 2) in written lengths."""
        return self.scale * (np.asarray(positions_px, dtype=np.float64) + (self.N - 1) / 2)


@dataclass(frozen=True, kw_only=True)
class Product:
    """A reconstruction as read from a product file.

    Parameters
    ----------
    object_
        complex64, shape (H, W).
    probe
        complex64, shape (P, N, N).
    positions_px
        float64, shape (B, 2): patch corners; minus ``geometry.object_origin_px`` they index ``object_``.
    indexes
        int64, shape (B,): pattern numbers.
    losses, loss_epochs
        float64 and int64, shape (n,).
    extras
        Arrays of the group ``ptycho_dist``, by name.
    verdict
        How well it explains its patterns, in words; empty where that was not looked at.
    """

    object_: ComplexArray
    probe: ComplexArray
    positions_px: FloatArray
    indexes: IntArray
    geometry: ProductGeometry
    metadata: ProductMetadata
    losses: FloatArray
    loss_epochs: IntArray
    extras: dict[str, NDArray[Any]] = field(default_factory=dict)
    verdict: str = ""

    @property
    def scan_checksum(self) -> str:
        """Checksum of the scan that it was made from; empty where the file does not say."""
        return scan_checksum(self.metadata)


def scan_checksum(metadata: ProductMetadata) -> str:
    """Checksum of the scan that a product was made from; empty where the file does not say."""
    return str(_payload(metadata, "scan").get("checksum", ""))


def scan_settings(metadata: ProductMetadata) -> dict[str, Any]:
    """Select how the scan of a product was opened, by name; nothing where the file does not say."""
    return _named(_payload(metadata, "data"), _READING)


def model_settings(metadata: ProductMetadata) -> dict[str, Any]:
    """Select what a product was made with: probe fixed or fitted, its support, modes, background, propagation."""
    return _named(_payload(metadata, "data"), _MODEL)


def _payload(metadata: ProductMetadata, section: str) -> dict[str, Any]:
    payload = metadata.provenance.get("payload") or {}
    return payload.get(section) or {}


def _named(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}
