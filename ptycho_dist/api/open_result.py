"""Results as they are read from their files."""

from __future__ import annotations

from pathlib import Path

from ptycho_dist.api.python_words import readable_errors
from ptycho_dist.api.results import Reconstruction, Training
from ptycho_dist.bundle import BUNDLE_FOLDER, find_bundle, read_bundle_info
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import ScanOptions
from ptycho_dist.errors import DataFormatError
from ptycho_dist.report.source import read_source
from ptycho_dist.results import options_of
from ptycho_dist.run_folder import PRODUCTS, held_by, metrics_of, origin_of, product_of


@readable_errors
def open_result(path: Path | str) -> Reconstruction | Training:
    """Open what an earlier call or command has left.

    Parameters
    ----------
    path
        Output folder of ``reconstruct``, ``infer``, ``refine`` or ``train``; a product in one; or a bundle. Of a folder
        with several the final reconstruction is meant, then that of the network, then the trained network.

    Returns
    -------
    Reconstruction or Training
        As the call had returned it.

    Raises
    ------
    DataFormatError
        If nothing such is there, or it is damaged.
    BundleError
        If the bundle of a training is damaged.
    """
    place = Path(path)
    if not place.exists():
        msg = f"{place} is missing; expected the output folder of a run, or a product. Check the path."
        raise DataFormatError(msg)
    if place.is_file() or any((place / name).is_file() for name in PRODUCTS):
        product = product_of(place)
        origin, scan_path = origin_of(product), read_source(product).scan_path
        return read_reconstruction(product, origin.scan or scan_path, options_of(product), origin.reference)
    if (place / BUNDLE_FOLDER).is_dir() or place.name == BUNDLE_FOLDER:
        return read_training(place)
    msg = (
        f"{place} is a folder {held_by(place)}; expected the output folder of train, infer, refine_object or "
        "reconstruct. Give one."
    )
    raise DataFormatError(msg)


def read_training(path: Path) -> Training:
    """Read what a training has left.

    Parameters
    ----------
    path
        Folder of the bundle, or its parent.

    Raises
    ------
    BundleError
        If there is no whole bundle.
    """
    found = find_bundle(path)
    payload = read_bundle_info(found).payload_dict
    losses = tuple(float(loss) for loss in payload.get("history", {}).get("train_loss", ()))
    return Training(path=found, losses=losses, settings=payload)


def read_reconstruction(
    path: Path, scan_path: Path | None, options: ScanOptions, reference: Path | None
) -> Reconstruction:
    """Read a product and the metrics beside it.

    Raises
    ------
    DataFormatError
        If the product is missing, or one of them is damaged.
    """
    product = read_product(path)
    return Reconstruction(
        path=path,
        object_=product.object_,
        probe=product.probe,
        positions_px=product.positions_px,
        object_origin_px=product.geometry.object_origin_px,
        pixel_size_m=product.geometry.pixel_size_m,
        losses=product.losses,
        maps=product.extras,
        metrics=metrics_of(path),
        scan_path=scan_path,
        scan_options=options,
        reference=reference,
    )
