"""Scans that are measured while a test runs, and a small network to predict them with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.pipeline import run_infer
from tests.support.runs import simulate_tiny, training_payload, untrained_bundle


@dataclass(frozen=True)
class LiveCase:
    """A scan, a bundle that predicts it, and the object that the prediction of the whole file gives."""

    scan: Path
    bundle: Path
    offline: NDArray[np.complex64]

    def request(self, output_dir: Path, scan: Path | None = None, **overrides: Any) -> RunRequest:
        return request(self.bundle, output_dir, scan, **overrides)


def request(bundle: Path, output_dir: Path, scan: Path | None = None, **overrides: Any) -> RunRequest:
    given = {"execution.accelerator": "cpu", "execution.timeout_s": 20.0} | overrides
    return RunRequest(scan=scan, output_dir=output_dir, model_path=bundle, overrides=given)


def object_of(output_dir: Path) -> NDArray[np.complex64]:
    return read_product(output_dir / "reconstruction.h5").object_


def make_case(folder: Path, **settings: Any) -> LiveCase:
    scan = simulate_tiny(folder / "scan.h5", **settings)
    payload = training_payload(scan, folder / "trained", output_px=settings["N"] // 2)
    with open_scan(scan) as opened:
        bundle = untrained_bundle(payload, opened, noise=0.02)
    run_infer(request(bundle, folder / "offline", scan))
    return LiveCase(scan, bundle, object_of(folder / "offline"))


@pytest.fixture(scope="session")
def case(tmp_path_factory: pytest.TempPathFactory) -> LiveCase:
    """Patterns of 32 squared, with which every way of reading is tried."""
    return make_case(tmp_path_factory.mktemp("live"), n_patterns=150, N=32)


@pytest.fixture(scope="session")
def large_case(tmp_path_factory: pytest.TempPathFactory) -> LiveCase:
    """Patterns of 128 squared, which come 300 a second."""
    return make_case(tmp_path_factory.mktemp("live128"), n_patterns=240, N=128)
