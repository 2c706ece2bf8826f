"""What is meant where a run's folder is named in place of a file in it: its product, and what that was made from.

Pure: only names and JSON are read, neither torch nor HDF5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import DataFormatError

PRODUCT, NETWORK, INTERIM = PRODUCTS = ("reconstruction.h5", "network.h5", "interim.h5")
"""Products that a run leaves, the first that is there is meant by its folder: final, of the network, of a live view."""
METRICS = "metrics.json"
SCAN, REFERENCE = "scan", "reference"
"""Entries of the metrics: the files that a product was compared with."""
_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a product was made from and compared with, as far as its metrics say.

    Parameters
    ----------
    scan, reference
        Files; None where nothing is said of them.
    """

    scan: Path | None = None
    reference: Path | None = None


def product_of(path: Path) -> Path:
    """Find the product that a path means: the file itself, or the best one in a run's folder.

    Parameters
    ----------
    path
        A file (which may be missing; whoever reads it says so), or the output folder of a run.

    Raises
    ------
    DataFormatError
        If it is a folder without a product; names what the folder holds.
    """
    if not path.is_dir():
        return path
    found = next((path / name for name in PRODUCTS if (path / name).is_file()), None)
    if found is None:
        msg = (
            f"{path} is a folder {held_by(path)}; expected a run's folder with {' or '.join(PRODUCTS)}, or a file. "
            "Name the file that is meant."
        )
        raise DataFormatError(msg)
    return found


def held_by(folder: Path) -> str:
    """Say in words what a folder holds; hidden names are left out."""
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"with {', '.join(names[:_LISTED])}{more}" if names else "with nothing in it"


def prefix_of(product: Path) -> str:
    """Tell what the names of the files beside a product (metrics, picture, table) begin with."""
    return f"{product.stem}_" if product.name in (NETWORK, INTERIM) else ""


def metrics_of(product: Path, folder: Path | None = None) -> dict[str, Any]:
    """Read the metrics of a product; empty where there are none, or those of another product.

    Parameters
    ----------
    product
        Product file.
    folder
        Where they are; beside the product where not given.

    Raises
    ------
    DataFormatError
        If the file is no JSON object.
    """
    metrics = json_object((folder or product.parent) / (prefix_of(product) + METRICS), "the metrics of a product")
    return metrics if metrics.get("product") == product.name else {}


def json_object(path: Path, expected: str) -> dict[str, Any]:
    """Read a file that holds a JSON object; empty where there is no file.

    Parameters
    ----------
    path
        The file.
    expected
        What it is to hold, in words.

    Raises
    ------
    DataFormatError
        If it holds anything else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        msg = f"{path} is not JSON ({error}); expected {expected}. Move it away."
        raise DataFormatError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} holds a {type(content).__name__}; expected {expected}. Move it away."
        raise DataFormatError(msg)
    return content


def origin_of(product: Path) -> Origin:
    """Find what a product was made from and compared with; raises as :func:`metrics_of`."""
    metrics = metrics_of(product)
    return Origin(**{name: Path(metrics[name]) for name in (SCAN, REFERENCE) if isinstance(metrics.get(name), str)})
