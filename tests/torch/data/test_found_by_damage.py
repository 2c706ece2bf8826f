"""What damaging files by chance has found, each once by hand."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ptycho_dist.commands.inspect import describe
from ptycho_dist.data.formats import npz
from ptycho_dist.data.formats.hdf5_numbers import number
from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.wavelengths import energy_eV_of
from ptycho_dist.types import ProductMetadata

MAP = "patterns: {path: d}\npositions: {y: {path: y}, x: {path: x}}\n"


def mapped(folder: Path, more: str, **content: object) -> tuple[Path, ScanOptions]:
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        file["d"] = np.random.default_rng(0).poisson(50, (4, 32, 32)).astype(np.uint16)
        file["y"] = file["x"] = np.arange(4.0) * 1e-7
        for name, value in content.items():
            file[name] = value
    (folder / "m.yaml").write_text(MAP + more)
    return path, ScanOptions(map=str(folder / "m.yaml"), pixel_size_m=5e-8)


def test_a_beam_centre_in_metres_is_unknown_where_the_pixel_is_0(tmp_path: Path) -> None:
    more = "beam_center: {y: {value: 0.001, unit: m}, x: {value: 0.001, unit: m}}\ndetector_pixel: {path: p}\n"
    path, options = mapped(tmp_path, more, p=0.0)
    with pytest.raises(DataFormatError, match="detector_pixel_m"):
        open_scan(path, options)


def test_parts_of_unlike_shapes_are_not_joined(tmp_path: Path) -> None:
    more = "monitor: {path: 'm_*', join_all: true}\n"
    path, options = mapped(tmp_path, more, m_1=3.0, m_2=np.ones((3, 2)))
    with pytest.raises(DataFormatError, match=r"monitor .* parts of shapes \(\), \(3, 2\)"):
        open_scan(path, options)
    path, options = mapped(tmp_path, more, m_1=3.0, m_2=np.full(3, 2.0))
    with open_scan(path, options) as scan:
        assert len(scan) == 4


def test_a_probe_without_modes_is_refused(tmp_path: Path) -> None:
    path, options = mapped(tmp_path, "probe: {path: probe}\n", probe=np.zeros((0, 1, 32, 32), np.complex64))
    with pytest.raises(DataFormatError, match=r"probe at 'probe' .* shape \(0, 1, 32, 32\)"):
        open_scan(path, options)


@pytest.mark.parametrize("wavelength", [1e-300, 5e-324, 1e300])
def test_no_wavelength_overflows(wavelength: float) -> None:
    for is_electron in (True, False):
        assert energy_eV_of(wavelength, is_electron=is_electron) >= 0


def test_a_number_that_a_virtual_array_of_nothing_stands_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    layout = h5py.VirtualLayout((10**8,), np.float64)
    layout[...] = h5py.VirtualSource(".", "nowhere", (10**8,))
    with h5py.File(path, "w") as file:
        file["much"] = np.random.default_rng(0).random(10**6)
        file.create_virtual_dataset("energy", layout)
    with pytest.raises(DataFormatError, match="declares shape"):
        number(path, "energy")


def test_a_virtual_array_of_its_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    layout = h5py.VirtualLayout((300_000,), np.float64)
    layout[...] = h5py.VirtualSource(".", "some/much", (300_000,))
    with h5py.File(path, "w") as file:
        file["some/much"] = np.full(300_000, 8000.0)
        file.create_virtual_dataset("energy", layout)
    assert number(path, "energy") == 8000


def test_a_member_that_is_too_large_to_load_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", scan=np.zeros(10_000))
    monkeypatch.setattr(npz, "_MOST_LOADED_BYTES", 1000)
    with pytest.raises(DataFormatError, match="expected at most 1000"):
        npz.load_member(tmp_path / "a.npz", "scan")


def test_a_matlab_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"other": np.random.default_rng(0).random((40, 40))}, do_compression=True)
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(DataFormatError, match="MATLAB file that cannot be read"):
        describe(path, ScanOptions())


def test_a_product_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.h5"
    ones = np.ones((40, 40), np.complex64)
    geometry = ProductGeometry(N=16, pixel_size_m=5e-9, object_origin_px=(0.0, 0.0))
    with ProductWriter(path, ProductMetadata(name="run"), (40, 40), geometry) as writer:
        writer.write_object_tile((0, 0), ones)
        writer.write_probe(ones[None, :16, :16])
        writer.write_positions(np.zeros((3, 2)))
        writer.write_extra("coverage", np.ones(3))
    assert read_product(path).extras["coverage"].shape == (3,)
    with h5py.File(path, "a") as file:
        del file["ptycho_dist/coverage"]
        file.create_dataset("ptycho_dist/coverage", (10**10, 40), np.int32, chunks=(64, 40))[0, 0] = 1
    with pytest.raises(DataFormatError, match=r"'ptycho_dist/coverage' .* declares shape \(10000000000, 40\)"):
        read_product(path)
