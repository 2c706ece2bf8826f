"""A whole scan is predicted a few patterns at a time, and judged by its patterns and by the object that it holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.datamodule import read_groups
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.evaluate import whole_scan
from ptycho_dist.evaluate.group_error import fourier_error, squared_residual
from ptycho_dist.evaluate.whole_scan import ScanQuality, compact_rows, judge_scan, mean_quality
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.training.run import build_module
from tests.support.runs import simulate_tiny, training_payload, untrained_bundle


def with_random_weights(scan: Scan, folder: Path, **settings: Any) -> tuple[TrainingPayload, PtychoModel]:
    payload = training_payload(scan.header.path, folder, **settings)
    model = build_module(payload, scan, 1).model
    model.load_state_dict(load_bundle(untrained_bundle(payload, scan)).state)
    return payload, model


@pytest.mark.parametrize("exchange", [True, False])
def test_error_is_that_of_all_patterns_at_once_on_one_canvas(
    tiny_scan: Scan, tmp_path: Path, exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, model = with_random_weights(tiny_scan, tmp_path, exchange=exchange)
    rows = np.arange(len(tiny_scan))
    expected = fourier_error(squared_residual(model, read_groups(tiny_scan, [rows], payload.count_factor)))
    for piece in (64, 7, 1):
        monkeypatch.setattr(whole_scan, "_PIECE", piece)
        found = judge_scan(model, tiny_scan, rows, payload.data_config, payload.count_factor)
        assert math.sqrt(found.misfit / found.photons) == pytest.approx(expected, rel=1e-5)


def test_patterns_that_are_seen_together_are_predicted_whatever_the_pieces(
    tiny_scan: Scan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, model = with_random_weights(tiny_scan, tmp_path, gridsize=2, group_as_channels=True)
    rows = compact_rows(tiny_scan, 11)
    misfits = []
    for piece in (64, 3):
        monkeypatch.setattr(whole_scan, "_PIECE", piece)
        misfits.append(judge_scan(model, tiny_scan, rows, payload.data_config, payload.count_factor).misfit)
    assert misfits[1] == pytest.approx(misfits[0], rel=1e-5)


def test_compact_rows_are_those_around_the_middle(tiny_scan: Scan) -> None:
    rows = compact_rows(tiny_scan, 9)
    assert len(rows) == 9
    assert (np.diff(rows) > 0).all()
    distance = np.linalg.norm(tiny_scan.positions_px - np.median(tiny_scan.positions_px, axis=0), axis=1)
    assert distance[rows].max() <= np.delete(distance, rows).min()
    assert compact_rows(tiny_scan, 1000).tolist() == list(range(len(tiny_scan)))


def test_object_of_the_scan_is_alike_to_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_scan(simulate_tiny(tmp_path / "scan.h5", n_patterns=70)) as scan:
        payload, model = with_random_weights(scan, tmp_path)
        rows = compact_rows(scan, 40)
        blurred = judge_scan(model, scan, rows, payload.data_config, payload.count_factor).similarity
        monkeypatch.setattr(whole_scan, "_object", _truth(scan, rows, payload.data_config.N))
        exact = judge_scan(model, scan, rows, payload.data_config, payload.count_factor).similarity
    assert exact["ssim_phase"] == pytest.approx(1.0, abs=1e-3)
    assert exact["ssim_amplitude"] == pytest.approx(1.0, abs=1e-3)
    assert blurred["ssim_phase"] < 0.9


def _truth(scan: Scan, rows: Any, N: int) -> Any:
    """Stand for a network that knows the object."""
    held, origin_px = scan.object_, scan.object_origin_px
    assert held is not None
    assert origin_px is not None
    low = (np.floor(scan.positions_px[rows].min(axis=0)) - origin_px).astype(int)

    def make(_model: PtychoModel, _pieces: Any, weight_HW: torch.Tensor, _scale: float) -> torch.Tensor:
        rows_px, columns_px = weight_HW.shape
        cut = held[low[0] : low[0] + rows_px, low[1] : low[1] + columns_px]
        canvas = np.ones((rows_px, columns_px), np.complex64)
        canvas[: cut.shape[0], : cut.shape[1]] = cut
        return torch.from_numpy(canvas)

    return make


def test_mean_counts_patterns_in_the_error_and_scans_in_the_similarity() -> None:
    scans = [ScanQuality(1.0, 100.0, {"ssim_phase": 0.5}), ScanQuality(5.0, 50.0, {"ssim_phase": 0.9}),
             ScanQuality(0.0, 0.0, {})]  # fmt: skip
    assert mean_quality(scans) == pytest.approx({"fourier_error": 0.2, "ssim_phase": 0.7})
