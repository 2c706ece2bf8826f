"""The object so far: each pattern is predicted once, and the canvas grows with the scan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ptycho_dist.config.sections import INFERENCE_SECTIONS
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.factory.inference import read_trained
from ptycho_dist.launching.environment import detect
from ptycho_dist.live.arrivals import Arrived
from ptycho_dist.live.beginning import Beginning
from ptycho_dist.live.canvas import GrowingCanvas
from ptycho_dist.live.interim import InterimObject, Picture
from ptycho_dist.pipeline import run_infer
from ptycho_dist.types import Canvas
from tests.support.runs import training_payload, untrained_bundle
from tests.torch.live.conftest import LiveCase, object_of, request


def arrivals(scan: Scan, size: int) -> list[Arrived]:
    parts = np.split(np.arange(len(scan)), range(size, len(scan), size))
    return [Arrived(rows, scan.read_numbers(rows), scan.positions_px[rows]) for rows in parts]


def interim_of(bundle: Path, scan: Scan, folder: Path, parts: list[Arrived]) -> InterimObject:
    levels = request(bundle, folder).levels(INFERENCE_SECTIONS)
    beginning = Beginning(read_trained(bundle, levels), detect(os.environ), folder)
    interim = beginning.interim(beginning.scan_of(scan.raw, Arrived.joined(parts)))
    for one in parts:
        interim.add(one)
    return interim


def likeness(picture: Picture, offline: NDArray[np.complex64]) -> float:
    """Correlation of the changes from an empty object, 0 to 1, up to one phase."""
    one, other = picture.object_ - picture.object_.mean(), offline - offline.mean()
    return float(abs(np.vdot(one, other)) / (np.linalg.norm(one) * np.linalg.norm(other)))


def test_all_patterns_at_once_give_the_object_of_the_whole_file(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan:
        picture = interim_of(case.bundle, scan, tmp_path, arrivals(scan, 150)).picture()
    assert picture.object_.shape == case.offline.shape
    np.testing.assert_allclose(picture.object_, case.offline, atol=2e-4)


@pytest.mark.parametrize("size", [25, 60])
def test_patterns_that_come_in_parts_give_nearly_that_object(case: LiveCase, tmp_path: Path, size: int) -> None:
    with open_scan(case.scan) as scan:
        interim = interim_of(case.bundle, scan, tmp_path, arrivals(scan, size))
    assert interim.n_patterns == 150
    assert likeness(interim.picture(), case.offline) > 0.8


@pytest.mark.parametrize(
    "changes",
    [{"exchange": False, "stages": 1}, {"group_as_channels": True, "gridsize": 2, "exchange": False, "stages": 1}],
    ids=["alone", "groups"],
)
def test_networks_without_exchange_are_shown_too(case: LiveCase, tmp_path: Path, changes: dict[str, Any]) -> None:
    payload = training_payload(case.scan, tmp_path / "trained", output_px=16, **changes)
    with open_scan(case.scan) as scan:
        bundle = untrained_bundle(payload, scan, noise=0.02)
        run_infer(request(bundle, tmp_path / "offline", case.scan))
        offline = object_of(tmp_path / "offline")
        whole = interim_of(bundle, scan, tmp_path, arrivals(scan, 150)).picture()
        parts = interim_of(bundle, scan, tmp_path, arrivals(scan, 50))
    assert parts.n_patterns == 150
    assert likeness(whole, offline) > 0.98
    assert likeness(parts.picture(), offline) > 0.8


def test_patterns_without_any_count_are_left_out(case: LiveCase, tmp_path: Path) -> None:
    with open_scan(case.scan) as scan:
        parts = arrivals(scan, 150)
        parts[0].counts[40:45] = 0
        interim = interim_of(case.bundle, scan, tmp_path, parts)
    assert interim.n_patterns == 145
    assert np.isfinite(interim.picture().object_).all()


def test_canvas_grows_to_every_side_and_keeps_its_sums() -> None:
    rng, canvas, truth = (
        np.random.default_rng(3),
        GrowingCanvas(2, torch.complex64, torch.device("cpu")),
        np.zeros((90, 90)),
    )
    for y, x in rng.integers(0, 80, (200, 2)):
        tile = Canvas((float(y - 40), float(x - 40)), (10, 10))
        canvas.hold(tile)
        sums, weight = canvas.on(tile)
        sums[1] += 1.0
        weight += 1.0
        truth[y : y + 10, x : x + 10] += 1
    sums, weight = canvas.on(canvas.used)
    top, left = (int(one) + 40 for one in canvas.used.origin_px)
    rows, columns = canvas.used.shape
    np.testing.assert_array_equal(weight.numpy(), truth[top : top + rows, left : left + columns])
    np.testing.assert_array_equal(sums[1].numpy().real, weight.numpy())
    assert truth[:top].sum() == truth[:, :left].sum() == 0
