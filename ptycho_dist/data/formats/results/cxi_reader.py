"""Reader of reconstructions in CXI, in the layout of Ptychodus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.data.formats import checks, hdf5
from ptycho_dist.data.formats.product import Product, ProductGeometry
from ptycho_dist.data.formats.results.cxi import OWN
from ptycho_dist.data.formats.results.parts import single, square_pixel
from ptycho_dist.data.formats.writers.cxi import DETECTOR
from ptycho_dist.data.formats.writers.lengths import ELEMENTARY_CHARGE_C
from ptycho_dist.types import ProductMetadata

_PROBE, _OBJECT = "entry_1/image_1/data", "entry_1/image_2/data"
_TRANSLATION = "entry_1/sample_1/geometry_1/translation"


def detect(file: h5py.File) -> bool:
    """Tell whether an HDF5 file is a reconstruction in CXI that holds no patterns."""
    return all(key in file for key in (_PROBE, _OBJECT, _TRANSLATION)) and f"{DETECTOR}/data" not in file


def read(path: Path) -> Product:
    """Read probe, object and the centres of patches (x, y) in metres.

    Raises
    ------
    DataFormatError
        If it is damaged, or has several layers or probes.
    """
    with hdf5.reading(path) as file:
        own = {name: np.asarray(_value(path, file, f"{OWN}/{name}")) for name in file.get(OWN, ())}
        object_ = single(path, _OBJECT, _value(path, file, _OBJECT), 2)
        probe = checks.checked_probe(path, _PROBE, single(path, _PROBE, _value(path, file, _PROBE), 3))
        translation = np.asarray(_value(path, file, _TRANSLATION))
        metadata = ProductMetadata(
            name=path.stem,
            detector_object_distance_m=_number(path, file, f"{DETECTOR}/distance"),
            probe_energy_eV=_number(path, file, "entry_1/instrument_1/source_1/energy") / ELEMENTARY_CHARGE_C,
        )
    pixel = square_pixel(path, [float(own.get(f"object_pixel_{side}_m", np.nan)) for side in ("height", "width")])
    N = probe.shape[-1]
    centres = checks.checked_positions(path, translation[:, 1::-1], len(translation)) / pixel
    middle = [float(own.get(f"object_center_{axis}_m", 0.0)) / pixel for axis in "yx"]
    losses = np.atleast_1d(np.asarray(own.get("loss_values", ()), np.float64))
    return Product(
        object_=object_,
        probe=probe,
        positions_px=centres - (N - 1) / 2,
        indexes=np.asarray(own.get("probe_position_indexes", np.arange(len(centres))), np.int64),
        geometry=ProductGeometry(
            N=N,
            pixel_size_m=pixel,
            object_origin_px=(middle[0] - (object_.shape[0] - 1) / 2, middle[1] - (object_.shape[1] - 1) / 2),
        ),
        metadata=metadata,
        losses=losses,
        loss_epochs=np.atleast_1d(np.asarray(own.get("loss_epochs", np.arange(len(losses))), np.int64)),
    )


def _number(path: Path, file: h5py.File, key: str) -> float:
    return float(_value(path, file, key)) if key in file else float("nan")


def _value(path: Path, file: h5py.File, key: str) -> Any:
    return hdf5.require_dataset(file, path, key)[()]
