"""What is shown of the object so far: a picture and a line at each update, a product every few seconds."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter
from ptycho_dist.evaluate.previews import draw_preview
from ptycho_dist.evaluate.window import shrunk
from ptycho_dist.live.arrivals import Tally
from ptycho_dist.live.interim import InterimObject, Picture
from ptycho_dist.types import FloatArray, ProductMetadata, ScanHeader

logger = logging.getLogger(__name__)

PREVIEW, PRODUCT = "preview.png", "interim.h5"
_MOST_PX, _EMPTY = 512**2, 64
_REST, _REST_BEHIND = 3.0, 10.0
"""Times that drawing took, which pass before the next picture is drawn; where patterns wait to be predicted."""
_LEAST_S, _MOST_S = 0.5, 4.0


@dataclass
class Shown:
    """Draws and writes the object so far, seldom enough to leave time for the patterns.

    Parameters
    ----------
    folder
        Where picture and product are written.
    name
        What the picture calls the scan.
    header
        What is known of the scan.
    write_every_s
        Seconds between two products.
    """

    folder: Path
    name: str
    header: ScanHeader
    write_every_s: float

    def __post_init__(self) -> None:
        self._next_drawing = 0.0
        self._next_product = time.monotonic() + self.write_every_s
        self.n_drawn = 0

    @classmethod
    def waiting(cls, folder: Path, name: str) -> None:
        """Draw an empty object: where to look, before anything has arrived."""
        draw_preview(folder / PREVIEW, f"{name}: no pattern yet", {}, np.ones((_EMPTY, _EMPTY), np.complex64))

    def update(
        self,
        interim: InterimObject,
        tally: Tally,
        positions_px: list[FloatArray],
        *,
        is_behind: bool = False,
        is_last: bool = False,
    ) -> None:
        """Draw, and write the product, where it is time for either, or for the last time.

        Where more patterns wait already there is less time for pictures.
        """
        now = time.monotonic()
        if now < self._next_drawing and not is_last:
            return
        picture = interim.picture()
        title = f"{self.name}: {interim.n_patterns} patterns"
        draw_preview(self.folder / PREVIEW, title, {}, shrunk(picture.object_, _MOST_PX)[0])
        if now >= self._next_product or is_last:
            self._write(picture, np.concatenate(positions_px), interim)
            self._next_product = time.monotonic() + self.write_every_s
        self.n_drawn += 1
        took = time.monotonic() - now
        rest = (_REST_BEHIND if is_behind else _REST) * took
        self._next_drawing = time.monotonic() + min(_MOST_S, max(_LEAST_S, rest))
        rows, columns = picture.object_.shape
        logger.info("%d patterns on %d x %d pixels; %s", interim.n_patterns, rows, columns, tally)

    def _write(self, picture: Picture, positions_px: FloatArray, interim: InterimObject) -> None:
        header = self.header
        metadata = ProductMetadata(
            name=self.name,
            comments=f"The object after {interim.n_patterns} patterns of a scan that is measured; not the final one.",
            detector_object_distance_m=header.detector_distance_m,
            probe_energy_eV=header.energy_eV,
        )
        geometry = ProductGeometry(N=header.N, pixel_size_m=header.pixel_size_m, object_origin_px=picture.origin_px)
        with ProductWriter(self.folder / PRODUCT, metadata, picture.object_.shape, geometry) as writer:
            writer.write_object_tile((0, 0), picture.object_)
            writer.write_probe(interim.probe_PNN)
            writer.write_positions(positions_px)
