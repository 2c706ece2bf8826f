"""One description of the measurement: every field of it reaches every stage, or is refused by name."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ptycho_dist.bundle import read_bundle_info
from ptycho_dist.config.measurement import MeasurementConfig
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.data.formats.product_h5 import BACKGROUND, Product, read_product
from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.pipeline import run_infer, run_reconstruct, run_refine, run_train
from ptycho_dist.results import run_evaluate
from tests.support.runs import simulate_tiny

SMALL = {"training.max_epochs": 2, "model.width": 8, "refine.iterations": 3, "execution.accelerator": "cpu"}
NEAR = {"data.propagation": "near_field", "data.detector_distance_m": 2.0}
VALUES: dict[str, Any] = {
    "file_format": "ptycho_dist_h5",
    "intensity_kind": "amplitude",
    "counts_per_photon": 4.0,
    "mask": "mask.npy",
    "mask_polarity": "invalid",
    "dark": "dark.npy",
    "flat": "flat.npy",
    "monitor": "monitor.npy",
    "mask_saturated": True,
    "drop_frames": "3,4",
    "transpose": True,
    "flip_rows": True,
    "flip_columns": True,
    "swap_positions": True,
    "negate_y": True,
    "negate_x": True,
    "position_unit": "nm",
    "pixel_size_m": 20e-9,
    "energy_eV": 8000.0,
    "detector_distance_m": 2.0,
    "map": "scan_map.yaml",
    "positions_file": "positions.csv",
    "angle_per_pixel_rad": 1e-4,
    "scan_step_m": 1e-9,
    "scan_shape": [5, 5],
    "hot_pixel_ratio": 3.0,
    "crop_px": 24,
    "beam_center_px": [15.0, 17.0],
    "binning": 2,
    "detector_pixel_m": 4.843e-4,
    "probe": "mean_pattern",
    "propagation": "near_field",
    "source_distance_m": 1.0,
    "probe_support_px": 20.0,
    "n_modes": 2,
    "probe_trainable": False,
    "background": "pixel",
}
SCAN_MAP = """patterns: {path: patterns}
positions: {both: {path: positions_px, unit: px}, axes: [point, [y, x]]}
probe: {path: probe}
"""
CORRECTIONS = {
    "dark": np.full((32, 32), 3.0),
    "flat": np.linspace(0.5, 1.5, 1024).reshape(32, 32),
    "monitor": np.linspace(1.0, 3.0, 25),
}
DAILY = {"mask", "drop_frames", "flip_rows", "propagation", "n_modes", "background"}
"""Fields whose test runs every day; the others run with the exhaustive tests."""
WITHOUT_EFFECT = {
    "file_format",
    "mask_saturated",
    "pixel_size_m",
    "energy_eV",
    "detector_distance_m",
    "detector_pixel_m",
    "hot_pixel_ratio",
    "map",
    "angle_per_pixel_rad",
    "scan_step_m",
    "scan_shape",
}
"""These say what is so anyway, in the scan of this test."""
UNUSED = {"positions_file"}
"""What has no use for a scan with positions is refused."""


def test_no_field_is_forgotten() -> None:
    assert set(VALUES) == {field.name for field in fields(MeasurementConfig)}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_tiny(tmp_path_factory.mktemp("measured") / "scan.h5")


@pytest.fixture(scope="module")
def plain(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Fourier errors of network and refinement where nothing is said."""
    folder = tmp_path_factory.mktemp("plain")
    run_reconstruct(RunRequest(scan=scan, output_dir=folder, overrides=SMALL))
    return errors(folder)


def errors(folder: Path) -> dict[str, float]:
    names = ("network_metrics.json", "metrics.json")
    return {name: json.loads((folder / name).read_text())["fourier_error"] for name in names}


