"""Pictures of phases: the truth, two objects that were found, and the errors of both, in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.network.cells import Cell
from benchmarks.network.judge import Truth, placed_product
from benchmarks.network.peer import placed_peer
from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate.metrics import Placed, ReferenceMetrics

_SHARE = 0.25
"""Of the range of the truth, at which an error has the end of its colours."""


@dataclass(frozen=True)
class Row:
    """A scan, and two objects that were found for it.

    Parameters
    ----------
    name
        Of the scan.
    truth
        Its object.
    found
        Two objects, by what is written below them.
    """

    name: str
    truth: Truth
    found: tuple[tuple[str, Placed], tuple[str, Placed]]


def draw_rows(path: Path, titles: tuple[str, str], rows: Sequence[Row], dpi: int = 70) -> None:
    """Draw rows of phases; ``titles`` name the two columns of what was found."""
    columns = ("truth", *titles, *(f"error: {one}" for one in titles))
    figure = Figure(figsize=(2.1 * len(columns), 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for some, row in zip(axes, rows, strict=True):
        _draw_row(some, row)
    for one, title in zip(axes[0], columns, strict=True):
        one.set_title(title, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def draw_cells(path: Path, cells: Sequence[dict[str, Any]], folder: Path) -> None:
    """Draw cells of the matrix, as :func:`~benchmarks.network.matrix.together` gives them; ``folder`` holds them."""
    draw_rows(path, ("closest iterative", "ours"), [_row(cell, folder) for cell in cells])


def _row(cell: dict[str, Any], folder: Path) -> Row:
    own = folder / Cell(cell["photons"], cell["step_percent"], cell["object_name"]).name
    truth = Truth.of(own / "scan.h5")
    name = f"{cell['photons']:g} photons, {cell['step_percent']:g} %"
    closest, ours = ((cell[one]["name"], _placed(own, cell[one], truth)) for one in ("closest", "ours"))
    return Row(name, truth, (closest, ours))


def _placed(folder: Path, told: dict[str, Any], truth: Truth) -> Placed:
    """Find an object where its file is: a product in a folder of its own, or an NPZ."""
    path = Path(told["path"])
    return (
        placed_peer(folder / path.name, told["number"], truth)
        if path.suffix == ".npz"
        else placed_product(folder / path)
    )


def _draw_row(axes: Any, row: Row) -> None:
    compared = [row.truth.compare(placed) for _, placed in row.found]
    true = np.angle(compared[0].reference)
    low, high = np.percentile(true[compared[0].area], (0.5, 99.5))
    span = _SHARE * (high - low)
    labels = [row.name, *(f"{name}: {one.ssim_phase:.3f}" for (name, _), one in zip(row.found, compared, strict=True))]
    phases = [_masked(true, compared[0]), *(_masked(_phase(one), one) for one in compared)]
    errors = [_masked(_phase(one) - np.angle(one.reference), one) for one in compared]
    for one, phase, label in zip(axes, phases, labels, strict=False):
        one.imshow(phase, vmin=low, vmax=high, cmap="viridis")
        one.set_xlabel(label, fontsize=7)
    for one, error in zip(axes[3:], errors, strict=True):
        one.imshow(error, vmin=-span, vmax=span, cmap="RdBu")
        one.set_xlabel(f"colours to +-{span:.2f} rad", fontsize=7)
    for one in axes:
        one.set_xticks([])
        one.set_yticks([])


def _phase(compared: ReferenceMetrics) -> NDArray[np.float64]:
    """Phase of the registered object, on the branch of the truth."""
    reference = np.angle(compared.reference)
    difference = np.angle(compared.registered.object_ * np.exp(-1j * reference))
    return np.asarray(reference + difference)


def _masked(values: NDArray[np.float64], compared: ReferenceMetrics) -> NDArray[np.float64]:
    """Leave out what does not count."""
    rows, columns = (np.flatnonzero(compared.area.any(axis=axis)) for axis in (1, 0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return np.where(compared.area, values, np.nan)[window]
