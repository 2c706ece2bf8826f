"""Evaluate a product again: what an earlier evaluation found and this one does not look at stays."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.comparison import REFUSAL
from ptycho_dist.evaluate.metrics import METRIC_NAMES
from ptycho_dist.evaluate.metrics_file import write_metrics
from ptycho_dist.run_folder import METRICS, metrics_of, prefix_of

logger = logging.getLogger(__name__)

_REASONS = "null_reasons"
_SHOWN = ("fourier_error", *METRIC_NAMES)
"""Metrics that pictures show."""


@contextmanager
def evaluation_into(folder: Path, product: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a folder for the files of an evaluation; at the end they join, or replace, those that are there.

    Parameters
    ----------
    folder
        Where the files are to be.
    product
        What is evaluated.
    overwrite
        Whether files of an earlier evaluation are replaced as a whole.

    Raises
    ------
    ConfigError
        If the folder has the metrics of something else.
    DataFormatError
        If the metrics beside the product cannot be understood.
    """
    earlier = {} if overwrite else _earlier(folder, product)
    folder.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".evaluation-", dir=folder))
    try:
        yield staged
        _publish(staged, folder, prefix_of(product) + METRICS, earlier)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _earlier(folder: Path, product: Path) -> dict[str, Any]:
    """Read the metrics of the same product that are there."""
    path = folder / (prefix_of(product) + METRICS)
    if not path.exists():
        return {}
    found = metrics_of(product) if folder.resolve() == product.resolve().parent else {}
    if not found:
        msg = (
            f"{path} exists, and is not of {product}; expected a folder without metrics, or that of the product. "
            "Choose another --output_dir, or give --overwrite."
        )
        raise ConfigError(msg)
    return found


def _publish(staged: Path, folder: Path, metrics_name: str, earlier: dict[str, Any]) -> None:
    new = json.loads((staged / metrics_name).read_text(encoding="utf-8"))
    kept = _kept(earlier, new)
    if kept:
        reasons = earlier.get(_REASONS, {}) | new.get(_REASONS, {})
        joined = {**kept, **new}
        told = {name: reason for name, reason in reasons.items() if joined.get(name, 0) is None}
        write_metrics(staged / metrics_name, joined | ({_REASONS: told} if told else {}))
    shows_less = [name for name in kept if name in _SHOWN and kept[name] is not None]
    staying = []
    for path in sorted(staged.iterdir()):
        target = folder / path.name
        if shows_less and path.suffix in (".png", ".html") and target.exists():
            staying.append(target.name)
        else:
            path.replace(target)
    if staying:
        logger.warning(
            "%s keeps %s of an earlier evaluation, and %s, which shows them, stays as it is; give --scan or "
            "--reference to find them anew, or --overwrite to leave them out",
            folder / metrics_name,
            ", ".join(shows_less),
            ", ".join(staying),
        )


def _kept(earlier: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Select what only the earlier evaluation found; a refusal of a reference ends where one is compared with."""
    ended = {_REASONS} | ({REFUSAL} if any(new.get(name) is not None for name in METRIC_NAMES) else set())
    return {name: value for name, value in earlier.items() if name not in new and name not in ended}
