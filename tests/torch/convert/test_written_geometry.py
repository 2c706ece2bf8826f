"""What convert writes of electrons and of the near field: right, or said to be lost; by reading it back."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.cli import main
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.formats.ptycho_dist_h5_writer import ScanContent, write_scan_h5
from ptycho_dist.data.formats.writers.ptycho_dist import NAME as OWN
from ptycho_dist.data.scan import ScanOptions, open_scan
from tests.support.runs import simulate_tiny

RELATIVISTIC_M = 2.507934e-12
"""Wavelength of electrons of 200 keV."""
DX_M, DISTANCE_M, N = 2e-11, 0.3, 32
DETECTOR = "entry_1/instrument_1/detector_1"
TARGETS = {"cxi": "s.cxi", "ptyd": "s.ptyd", "ptychodus": "s.h5", OWN: "s.h5"}


def electrons(folder: Path) -> Path:
    with open_scan(simulate_tiny(folder / "x.h5")) as scan:
        content = ScanContent(
            patterns=[scan.counts()],
            positions_px=scan.positions_px,
            probe=scan.probe,
            pixel_size_m=DX_M,
            energy_eV=2e5,
            detector_distance_m=DISTANCE_M,
            is_electron=True,
        )
        return write_scan_h5(folder / "electrons.h5", content)


def written(source: Path, to: str, folder: Path, *flags: str) -> Path:
    (folder / to).mkdir()
    target = folder / to / TARGETS[to]
    assert main(["convert", str(source), str(target), "--to", to, *flags]) == 0
    return target


@pytest.mark.parametrize("to", TARGETS)
def test_electrons_keep_their_object_pixel_and_positions(
    to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = electrons(tmp_path)
    target = written(source, to, tmp_path)
    said = " ".join(capsys.readouterr().err.split())
    knows = to in ("cxi", OWN)
    assert ("hold that these are electrons" in said) == (not knows)
    with open_scan(source) as before, open_scan(target) as after:
        assert after.raw.is_electron == knows
        assert after.header.energy_eV == pytest.approx(2e5)
        assert after.header.detector_distance_m == pytest.approx(DISTANCE_M)
        assert after.header.pixel_size_m == pytest.approx(DX_M, rel=1e-6)
        moved = after.positions_px - after.positions_px[0]
        np.testing.assert_allclose(moved, before.positions_px - before.positions_px[0], atol=1e-4)
        np.testing.assert_array_equal(after.counts(), before.counts())


def test_cxi_has_the_relativistic_wavelength_and_the_pixel_of_the_detector(tmp_path: Path) -> None:
    with h5py.File(written(electrons(tmp_path), "cxi", tmp_path)) as file:
        assert file["entry_1/instrument_1/source_1/wavelength"][()] == pytest.approx(RELATIVISTIC_M, rel=1e-5)
        pixel = RELATIVISTIC_M * DISTANCE_M / (N * DX_M)
        assert file[f"{DETECTOR}/x_pixel_size"][()] == pytest.approx(pixel, rel=1e-5)


def test_electrons_stay_electrons_through_a_crop_and_a_conversion(tmp_path: Path) -> None:
    again = tmp_path / "again.h5"
    assert main(["convert", str(electrons(tmp_path)), str(again), "--crop_px", "24"]) == 0
    with open_scan(again) as scan:
        assert scan.raw.is_electron
        assert scan.header.pixel_size_m == pytest.approx(DX_M * N / 24, rel=1e-6)
    with open_scan(simulate_tiny(tmp_path / "photons.h5")) as scan:
        assert not scan.raw.is_electron


@pytest.mark.parametrize(("flags", "magnification"), [((), 1.0), (("--source_distance_m", "0.5"), 5.0)])
@pytest.mark.parametrize("to", ["cxi", "ptyd", "ptychodus"])
def test_near_field_has_the_pixel_of_the_detector(
    to: str, flags: tuple[str, ...], magnification: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = simulate_tiny(tmp_path / "x.h5")
    target = written(source, to, tmp_path, "--propagation", "near_field", *flags)
    said = " ".join(capsys.readouterr().err.split())
    assert ("in the near field" in said) == (to != "ptychodus")
    with h5py.File(target) as file:
        if to == "ptychodus":
            pixel = file["patterns"].attrs["detector_pixel_width_m"]
        else:
            pixel = np.ravel(file[f"{DETECTOR}/x_pixel_size" if to == "cxi" else "meta/psize"][()])[0]
        assert pixel == pytest.approx(2e-8 * magnification, rel=1e-6)


def test_a_product_says_that_it_is_of_the_near_field_and_keeps_the_object_pixel(tmp_path: Path) -> None:
    target = written(simulate_tiny(tmp_path / "x.h5"), "ptychodus", tmp_path, "--propagation", "near_field")
    product = target.with_name("s_product.h5")
    with h5py.File(product) as file:
        assert not file.attrs["far_field"]
    assert read_product(product).metadata.propagation.kind == "near_field"
    with open_scan(tmp_path / "x.h5") as before, open_scan(target, ScanOptions()) as after:
        assert after.header.pixel_size_m == pytest.approx(before.header.pixel_size_m)
        moved = after.positions_px - after.positions_px[0]
        np.testing.assert_allclose(moved, before.positions_px - before.positions_px[0], atol=1e-4)
