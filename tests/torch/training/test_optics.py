"""Probe modes, support and background that are trained with the network, down to bundle, product and metrics."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.datamodule import StepDataset
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.sampler import StepShare
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.errors import ConfigError, PhysicsError
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.inference.run import load_model, run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.optics import Optics, OpticsOptions
from ptycho_dist.physics.probe import disc, mode_powers
from ptycho_dist.training.run import build_module, run_training
from tests.support.runs import inference_payload, training_payload
from tests.support.sets import simulate_small_set
from tests.support.truth import make_truth

TRAIN: dict[str, Any] = {"learning_rate": 5e-3, "max_epochs": 3, "logger_backend": "none"}


def train(path: Path, folder: Path, **changes: Any) -> Path:
    payload = training_payload(path, folder, **(TRAIN | changes))
    with open_scan(path) as scan:
        return run_training(payload, detect(os.environ), scan).bundle_path


def model_of(bundle: Path, path: Path, folder: Path, **changes: Any) -> PtychoModel:
    with open_scan(path) as scan:
        return load_model(inference_payload(bundle, path, folder, **changes), scan)[0]


def predict(bundle: Path, path: Path, folder: Path) -> dict[str, Any]:
    """Predict and evaluate; returns the metrics."""
    with open_scan(path) as scan:
        result = run_inference(inference_payload(bundle, path, folder), detect(os.environ), scan)
        evaluate_product(result.product_path, scan, folder)
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def test_trained_modes_are_orthogonal_and_their_powers_are_told(
    tiny_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="ptycho_dist"):
        bundle = train(tiny_path, tmp_path, n_modes=3)
    probe = torch.view_as_complex(load_bundle(bundle).state["optics.probe_parts"])
    gram = torch.einsum("pyx,qyx->pq", probe, probe.conj())
    powers = load_bundle(bundle).payload_dict["mode_powers"]
    assert powers == pytest.approx((gram.diagonal().real / gram.diagonal().real.sum()).tolist(), rel=1e-4)
    assert powers == sorted(powers, reverse=True)
    assert gram.fill_diagonal_(0).abs().max() < 1e-5 * probe.abs().square().sum()
    assert f"power fractions of the probe modes: {powers[0]:.1%}" in caplog.text
    metrics = predict(bundle, tiny_path, tmp_path)
    assert metrics["mode_powers"] == pytest.approx(powers, rel=1e-4)
    product = read_product(tmp_path / "reconstruction.h5")
    assert mode_powers(torch.from_numpy(product.probe)) == pytest.approx(powers, rel=1e-4)


def test_probe_stays_zero_outside_its_support(tiny_path: Path, tmp_path: Path) -> None:
    before = build_probe(tiny_path, tmp_path)
    bundle = train(tiny_path, tmp_path / "run", n_modes=2, probe_support_px=13.0)
    inside = disc(32, 13.0)
    stored = torch.view_as_complex(load_bundle(bundle).state["optics.probe_parts"])
    assert stored[:, ~inside].abs().max() == 0
    assert (stored[:, inside].abs() > 0).all()
    assert (stored[0] - before)[inside].abs().max() > 0
    probe = model_of(bundle, tiny_path, tmp_path).optics.probe.detach()
    assert torch.equal(probe, stored)


def half_plane(path: Path, copy: Path) -> tuple[Path, torch.Tensor]:
    """Copy a scan with a probe mask of no symmetry; returns it and the mask."""
    inside = np.add.outer(np.arange(32), 2 * np.arange(32)) > 44
    with h5py.File(shutil.copy(path, copy), "r+") as file:
        file["probe_mask"] = inside.astype(np.uint8)
    return copy, torch.from_numpy(inside)


@pytest.mark.parametrize("support_px", [None, 13.0])
def test_probe_stays_zero_outside_the_mask_of_the_scan(
    tiny_path: Path, tmp_path: Path, support_px: float | None
) -> None:  # fmt: skip
    before = build_probe(tiny_path, tmp_path)
    masked, inside = half_plane(tiny_path, tmp_path / "masked.h5")
    if support_px is not None:
        inside &= disc(32, support_px)
    start = build_probe(masked, tmp_path, probe_support_px=support_px)
    assert torch.equal(start, torch.where(inside, before, 0))
    bundle = train(masked, tmp_path / "run", n_modes=2, probe_support_px=support_px)
    stored = torch.view_as_complex(load_bundle(bundle).state["optics.probe_parts"])
    assert stored[:, ~inside].abs().max() == 0
    assert (stored[:, inside].abs() > 0).all()
    assert (stored[0] - before)[inside].abs().max() > 0
    for path in (masked, tiny_path):
        assert torch.equal(model_of(bundle, path, tmp_path).optics.probe.detach(), stored)


def test_probe_of_another_scan_is_cut_to_its_own_mask(tiny_path: Path, tmp_path: Path) -> None:
    before = build_probe(tiny_path, tmp_path)
    masked, inside = half_plane(tiny_path, tmp_path / "masked.h5")
    bundle = train(masked, tmp_path / "run")
    for path, expected in ((masked, torch.where(inside, before, 0)), (tiny_path, before)):
        probe = model_of(bundle, path, tmp_path, probe_from="scan").optics.probe.detach()
        assert torch.equal(probe[0], expected)


def test_probes_of_a_set_are_cut_to_the_masks_of_their_scans(tiny_path: Path, tmp_path: Path) -> None:
    before = build_probe(tiny_path, tmp_path)
    (tmp_path / "set").mkdir()
    masked, inside = half_plane(tiny_path, tmp_path / "set" / "1.h5")
    shutil.copy(tiny_path, tmp_path / "set" / "0.h5")
    write_index(tmp_path / "set", [entry_of(tmp_path / "set" / "0.h5"), entry_of(masked)])
    payload = training_payload(tmp_path / "set", tmp_path / "run", group_size=4)
    share = StepShare(((0, (np.array([2, 0]),)), (1, (np.array([5]),))), 1.0, 3, 3)
    with open_set(tmp_path / "set") as scans:
        module = build_module(payload, scans, 1)
        optics = [module.model_of(part).optics for part in StepDataset(scans, payload.photons)[share].parts]
    assert torch.equal(optics[0].probe[0], before)
    assert torch.equal(optics[1].probe[0], torch.where(inside, before, 0))


def build_probe(path: Path, folder: Path, **changes: Any) -> torch.Tensor:
    with open_scan(path) as scan:
        return build_module(training_payload(path, folder, **changes), scan, 1).model.optics.probe.detach()[0]


def test_support_without_light_is_refused() -> None:
    probe = torch.zeros(1, 32, 32, dtype=torch.complex64)
    probe[:, :4, :4] = 1
    with pytest.raises(PhysicsError, match=r"none of the supplied probe's energy.*Enlarge data.probe_support_px"):
        Optics(probe, 1e4, OpticsOptions(support_px=6.0))
    with pytest.raises(PhysicsError, match=r"holds 256 pixels and none of .* or probe_mask in the scan file"):
        Optics(probe, 1e4, OpticsOptions(probe_mask_NN=torch.arange(32).expand(32, 32) > 23))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "pixel"])
def test_background_of_the_counts_is_found(tmp_path: Path, kind: str) -> None:
    foggy = make_truth(tmp_path / "fog.h5", background=20.0, photons=1e5).path
    changes = {"max_epochs": 30, "group_size": 7, "width": 8, "learning_rate": 1e-2}
    with_it = train(foggy, tmp_path / "with", background=kind, background_learning_rate=0.1, **changes)
    without = train(foggy, tmp_path / "without", **changes)
    metrics = predict(with_it, foggy, tmp_path / "with")
    found = read_product(tmp_path / "with" / "reconstruction.h5").extras["background"]
    assert found.shape == (32, 32)
    assert found.min() >= 0
    assert np.median(found) == pytest.approx(20.0, rel=0.15)
    assert metrics["fourier_error"] < 0.7 * predict(without, foggy, tmp_path / "without")["fourier_error"]


def test_background_is_refused_where_nothing_tells_it(tiny_path: Path, tmp_path: Path) -> None:
    scans = simulate_small_set(tmp_path / "set")
    with pytest.raises(ConfigError, match=r"data\.background = 'pixel' with a set of scans"):
        training_payload(scans, tmp_path, background="pixel")
    labelled = {"mode": "supervised", "probe_trainable": False}
    with pytest.raises(ConfigError, match=r"data\.background = 'pixel' with training\.mode = 'supervised'"):
        training_payload(tiny_path, tmp_path, background="pixel", **labelled)
