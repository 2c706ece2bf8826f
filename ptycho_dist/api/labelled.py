"""A reconstruction with named axes, for xarray."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ptycho_dist.errors import ConfigError
from ptycho_dist.types import FloatArray

if TYPE_CHECKING:
    from xarray import Dataset

    from ptycho_dist.api.results import Reconstruction


def dataset_of(result: Reconstruction) -> Dataset:
    """Make a data set of object (y, x), its maps, probe (mode, probe_y, probe_x) and positions (pattern, axis).

    Coordinates are lengths in metres from the origin of the positions, or object pixels where the size of these is not
    known; ``units`` says which.

    Raises
    ------
    ConfigError
        If xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        msg = "to_xarray() needs xarray, which is not installed; expected it. Run pip install 'ptycho-dist[xarray]'."
        raise ConfigError(msg) from error
    known = math.isfinite(result.pixel_size_m)
    scale, units = (result.pixel_size_m, "m") if known else (1.0, "object pixels")
    maps = {name: one for name, one in result.maps.items() if one.shape == result.object_.shape}
    axes: dict[str, tuple[str, FloatArray]] = {
        name: (name, (np.arange(side) + start) * scale)
        for name, side, start in zip(("y", "x"), result.object_.shape, result.object_origin_px, strict=True)
    }
    N = result.probe.shape[-1]
    axes |= {name: (name, (np.arange(N) - (N - 1) / 2) * scale) for name in ("probe_y", "probe_x")}
    held: dict[str, Any] = {
        "object": (("y", "x"), result.object_),
        **{name: (("y", "x"), one) for name, one in maps.items()},
        "probe": (("mode", "probe_y", "probe_x"), result.probe),
        "position": (("pattern", "axis"), result.positions_px * scale, {"meaning": "patch corner"}),
    }
    told = {name: value for name, value in result.metrics.items() if isinstance(value, int | float | str)}
    dataset = xarray.Dataset(held, {**axes, "axis": ["y", "x"]}, {"source": str(result.path), **told})
    for name in (*axes, "position"):
        dataset[name].attrs["units"] = units
    return dataset
