"""Patterns of Ptychodus with their product, and its training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.types import ProductMetadata
from tests.support.foreign import (
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    DX_M,
    ENERGY_EV,
    JOULE,
    MADE,
    POSITIONS_PX,
    RAW,
    N,
    require_scan,
    valid,
    write_hdf5,
)

CENTRES_M = (POSITIONS_PX + (N - 1) / 2) * DX_M
OBJECT = {"pixel_width_m": DX_M, "pixel_height_m": DX_M, "center_x_m": 0.0, "center_y_m": 0.0}
SHUFFLED = np.random.default_rng(2).permutation(14)


def diffraction(path: Path, **changes: Any) -> Path:
    content = {"patterns": RAW, "indexes": np.arange(14), "bad_pixels": ~valid()} | changes
    sides = {f"patterns@detector_pixel_{side}_m": DETECTOR_PIXEL_M for side in ("width", "height")}
    return write_hdf5(path, content, sides)


def product(path: Path, attributes: dict[str, Any] | None = None, **changes: Any) -> Path:
    content = {
        "probe_position_indexes": np.arange(14),
        "probe_position_y_m": CENTRES_M[:, 0],
        "probe_position_x_m": CENTRES_M[:, 1],
        "probe": MADE.probe[None].astype(np.complex128),
        "object": MADE.object_[None],
    } | changes
    kept = {"@detector_object_distance_m": DISTANCE_M, "@photon_energy_eV": ENERGY_EV} | (attributes or {})
    return write_hdf5(path, content, kept | {f"object@{name}": value for name, value in OBJECT.items()})


@pytest.mark.parametrize(
    ("patterns", "positions"),
    [
        ("diffraction.h5", "product.h5"),
        ("run_diffraction.h5", "run_product.h5"),
        ("scan.h5", "scan_product.h5"),
        ("scan.h5", "my_product_7.hdf5"),
    ],
)
def test_product_is_found_beside_the_patterns(tmp_path: Path, patterns: str, positions: str) -> None:
    product(tmp_path / positions)
    path = diffraction(tmp_path / patterns)
    require_scan(path, "ptychodus_h5")
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.probe, MADE.probe)
        assert scan.header.energy_eV == pytest.approx(ENERGY_EV)
        assert scan.header.detector_distance_m == pytest.approx(DISTANCE_M)
        assert scan.companions == (tmp_path / positions,)


def test_named_product_is_joined_by_index(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    named = product(
        tmp_path / "elsewhere" / "p.h5",
        probe_position_indexes=SHUFFLED[:12],
        probe_position_y_m=CENTRES_M[SHUFFLED[:12], 0],
        probe_position_x_m=CENTRES_M[SHUFFLED[:12], 1],
    )
    order = SHUFFLED[::-1].copy()
    path = diffraction(tmp_path / "d.h5", patterns=RAW[order], indexes=order)
    options = ScanOptions(positions_file=str(named))
    require_scan(path, "ptychodus_h5", options, rows=np.sort(SHUFFLED[:12]))
    assert any("2 of 14 without a position" in one for one in open_scan(path, options).header.conversions)


def test_old_names_are_understood(tmp_path: Path) -> None:
    old = {"probe_energy_eV": ENERGY_EV, "photon_energy_eV": 0.0}
    product(tmp_path / "product.h5", {f"@{name}": value for name, value in old.items()}, probe=MADE.probe)
    path = diffraction(tmp_path / "diffraction.h5")
    assert open_scan(path).header.energy_eV == pytest.approx(ENERGY_EV)


def test_npz_pair_is_joined(tmp_path: Path) -> None:
    flat = {f"object_{name}": value for name, value in OBJECT.items()}
    np.savez(
        tmp_path / "product.npz",
        probe_position_indexes=np.arange(14),
        probe_position_y_m=CENTRES_M[:, 0],
        probe_position_x_m=CENTRES_M[:, 1],
        probe=MADE.probe[None],
        object=MADE.object_[None],
        photon_energy_eV=ENERGY_EV,
        detector_object_distance_m=DISTANCE_M,
        **flat,
    )
    np.savez(tmp_path / "diffraction.npz", patterns=RAW, indexes=np.arange(14), bad_pixels=~valid())
    require_scan(tmp_path / "diffraction.npz", "ptychodus_npz")


def test_cxi_pair_is_joined(tmp_path: Path) -> None:
    detector, own = "entry_1/instrument_1/detector_1", "entry_1/ptychodus"
    energy = {"entry_1/instrument_1/source_1/energy": ENERGY_EV * JOULE, f"{detector}/distance": DISTANCE_M}
    sizes = {f"{detector}/{axis}_pixel_size": DETECTOR_PIXEL_M for axis in "xy"}
    mask = {f"{detector}/mask": (~valid()).astype(np.uint32)}
    write_hdf5(tmp_path / "diffraction.cxi", {f"{detector}/data": RAW, **energy, **sizes, **mask})
    xyz = np.stack([CENTRES_M[SHUFFLED, 1], CENTRES_M[SHUFFLED, 0], np.zeros(14)], axis=1)
    write_hdf5(
        tmp_path / "product.cxi",
        {
            "entry_1/image_1/data": MADE.probe[None],
            "entry_1/image_2/data": MADE.object_[None],
            "entry_1/sample_1/geometry_1/translation": xyz,
            f"{own}/probe_position_indexes": SHUFFLED,
            f"{own}/object_pixel_width_m": DX_M,
            f"{own}/object_pixel_height_m": DX_M,
            **energy,
        },
    )
    require_scan(tmp_path / "diffraction.cxi", "cxi")


def test_training_data_open(tmp_path: Path) -> None:
    centres = POSITIONS_PX + (N - 1) / 2
    path = write_hdf5(
        tmp_path / "t.h5",
        {
            "patterns": RAW,
            "bad_pixels": ~valid(),
            "probe": MADE.probe,
            "object": MADE.object_,
            "probe_position_x_px": centres[:, 1],
            "probe_position_y_px": centres[:, 0],
            "object_pixel_width_m": DX_M,
            "object_pixel_height_m": DX_M,
            "detector_object_distance_m": DISTANCE_M,
            "photon_energy_eV": ENERGY_EV,
        },
    )
    require_scan(path, "ptychodus_training")
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.positions_px, POSITIONS_PX, atol=1e-9)
        np.testing.assert_array_equal(scan.object_, MADE.object_)


def test_bad_pixels_of_an_npz_for_ptychopinn_are_left_out(tmp_path: Path) -> None:
    centres = POSITIONS_PX + (N - 1) / 2
    members: dict[str, Any] = {"xcoords": centres[:, 1], "ycoords": centres[:, 0], "diff3d": RAW}
    np.savez(tmp_path / "s.npz", **members, probeGuess=MADE.probe, objectGuess=MADE.object_, bad_pixels=~valid())
    require_scan(tmp_path / "s.npz", "ptychopinn_npz", dx_m=None)
    with open_scan(tmp_path / "s.npz") as scan:
        np.testing.assert_allclose(scan.positions_px, POSITIONS_PX, atol=1e-9)
    np.savez(tmp_path / "t.npz", **members, probeGuess=MADE.probe, bad_pixels=np.ones((4, 4), bool))
    with pytest.raises(DataFormatError, match=r"'bad_pixels' in .* has shape \(4, 4\)"):
        open_scan(tmp_path / "t.npz")


@pytest.mark.parametrize(
    ("of_product", "of_patterns", "words"),
    [
        (None, {}, "in a product such as product.h5; there is none beside it"),
        ({"probe_position_indexes": np.arange(50, 64)}, {}, "patterns 0 to 13.*positions 50 to 63"),
        ({"probe_position_indexes": np.zeros(14, int)}, {}, "holds the index 0 14 times"),
        ({"probe_position_indexes": np.arange(5)}, {}, r"\(5,\) indexes for 14 positions"),
        ({}, {"indexes": np.arange(5)}, r"\(5,\) indexes for 14 patterns"),
        ({"probe_position_y_m": CENTRES_M[:, 0] * np.nan}, {}, "position 0 .* is .*nan"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(
    tmp_path: Path, of_product: dict[str, Any] | None, of_patterns: dict[str, Any], words: str
) -> None:
    if of_product is not None:
        product(tmp_path / "product.h5", **of_product)
    with pytest.raises(DataFormatError, match=words):
        open_scan(diffraction(tmp_path / "diffraction.h5", **of_patterns))


def test_a_product_offered_as_a_scan_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="is a Ptychodus product: a result without patterns; expected a scan"):
        open_scan(product(tmp_path / "product.h5"))


def test_files_that_ptychodus_writes_open(tmp_path: Path) -> None:
    io = pytest.importorskip("ptychodus.api.io", reason="the package ptychodus is not installed")
    assemble = pytest.importorskip("ptychodus.api.assemble")
    geometry = pytest.importorskip("ptychodus.api.geometry")
    pixel = geometry.PixelGeometry(width_m=DETECTOR_PIXEL_M, height_m=DETECTOR_PIXEL_M)
    data = assemble.AssembledDiffractionData(np.arange(14), RAW, pixel, ~valid())
    io.save_diffraction_data(tmp_path / "diffraction.h5", data)
    metadata = ProductMetadata(
        name="p", probe_energy_eV=ENERGY_EV, detector_object_distance_m=DISTANCE_M, exposure_time_s=0.0
    )
    with ProductWriter(tmp_path / "own.h5", metadata, (40, 40), ProductGeometry(N=N, pixel_size_m=DX_M)) as writer:
        writer.write_object_tile((0, 0), MADE.object_)
        writer.write_probe(MADE.probe)
        writer.write_positions(POSITIONS_PX)
    io.save_product(tmp_path / "product.h5", io.load_product(tmp_path / "own.h5"))
    require_scan(tmp_path / "diffraction.h5", "ptychodus_h5")


def test_a_product_that_a_link_leads_to_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "product.h5").symlink_to(product(tmp_path / "elsewhere.h5"))
    path = diffraction(tmp_path / "scan" / "diffraction.h5")
    with pytest.raises(DataFormatError, match="there is none beside it"):
        open_scan(path)
    require_scan(path, "ptychodus_h5", ScanOptions(positions_file=str(tmp_path / "scan" / "product.h5")))


def test_frames_that_are_not_square_are_cropped_around_the_beam(tmp_path: Path) -> None:
    wide = np.pad(RAW, ((0, 0), (0, 0), (2, 4)))
    product(tmp_path / "product.h5", probe=np.ones((1, 1, N, N + 6), np.complex64))
    path = diffraction(tmp_path / "diffraction.h5", patterns=wide, bad_pixels=np.pad(~valid(), ((0, 0), (2, 4))))
    require_scan(path, "ptychodus_h5", ScanOptions(beam_center_px=(8.0, 10.0)))
