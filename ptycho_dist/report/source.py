"""What a report is made of: product, metrics, tables and record of a folder of results."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.bundle import BUNDLE_FOLDER, INFO_NAME
from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.errors import DataFormatError
from ptycho_dist.run_folder import NETWORK, PRODUCT, PRODUCTS, held_by, json_object, metrics_of, prefix_of, product_of
from ptycho_dist.run_record import REFINEMENT, read_record
from ptycho_dist.types import FloatArray

_FRAMES = "frames.csv"
_TRAINING_LOG, _REFINEMENT_LOG = Path("logs/metrics.csv"), Path("logs/refine.csv")
Table = Mapping[str, FloatArray]
"""Columns of numbers by name; NaN where a cell is empty."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder of results as read.

    Parameters
    ----------
    folder, product_path
        The folder, and its product; None for a training alone.
    product, network
        The product, and the prediction of the network that it was refined from; None where there is none.
    metrics
        Content of ``metrics.json``; empty where there is none.
    frames, training, refinement
        Tables: errors of the patterns, steps and epochs of a training, iterations of a refinement.
    record
        Content of ``run.json``.
    bundle
        What the bundle beside them says of the training; empty without one.
    """

    folder: Path
    product_path: Path | None
    product: Product | None
    network: Product | None
    metrics: Mapping[str, Any]
    frames: Table
    training: Table
    refinement: Table
    record: Mapping[str, Any]
    bundle: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the results are called: name of the product or of the scan, else of the folder."""
        if self.product is not None and self.product.metadata.name:
            return self.product.metadata.name
        scan = self.settings("training").get("training", {}).get("train_data_file")
        return Path(scan).stem if scan else self.folder.resolve().name

    @property
    def product_checksum(self) -> str:
        """Checksum of the scan that the product was made from; empty where that is not known."""
        return "" if self.product is None else self.product.scan_checksum

    @property
    def pixel_size_m(self) -> float:
        """Object pixel; NaN where unknown."""
        return float("nan") if self.product is None else self.product.geometry.pixel_size_m

    def settings(self, stage: str) -> Mapping[str, Any]:
        """Give the settings of a stage by section; empty where it did not run, or where they are not known."""
        recorded = self.record.get("stages", {}).get(stage, {}).get("settings")
        if recorded is not None:
            return dict(recorded)
        payload = {} if self.product is None else self.product.metadata.provenance.get("payload", {})
        marks = {"prediction": "inference", "refinement": "refine"}
        if stage == "training":
            return self.bundle
        return dict(payload) if marks[stage] in payload else {}

    @property
    def scan_path(self) -> Path | None:
        """Scan that the results are of; None where that is not known."""
        for stage, section, key in (
            ("refinement", "refine", "scan"),
            ("prediction", "inference", "test_data_file"),
            ("training", "training", "train_data_file"),
        ):
            path = self.settings(stage).get(section, {}).get(key)
            if path:
                return Path(path)
        return None


def read_source(place: Path, evaluated_in: Path | None = None) -> Source:
    """Read a folder of results, or a product and what lies beside it.

    Parameters
    ----------
    place
        Folder that a command has written, or a product in one.
    evaluated_in
        Folder of its metrics; that of the product where not given.

    Raises
    ------
    DataFormatError
        If there is neither a product nor a training, or a file of it is damaged.
    """
    folder = place if place.is_dir() else place.parent
    bundle = _bundle(folder)
    holds_product = not place.is_dir() or any((place / name).is_file() for name in PRODUCTS)
    if not holds_product and not bundle:
        msg = (
            f"{place} is a folder {held_by(place)}; expected a product, or the output folder of train, infer, refine, "
            "reconstruct or evaluate. Give one."
        )
        raise DataFormatError(msg)
    path = product_of(place) if holds_product else None
    metrics = {} if path is None else metrics_of(path, evaluated_in)
    is_of_run = path is None or path.name in PRODUCTS
    is_final = path is None or path.name == PRODUCT
    network = folder / NETWORK
    return Source(
        folder=folder,
        product_path=path,
        product=None if path is None else read_product(path),
        network=read_product(network) if path is not None and is_final and network.is_file() else None,
        metrics=metrics,
        frames=read_table((evaluated_in or folder) / f"{prefix_of(path)}{_FRAMES}") if path and metrics else {},
        training=read_table(folder / _TRAINING_LOG) if is_of_run else {},
        refinement=read_table(folder / _REFINEMENT_LOG) if is_final else {},
        record=_record_until(folder, is_final=is_final) if is_of_run else {},
        bundle=bundle if is_of_run else {},
    )


def _record_until(folder: Path, *, is_final: bool) -> dict[str, Any]:
    """Read the record of a run; of what is not its final product, without the refinement that came after."""
    record = read_record(folder)
    if is_final or not record:
        return record
    return record | {"stages": {name: one for name, one in record["stages"].items() if name != REFINEMENT}}


def read_table(path: Path) -> dict[str, FloatArray]:
    """Read a table of numbers, float64 by column, NaN where a cell is empty; nothing where there is no file.

    Raises
    ------
    DataFormatError
        If a cell is no number.
    """
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    try:
        return {
            name: np.array([float(row[name] or "nan") for row in rows], np.float64)
            for name in (rows[0] if rows else ())
            if name is not None
        }
    except (TypeError, ValueError) as error:
        msg = f"{path} is not a table of numbers ({error}); expected one that this program wrote. Remove it."
        raise DataFormatError(msg) from error


def _bundle(folder: Path) -> dict[str, Any]:
    """Read what a bundle says of the training that made it; empty without one."""
    payload = json_object(folder / BUNDLE_FOLDER / INFO_NAME, "what a bundle says of itself").get("payload", {})
    return payload if isinstance(payload, dict) else {}
