"""Tests of what `inspect` says of files that are not known: content, readers, a draft of a map, a picture."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from skimage.io import imread

from ptycho_dist.cli import main
from ptycho_dist.data.formats.contents import contents, folded
from ptycho_dist.data.maps.draft import draft_of
from ptycho_dist.data.scan import ScanOptions, open_scan

RNG = np.random.default_rng(2)
B, N = 20, 32
DX = 1.23984198e-6 / 8000 * 2.0 / (N * 75e-6)
Y, X = RNG.uniform(0, 40, (2, B)) * DX


def frames() -> np.ndarray:
    y, x = np.arange(N)[:, None] - N // 2, np.arange(N) - N // 2
    return RNG.poisson(100 * np.exp(-(y**2 + x**2) / 20.0) + 0.2, (B, N, N)).astype(np.uint16)


def unknown(folder: Path, **changed: object) -> Path:
    path = folder / "unknown.h5"
    mask = np.zeros((N, N), np.uint8)
    mask[4, 5] = 1
    held = {
        "run/cam/stack": frames(),
        "run/motors/stage_x": X * 1e6,
        "run/motors/stage_y": Y * 1e6,
        "run/cam/mask": mask,
        "run/mono/energy": [8000.0],
        "run/cam/distance_mm": 2000.0,
        "run/cam/x_pixel_size": 75e-6,
        "run/counter": np.arange(B),
        **changed,
    }
    with h5py.File(path, "w") as file:
        for key, value in held.items():
            if value is not None:
                file[key] = value
    return path


def test_a_draft_of_a_complete_file_opens_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = unknown(tmp_path)
    assert main(["inspect", str(path), "--write_map", str(tmp_path / "m.yaml")]) == 0
    told = capsys.readouterr().out
    for said in ("not opened as a scan", "stack uint16 (20, 32, 32)", "why not: ", "draft of a map:", "--map"):
        assert said in told
    with open_scan(path, ScanOptions(map=str(tmp_path / "m.yaml"))) as scan:
        np.testing.assert_allclose(scan.positions_px, np.stack([Y, X], axis=1) / DX, rtol=1e-6)
        assert scan.mask is not None
        assert int((~scan.mask).sum()) == 1
        assert scan.header.pixel_size_m == pytest.approx(DX, rel=1e-6)
    picture = tmp_path / "scan.png"
    assert main(["inspect", str(path), "--map", str(tmp_path / "m.yaml"), "--figure", str(picture)]) == 0
    assert imread(picture).shape[0] > 500
    assert main(["inspect", str(path), "--write_map", str(tmp_path / "m.yaml")]) == 2  # it is there already


@pytest.mark.parametrize(
    ("changed", "missing", "line"),
    [
        ({"run/cam/x_pixel_size": None}, "detector_pixel: --detector_pixel_m", "# detector_pixel: {value: FILL_IN"),
        ({"run/mono/energy": None}, "energy: --energy_eV", "# energy: {value: FILL_IN, unit: keV}"),
        ({"run/cam/distance_mm": None}, "distance: --detector_distance_m", "# distance: {value: FILL_IN, unit: m}"),
        ({"run/motors/stage_y": None}, "positions: no arrays of 20 values", "y: {path: FILL_IN, unit: um}"),
        ({"run/cam/stack": None}, "frames: no array of real numbers", "patterns: {path: FILL_IN}"),
        ({"run/motors/stage_x": np.append(X, X), "run/motors/stage_y": np.append(Y, Y)}, "", "# 40 positions for 20"),
        ({"run/mono/energy": None, "run/lambda_nm": 0.155}, "", "wavelength: {path: run/lambda_nm, unit: nm}"),
        ({"run/cam/stack": np.fft.ifftshift(frames(), axes=(1, 2))}, "", "zero_frequency: corner"),
        ({"run/cam/stack": frames().transpose(1, 2, 0)}, "", "axes: [y, x, frame]"),
        ({"run/cam/stack": frames().reshape(4, 5, N, N)}, "", "axes: [frame, frame, y, x]"),
        (
            {"run/motors/stage_x": None, "run/positions": np.stack([X, Y]) * 1e6},
            "",
            "both: {path: run/positions, unit: um}",
        ),
    ],
)
def test_a_draft_says_what_is_missing(tmp_path: Path, changed: dict[str, object], missing: str, line: str) -> None:
    draft = draft_of(unknown(tmp_path, **changed))
    assert line in draft.text
    assert missing in "; ".join(draft.missing)
    assert bool(missing) == bool(draft.missing)


def test_a_link_to_a_missing_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = unknown(tmp_path, **{"run/cam/stack": None, "run/cam/frames": h5py.ExternalLink("gone.h5", "data")})
    assert main(["inspect", str(path)]) == 0
    told = capsys.readouterr().out
    assert "frames -> gone.h5:data (missing)" in told
    assert "run/cam/frames leads to gone.h5:data, which is not there" in told


def test_the_content_of_npz_and_matlab_files_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", stack=frames(), energy=8000.0)
    scipy.io.savemat(tmp_path / "a.mat", {"stack": frames().astype(float), "energy": 8.0})
    for name, energy in (("a.npz", "energy float64 = 8000"), ("a.mat", "energy float64 (1, 1)")):
        assert main(["inspect", str(tmp_path / name)]) == 0
        told = capsys.readouterr().out
        assert energy in told
        assert "stack" in told
    assert main(["inspect", str(tmp_path / "a.npz"), "--write_map", str(tmp_path / "m.yaml")]) == 2
    assert "a map reads HDF5" in capsys.readouterr().err


def test_many_alike_are_folded(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(500):
            file[f"lines/data_{number:04d}"] = np.zeros((4, 8, 8))
            file[f"groups/g{number}/inner"] = 1
        file["loop"] = h5py.SoftLink("/loop")
        file["up"] = h5py.SoftLink("/lines")
    lines = folded(contents(tmp_path / "many.h5")[1])
    assert "  ... and 497 more of the same kind" in lines
    assert "  ... and 488 more of the same kind" in lines
    assert len(lines) < 50


def test_a_known_scan_shows_what_readers_make_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["ptychogram"], file["encoder"] = frames(), np.stack([Y, X], axis=1)
        file["wavelength"], file["zo"], file["dxd"] = [1.23984198e-6 / 8000], [2.0], [75e-6]
    assert main(["inspect", str(tmp_path / "scan.h5")]) == 0
    told = capsys.readouterr().out
    assert "scan, format map ptylab" in told
    assert "ptychogram uint16 (20, 32, 32)" in told
    assert "map ptylab: fits" in told


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 100, b"PK\x03\x04" + b"\0" * 50, b"hello"])
def test_damaged_files_are_errors(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.h5").write_bytes(content)
    assert main(["inspect", str(tmp_path / "scan.h5")]) == 2
    assert "scan.h5" in capsys.readouterr().err
