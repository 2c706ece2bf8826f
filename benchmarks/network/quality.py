"""Objects of a cell by more than one number: phase SSIM gives an empty object good marks where a picture is flat."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.network.judge import Truth, placed_product
from benchmarks.network.peer import METHODS, placed_peer
from ptycho_dist.evaluate.metrics import Placed

_PRODUCT, _NOT_ITERATIVE = "reconstruction.h5", ("network", "ours")


@dataclass(frozen=True)
class Quality:
    """How close an object comes to the truth.

    Parameters
    ----------
    name
        How it was found.
    path
        Its product or NPZ, within the folder of the cell.
    number
        Which of several objects of an NPZ.
    ssim_phase
        Phase SSIM.
    phase_correlation
        Pearson correlation of the phases.
    phase_rmse_rad
        Root mean square error of the phase.
    """

    name: str
    path: str
    number: int
    ssim_phase: float
    phase_correlation: float
    phase_rmse_rad: float

    @property
    def is_finite(self) -> bool:
        """Whether the object could be judged."""
        return all(math.isfinite(one) for one in (self.ssim_phase, self.phase_correlation, self.phase_rmse_rad))


def judge_all(folder: Path) -> dict[str, Any]:
    """Judge all objects in the folder of a cell: ours, an object of ones, and the iterative ones that are finite."""
    truth = Truth.of(folder / "scan.h5")
    ours = _judged(truth, "ours", f"ours/{_PRODUCT}", 0, placed_product(folder / "ours" / _PRODUCT))
    ones = Placed(np.ones_like(truth.placed.object_), truth.placed.origin_px)
    iterative = [_judged(truth, *one) for one in _iterative(folder, truth)]
    return {
        "ours": asdict(ours),
        "ones_ssim_phase": truth.ssim(ones),
        "iterative": [asdict(one) for one in iterative if one.is_finite],
    }


def _iterative(folder: Path, truth: Truth) -> Iterator[tuple[str, str, int, Placed]]:
    for product in sorted(folder.glob(f"*/{_PRODUCT}")):
        name = product.parent.name
        if name not in _NOT_ITERATIVE:
            yield name, f"{name}/{_PRODUCT}", 0, placed_product(product)
    for method in METHODS:
        path = folder / f"{method}.npz"
        if path.is_file():
            with np.load(path) as file:
                epochs, objects = file["epochs"].tolist(), file["objects"]
            for number, count in enumerate(epochs):
                if np.isfinite(objects[number]).all():
                    yield f"pty-chi {method} {count}", path.name, number, placed_peer(path, number, truth)


def _judged(truth: Truth, name: str, path: str, number: int, placed: Placed) -> Quality:
    compared = truth.compare(placed)
    area, reference = compared.area, compared.reference
    true = np.angle(reference * np.conj(reference[area].sum()))
    found = true + np.angle(compared.registered.object_ * np.conj(reference))
    correlation = float(np.corrcoef(found[area], true[area])[0, 1])
    return Quality(name, path, number, float(compared.ssim_phase), correlation, float(compared.phase_rmse_rad))