def settings_of(name: str, folder: Path) -> dict[str, Any]:
    valid = np.ones((32, 32), bool)
    valid[14:17, 10:14] = False
    np.save(folder / "mask.npy", valid)
    said = {f"data.{name}": VALUES[name]}
    if name in ("mask", "mask_polarity"):
        inverse = name == "mask_polarity"
        np.save(folder / "mask.npy", ~valid if inverse else valid)
        said["data.mask"] = str(folder / "mask.npy")
    if name == "map":
        (folder / "scan_map.yaml").write_text(SCAN_MAP)
        said["data.map"] = str(folder / "scan_map.yaml")
    if name in CORRECTIONS:
        np.save(folder / f"{name}.npy", CORRECTIONS[name])
        said[f"data.{name}"] = str(folder / f"{name}.npy")
    return (NEAR if name in ("propagation", "source_distance_m") else {}) | said


def differs(one: dict[str, float], other: dict[str, float]) -> list[bool]:
    return [abs(one[key] / other[key] - 1) > 1e-4 for key in one]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in DAILY else pytest.mark.exhaustive)
        for name in VALUES
        if name not in UNUSED
    ],
)
def test_a_field_means_the_same_in_every_stage(name: str, scan: Path, plain: dict[str, float], tmp_path: Path) -> None:
    said = settings_of(name, tmp_path)
    run_reconstruct(RunRequest(scan=scan, output_dir=tmp_path / "o", overrides=SMALL | said))
    found = errors(tmp_path / "o")
    if name not in WITHOUT_EFFECT:
        assert any(differs(found, plain))
    value = said[f"data.{name}"]
    products = [tmp_path / "o" / file for file in ("network.h5", "reconstruction.h5")]
    for product in products:
        assert read_product(product).metadata.provenance["payload"]["data"][name] == value
    assert read_bundle_info(tmp_path / "o" / "bundle").payload_dict["data"][name] == value
    for product, expected in zip(products, found.values(), strict=True):
        again = run_evaluate(RunRequest(scan=scan, output_dir=tmp_path / "e", product=product, overrides={}))
        assert again["fourier_error"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", sorted(UNUSED))
def test_a_field_that_the_scan_has_no_use_for_is_refused(name: str, scan: Path, tmp_path: Path) -> None:
    said = SMALL | {f"data.{name}": VALUES[name]}
    with pytest.raises(DataFormatError, match=rf"data.{name} = .* expected one of both"):
        run_reconstruct(RunRequest(scan=scan, output_dir=tmp_path / "o", overrides=said))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["n_modes", "background", "propagation", "probe_support_px", "probe_trainable"])
def test_refinement_alone_and_prediction_alone_take_it_too(name: str, scan: Path, tmp_path: Path) -> None:
    said = settings_of(name, tmp_path)
    run_refine(RunRequest(scan=scan, output_dir=tmp_path / "r", overrides=_of_refinement(SMALL) | said))
    assert read_product(tmp_path / "r/reconstruction.h5").metadata.provenance["payload"]["data"][name] == VALUES[name]
    run_reconstruct(RunRequest(scan=scan, output_dir=tmp_path / "o", overrides=SMALL | said))
    infer = RunRequest(scan=scan, output_dir=tmp_path / "i", model_path=tmp_path / "o" / "bundle",
                       overrides={"execution.accelerator": "cpu"})  # fmt: skip
    metrics = run_infer(infer)
    assert metrics["fourier_error"] == pytest.approx(errors(tmp_path / "o")["network_metrics.json"], rel=1e-5)


def _of_refinement(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name.startswith(("refine", "execution"))}


