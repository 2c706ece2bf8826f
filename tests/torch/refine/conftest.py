"""A refinement in this process, on a scan whose truth is known."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.metrics import Placed, compare_to_reference
from ptycho_dist.factory.refine import create_refine_payload
from ptycho_dist.launching.environment import detect
from ptycho_dist.launching.signals import StopSignals
from ptycho_dist.refine.run import Callback, Control, RefinementResult, run_refinement
from tests.support.truth import Truth, make_truth

Refine = Callable[..., RefinementResult]


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Make a scan of 49 patterns of 32 by 32 pixels, without noise; not to be changed."""
    return make_truth(tmp_path_factory.mktemp("truth") / "scan.h5")


@pytest.fixture
def refine(tmp_path: Path) -> Refine:
    """Refine a scan into the test's folder; a keyword is a setting."""

    def run(
        path: Path, *, start: Path | None = None, resume: bool = False, callbacks: tuple[Callback, ...] = (),
        name: str = "out", **overrides: Any,
    ) -> RefinementResult:  # fmt: skip
        settings = {"accelerator": "cpu"} | overrides
        payload = create_refine_payload(path, tmp_path / name, settings, start=start)
        with open_scan(path) as scan, StopSignals() as stop:
            control = Control(stop, resume=resume, callbacks=callbacks)
            return run_refinement(payload, detect(os.environ), scan, tmp_path / name / "product.h5", control)

    return run


def phase_error_rad(product: Product, truth: Truth) -> float:
    """Rms phase error over the scanned area, constant and ramp removed."""
    area = scanned_area(illumination(truth.positions_px, truth.probe, truth.object_.shape, np.zeros(2)))
    found = Placed(product.object_, product.geometry.object_origin_px)
    return compare_to_reference(found, Placed(truth.object_, (0.0, 0.0)), area).phase_rmse_rad


def product_of(result: RefinementResult) -> Product:
    """Read what a refinement has written."""
    return read_product(result.product_path)
