"""The stitched object of a dense scan explains its patterns about as well as the groups of its training do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.training_scans import Cell
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.evaluate.fourier import fourier_errors
from ptycho_dist.inference.run import run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.run import run_training
from tests.support.runs import forget_launchers, inference_payload, training_payload


@pytest.mark.parametrize("layout", ["raster", "spiral"])
def test_stitched_error_is_near_that_of_the_groups(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_launchers(monkeypatch)
    path = Cell(N=32, n_patterns=100, defocus_m=2e-5, layout=layout, step_percent=4).write(tmp_path / "scan.h5")
    payload = training_payload(path, tmp_path, max_epochs=8, learning_rate=1e-2)
    with open_scan(path) as scan:
        trained = run_training(payload, detect(os.environ), scan)
        inference = inference_payload(trained.bundle_path, path, tmp_path)
        product = run_inference(inference, detect(os.environ), scan).product_path
        stitched = fourier_errors(read_product(product), scan).error()
    assert trained.fourier_error is not None
    assert stitched < 1.15 * trained.fourier_error
