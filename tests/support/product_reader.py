"""A reader of Ptychodus products written from the published layout, independent of the package's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SpecifiedProduct:
    """Raw content: root attributes, arrays, and the attributes of the object."""

    attributes: dict[str, Any]
    object_attributes: dict[str, Any]
    probe: NDArray[np.complex64]
    object_: NDArray[np.complex64]
    x_m: NDArray[np.float64]
    y_m: NDArray[np.float64]

    def patch_corners_px(self) -> NDArray[np.float64]:
        """Object index (row, column) of each patch's first pixel; arrays are centred at (W - 1) / 2."""
        height, width = self.object_.shape[-2:]
        side = self.probe.shape[-1]
        of = self.object_attributes
        rows = (self.y_m - of["center_y_m"]) / of["pixel_height_m"] + (height - 1) / 2 - (side - 1) / 2
        columns = (self.x_m - of["center_x_m"]) / of["pixel_width_m"] + (width - 1) / 2 - (side - 1) / 2
        return np.stack([rows, columns], axis=1)


def read_by_specification(path: Path) -> SpecifiedProduct:
    """Read every required name of the layout; a missing one is a KeyError."""
    with h5py.File(path) as file:
        for name in ("name", "comments", "detector_object_distance_m", "probe_energy_eV", "exposure_time_s"):
            file.attrs[name]
        for name in ("pixel_width_m", "pixel_height_m"):
            file["probe"].attrs[name]
        count = len(file["probe_position_indexes"])
        layers = len(file["object_layer_spacing_m"]) + 1
        x_m, y_m = file["probe_position_x_m"][()], file["probe_position_y_m"][()]
        losses, epochs = file["loss_values"][()], file["loss_epochs"][()]
        if not (len(x_m) == len(y_m) == count and len(losses) == len(epochs) and layers == len(file["object"])):
            msg = "lengths in the product disagree"
            raise ValueError(msg)
        return SpecifiedProduct(
            dict(file.attrs), dict(file["object"].attrs), file["probe"][()], file["object"][()], x_m, y_m
        )
