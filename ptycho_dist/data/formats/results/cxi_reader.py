"""Reader of reconstructions in CXI, in the layout of Ptychodus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.data.formats import checks
from ptycho_dist.data.formats.hdf5_links import load_array, locate
from ptycho_dist.data.formats.hdf5_numbers import load_numbers, number
from ptycho_dist.data.formats.product import Product, ProductGeometry
from ptycho_dist.data.formats.results.cxi import OWN
from ptycho_dist.data.formats.results.parts import single, square_pixel
from ptycho_dist.data.formats.results.ptychodus_parts import read_parts
from ptycho_dist.data.formats.writers.cxi import DETECTOR
from ptycho_dist.data.formats.writers.lengths import ELEMENTARY_CHARGE_C
from ptycho_dist.types import FloatArray, ProductMetadata

_PROBE, _OBJECT = "entry_1/image_1/data", "entry_1/image_2/data"
_TRANSLATION = "entry_1/sample_1/geometry_1/translation"


def detect(path: Path) -> bool:
    """Tell whether an HDF5 file is a reconstruction in CXI that holds no patterns."""
    is_result = all(locate(path, key) is not None for key in (_PROBE, _OBJECT, _TRANSLATION))
    return is_result and locate(path, f"{DETECTOR}/data") is None


def read(path: Path) -> Product:
    """Read probe, object and the centres of patches (x, y) in metres.

    Raises
    ------
    DataFormatError
        If it is damaged, or has several layers or probes.
    """
    object_ = single(path, _OBJECT, load_array(path, _OBJECT), 2)
    probe = checks.checked_probe(path, _PROBE, single(path, _PROBE, load_array(path, _PROBE), 3))
    metadata = ProductMetadata(
        name=path.stem,
        detector_object_distance_m=number(path, f"{DETECTOR}/distance"),
        probe_energy_eV=number(path, "entry_1/instrument_1/source_1/energy") / ELEMENTARY_CHARGE_C,
    )
    pixel = square_pixel(path, [number(path, f"{OWN}/object_pixel_{side}_m") for side in ("height", "width")])
    N = probe.shape[-1]
    parts = read_parts(path)
    middle = [np.nan_to_num(number(path, f"{OWN}/object_center_{axis}_m")) / pixel for axis in "yx"]
    losses, epochs = (_list(path, f"{OWN}/{name}") for name in ("loss_values", "loss_epochs"))
    return Product(
        object_=object_,
        probe=probe,
        positions_px=parts.centres_m / pixel - (N - 1) / 2,
        indexes=parts.indexes,
        geometry=ProductGeometry(
            N=N,
            pixel_size_m=pixel,
            object_origin_px=(middle[0] - (object_.shape[0] - 1) / 2, middle[1] - (object_.shape[1] - 1) / 2),
        ),
        metadata=metadata,
        losses=losses,
        loss_epochs=(epochs if len(epochs) == len(losses) else np.arange(len(losses))).astype(np.int64),
    )


def _list(path: Path, key: str) -> FloatArray:
    return load_numbers(path, key).ravel() if locate(path, key) is not None else np.empty(0)