@pytest.mark.parametrize(("method", "n_modes"), [("pie", 1), ("pie", 2), ("lsqml", 2), ("gradient", 2)])
def test_a_fixed_probe_stays_as_supplied_to_the_end(scan: Path, tmp_path: Path, method: str, n_modes: int) -> None:
    with h5py.File(scan) as file:
        first = file["probe"][0]
    y = np.linspace(-1, 1, len(first))[:, None]
    supplied = np.stack([first, 0.3 * y * first + 0.05 * first])[:n_modes]
    copy = tmp_path / "scan.h5"
    copy.write_bytes(scan.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file["probe"]
        file["probe"] = supplied
    overrides = SMALL | {"data.probe_trainable": False, "refine.method": method}
    run_reconstruct(RunRequest(scan=copy, output_dir=tmp_path / "o", overrides=overrides))
    for name in ("network.h5", "reconstruction.h5"):
        assert change(read_product(tmp_path / "o" / name), supplied) < 1e-5


def change(product: Product, supplied: Any) -> float:
    scale = np.vdot(supplied, product.probe) / np.vdot(supplied, supplied)
    return float(np.linalg.norm(product.probe / scale - supplied) / np.linalg.norm(supplied))


@pytest.mark.parametrize("kind", ["uniform", "pixel"])
def test_the_background_that_is_said_is_fitted_by_network_and_refinement(scan: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "scan.h5"
    copy.write_bytes(scan.read_bytes())
    with h5py.File(copy, "r+") as file:
        file["patterns"][...] = file["patterns"][...] + 20
    overrides = SMALL | {"data.background": kind, "refine.iterations": 10}
    run_reconstruct(RunRequest(scan=copy, output_dir=tmp_path / "o", overrides=overrides))
    trained, refined = (
        read_product(tmp_path / "o" / name).extras[BACKGROUND] for name in ("network.h5", "reconstruction.h5")
    )
    assert refined.mean() > trained.mean() > 0
    assert (np.ptp(refined) == 0) == (kind == "uniform")


def test_a_scan_opened_with_options_keeps_them(scan: Path, tmp_path: Path) -> None:
    with open_scan(scan) as opened:
        count = len(opened)
    run_refine(RunRequest(scan=scan, output_dir=tmp_path, overrides=_of_refinement(SMALL) | {"data.drop_frames": "0"}))
    assert len(read_product(tmp_path / "reconstruction.h5").indexes) == count - 1


def test_a_network_of_the_near_field_does_not_predict_a_scan_of_another_geometry(scan: Path, tmp_path: Path) -> None:
    settings = {name: value for name, value in SMALL.items() if not name.startswith("refine")} | {
        "training.max_epochs": 1
    }
    run_train(RunRequest(scan=scan, output_dir=tmp_path / "o", overrides=settings | {"data.propagation": "near_field"}))
    other = tmp_path / "other.h5"
    other.write_bytes(scan.read_bytes())
    with h5py.File(other, "r+") as file:
        file.attrs["detector_distance_m"] *= 1.5
    request = RunRequest(scan=other, output_dir=tmp_path / "i", model_path=tmp_path / "o" / "bundle")
    with pytest.raises(ConfigError, match=r"near field with distance_m = .*, but .*other\.h5 has"):
        run_infer(request)
    run_infer(RunRequest(scan=scan, output_dir=tmp_path / "i", model_path=tmp_path / "o" / "bundle"))


def test_a_start_is_read_as_it_was_and_keeps_what_was_fixed(scan: Path, tmp_path: Path) -> None:
    small = _of_refinement(SMALL)
    first = {"data.probe_trainable": False, "data.probe_support_px": 24.0, "data.drop_frames": "3"}
    run_refine(RunRequest(scan=scan, output_dir=tmp_path / "a", overrides=small | first))
    start = tmp_path / "a" / "reconstruction.h5"
    for said in ({}, {"data.drop_frames": "4"}, {"data.drop_frames": "3", "data.negate_x": True}):
        with pytest.raises((ConfigError, DataFormatError)):
            run_refine(RunRequest(scan=scan, output_dir=tmp_path / "b", overrides=small | said, start=start))
    again = small | {"data.drop_frames": "3"}
    run_refine(RunRequest(scan=scan, output_dir=tmp_path / "b", overrides=again, start=start))
    before, after = (read_product(tmp_path / name / "reconstruction.h5") for name in "ab")
    assert np.array_equal(before.probe, after.probe)
    stored = after.metadata.provenance["payload"]
    assert (stored["data"]["probe_trainable"], stored["data"]["probe_support_px"]) == (False, 24.0)
