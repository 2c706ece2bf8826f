"""Near field from the training to the metrics: one setting for every stage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import ptycho_dist as ptd
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.run import evaluate_product
from ptycho_dist.inference.run import load_model, run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.physics.propagators import FarField, NearField, wavelength_m
from ptycho_dist.training.run import TrainingResult, run_training
from tests.support.runs import inference_payload, simulate_tiny, training_payload
from tests.support.truth import Truth, make_truth

UNITS = {"pixel_size_m": 1e-7, "energy_eV": 8000.0, "detector_distance_m": 2e-3}
TRAIN = {"learning_rate": 5e-3, "max_epochs": 8, "logger_backend": "none"}


@pytest.fixture
def near(tmp_path: Path) -> Truth:
    like = torch.zeros((), dtype=torch.complex128)
    return make_truth(
        tmp_path / "near.h5", propagator=NearField.over(32, 1e-7, wavelength_m(8000.0), 2e-3, like), **UNITS
    )


def train(scan: Path, folder: Path, **settings: object) -> TrainingResult:
    with open_scan(scan) as opened:
        return run_training(training_payload(scan, folder, **(TRAIN | settings)), detect(os.environ), opened)


def test_near_field_is_trained_predicted_and_evaluated(near: Truth, tmp_path: Path) -> None:
    right = train(near.path, tmp_path / "near", propagation="near_field")
    wrong = train(near.path, tmp_path / "far")
    assert right.losses[-1] < 0.5 * wrong.losses[-1]
    payload = inference_payload(right.bundle_path, near.path, tmp_path / "out")
    with open_scan(near.path) as scan:
        assert isinstance(load_model(payload, scan)[0].optics.propagator, NearField)
        product = run_inference(payload, detect(os.environ), scan).product_path
        error = evaluate_product(product, scan, tmp_path / "out")["fourier_error"]
    assert error < 1.5 * right.losses[-1] ** 0.5
    assert read_product(product).metadata.propagation.kind == "near_field"


def test_source_distance_of_a_far_field_is_refused(tmp_path: Path) -> None:
    scan = simulate_tiny(tmp_path / "scan.h5")
    with pytest.raises(ConfigError, match=r"source_distance_m = 0\.1 with propagation far_field"):
        training_payload(scan, tmp_path / "out", source_distance_m=0.1)


def test_start_of_another_propagation_is_refused(near: Truth, tmp_path: Path) -> None:
    made = {"devices": 1, "accelerator": "cpu", "iterations": 1}
    product = ptd.refine_object(near.path, output_dir=tmp_path / "one", propagation="near_field", **made)
    with pytest.raises(ConfigError, match=r"propagation near_field, but data\.propagation = far_field"):
        ptd.refine_object(near.path, start=product, output_dir=tmp_path / "two", propagation="far_field", **made)
    again = ptd.refine_object(near.path, start=product, output_dir=tmp_path / "two", **made)
    assert read_product(again.path).metadata.propagation.kind == "near_field"


def test_bundle_of_the_far_field_does_not_predict_the_near_field(near: Truth, tmp_path: Path) -> None:
    bundle = train(near.path, tmp_path / "far", max_epochs=1).bundle_path
    with pytest.raises(ConfigError, match="trained with 'far_field'"):
        inference_payload(bundle, near.path, tmp_path / "out", propagation="near_field")
    with open_scan(near.path) as scan:
        model = load_model(inference_payload(bundle, near.path, tmp_path / "out"), scan)[0]
    assert isinstance(model.optics.propagator, FarField)


@pytest.mark.parametrize("kind", ["near_field", "mid_field"])
def test_propagation_that_cannot_be_is_refused_before_the_training(tmp_path: Path, kind: str) -> None:
    scan = make_truth(tmp_path / "scan.h5").path
    expected = (
        "does not say pixel_size_m, energy_eV, detector_distance_m" if kind == "near_field" else "one of far_field"
    )
    with pytest.raises(ConfigError, match=expected):
        training_payload(scan, tmp_path / "out", propagation=kind)


def test_far_field_needs_no_units(tmp_path: Path) -> None:
    assert training_payload(simulate_tiny(tmp_path / "s.h5"), tmp_path).data_config.propagation == "far_field"


def test_set_of_near_field_scans_is_trained_each_with_its_own_geometry(tmp_path: Path) -> None:
    like, folder = torch.zeros((), dtype=torch.complex128), tmp_path / "set"
    for number, distance_m in enumerate((2e-3, 4e-3)):
        propagator = NearField.over(32, 1e-7, wavelength_m(8000.0), distance_m, like)
        units = UNITS | {"detector_distance_m": distance_m}
        make_truth(folder / f"{number}.h5", propagator=propagator, **units)
    write_index(folder, [entry_of(folder / f"{number}.h5") for number in (0, 1)])

    def losses(name: str, **settings: object) -> tuple[float, ...]:
        payload = training_payload(folder, tmp_path / name, **(TRAIN | settings))
        with open_set(folder) as scans:
            return run_training(payload, detect(os.environ), scans).losses

    assert losses("near", propagation="near_field")[-1] < 0.5 * losses("far")[-1]
