"""PtychoNN, MATLAB before 7.3, and text files of positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from ptycho_dist.data.formats.text_positions import read_positions
from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import (
    DETECTOR_PIXEL_M,
    DISTANCE_M,
    DX_M,
    ENERGY_EV,
    MADE,
    POSITIONS_PX,
    RAW,
    WAVELENGTH_M,
    N,
    require_scan,
)

METRES = POSITIONS_PX * DX_M


def test_ptychonn_opens(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", reciprocal=RAW, position=METRES, pixelsize=DX_M, real=np.ones((14, N, N), "c8"))
    require_scan(tmp_path / "s.npz", "ptychonn_npz")


def test_ptychonn_without_pixel_asks_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", reciprocal=RAW, position=METRES)
    with pytest.raises(DataFormatError, match="--pixel_size_m"):
        open_scan(tmp_path / "s.npz")
    require_scan(tmp_path / "s.npz", "ptychonn_npz", ScanOptions(pixel_size_m=DX_M))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"reciprocal": RAW, "real": RAW}, "patterns for training, which no object can be stitched of"),
        ({"reciprocal": RAW[0], "position": METRES}, r"shape \(16, 16\); expected \(M, N, N\)"),
        ({"reciprocal": RAW, "position": METRES[:3]}, "3 positions for 14 patterns"),
    ],
)
def test_ptychonn_that_is_no_scan_is_refused(tmp_path: Path, members: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "s.npz", **members)
    with pytest.raises(DataFormatError, match=words):
        open_scan(tmp_path / "s.npz")


def matlab(path: Path, **content: Any) -> Path:
    savemat(path, content, do_compression=True)
    return path


@pytest.mark.parametrize(
    "content",
    [
        {
            "dp": np.moveaxis(RAW, 0, -1),
            "ppX": -METRES[:, 1],
            "ppY": -METRES[:, 0],
            "lambda": WAVELENGTH_M,
            "dx": DX_M,
            "probe": np.moveaxis(MADE.probe, 0, -1),
        },
        {
            "ptychogram": np.moveaxis(RAW, 0, -1),
            "encoder": METRES,
            "wavelength": WAVELENGTH_M,
            "zo": DISTANCE_M,
            "dxd": DETECTOR_PIXEL_M,
        },
        {
            "ptychogram": RAW,
            "positions": METRES.T,
            "wavelength": WAVELENGTH_M,
            "zo": DISTANCE_M,
            "xd": (np.arange(N) - N / 2) * DETECTOR_PIXEL_M,
        },
        {
            "det_data": np.moveaxis(RAW, 0, -1),
            "pos_xy": METRES[:, ::-1] * 1e6,
            "energy": ENERGY_EV / 1e3,
            "det_dist": DISTANCE_M * 1e6,
            "det_pixel_size": DETECTOR_PIXEL_M * 1e6,
        },
    ],
    ids=["fold_slice", "ptylab", "early ptylab", "nsls2"],
)
def test_matlab_files_open(tmp_path: Path, content: dict[str, Any]) -> None:
    require_scan(matlab(tmp_path / "s.mat", **content), "matlab5")


def test_probe_of_a_matlab_file_has_its_modes_first(tmp_path: Path) -> None:
    content = {"dp": np.moveaxis(RAW, 0, -1), "ppX": METRES[:, 1], "ppY": METRES[:, 0], "dx": DX_M}
    path = matlab(tmp_path / "s.mat", **content, probe=np.moveaxis(MADE.probe, 0, -1))
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.probe, MADE.probe)


def matlab73(path: Path, **content: np.ndarray) -> Path:
    """Write as MATLAB 7.3 does: axes reversed, complex numbers as pairs, behind 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in content.items():
            turned = np.atleast_2d(values).T
            if np.iscomplexobj(turned):
                pairs = np.empty(turned.shape, [("real", "f4"), ("imag", "f4")])
                pairs["real"], pairs["imag"] = turned.real, turned.imag
                turned = pairs
            file[name] = turned
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64"
    with path.open("r+b") as stream:
        stream.write(text.ljust(512))
    return path


def test_matlab73_is_hdf5_with_reversed_axes(tmp_path: Path) -> None:
    path = matlab73(
        tmp_path / "s.mat",
        ptychogram=np.moveaxis(RAW, 0, -1).astype(float),
        encoder=METRES,
        wavelength=np.array([[WAVELENGTH_M]]),
        zo=np.array([[DISTANCE_M]]),
        dxd=np.array([[DETECTOR_PIXEL_M]]),
    )
    require_scan(path, "map ptylab")
    with open_scan(path) as scan:
        assert any("for MATLAB wrote them" in one for one in scan.header.conversions)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"object": MADE.object_, "probe": MADE.probe}, "a reconstruction in a MATLAB file"),
        ({"apples": np.ones(3)}, "a MATLAB file of apples; expected patterns named dp, ptychogram, det_data"),
        ({"dp": np.moveaxis(RAW, 0, -1)}, "has patterns and no positions"),
        ({"dp": np.moveaxis(RAW, 0, -1), "ppX": METRES[:5, 1], "ppY": METRES[:5, 0]}, "for 5 positions; expected"),
        ({"dp": {"a": 1}, "encoder": METRES}, r"shape \(1, 1\) for 14 positions"),
        ({"dp": np.moveaxis(RAW, 0, -1), "encoder": np.ones((14, 5))}, r"shape \(14, 5\)"),
    ],
)
def test_matlab_files_that_are_no_scan_say_so(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    with pytest.raises(DataFormatError, match=words):
        open_scan(matlab(tmp_path / "s.mat", **content))


def test_a_damaged_matlab_file_is_refused(tmp_path: Path) -> None:
    path = matlab(tmp_path / "s.mat", dp=np.moveaxis(RAW, 0, -1), encoder=METRES)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataFormatError, match="is a MATLAB file that cannot be read"):
        open_scan(path)


@pytest.mark.parametrize(
    "text",
    [
        "x_um,y_um\n1,2\n3,4\n",
        "# x [um], y [um]\n1, 2\n3, 4\n",
        "Scan 7 of sample B\ny_um x_um\n2 1\n4 3\n",
        "index;".replace(";", ",") + "X (um),Y (um)\n0,1,2\n1,3,4\n",
        "trigger,x_um,y_um\n1,3,4\n0,0.5,2\n0,1.5,2\n",
        "number,x_position_um,y_position_um\n0,1,2\n1,3,4\n",
    ],
)
def test_columns_of_positions_are_found_by_their_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    found = read_positions(str(tmp_path / "p.txt"))
    np.testing.assert_allclose(found.values_m, [[2e-6, 1e-6], [4e-6, 3e-6]])
