"""Positions in text and SPEC files whose columns the user chooses; other files of beamlines are told by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from ptycho_dist.data.scan import ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from tests.support.foreign import DX_M, POSITIONS_PX, require_scan
from tests.support.runs import simulate_tiny
from tests.torch.data.readers.test_dectris import master

UM = POSITIONS_PX * DX_M * 1e6


def velociprobe(path: Path, separator: str = ",") -> Path:
    """Write a table of 33-ID-C: x and y in nm, the trigger in the last column, three readings of each; no heading."""
    readings = np.repeat(UM * 1e3, 3, axis=0) + np.tile([-1.0, 0.0, 1.0], len(UM))[:, None]
    trigger = np.repeat(np.arange(1, len(UM) + 1), 3)
    rows = [[0, x, y, 0, 0, -y, 0, n] for (y, x), n in zip(readings.tolist(), trigger.tolist(), strict=True)]
    path.write_text("\n".join(separator.join(f"{value:.10g}" for value in row) for row in rows))
    return path


def options(said: str) -> ScanOptions:
    return ScanOptions(positions_file=said, file_format="dectris")


@pytest.mark.parametrize("separator", [",", ";", "\t", "  "])
def test_columns_are_chosen_by_number(separator: str, tmp_path: Path) -> None:
    table = velociprobe(tmp_path / "scan 7: laser.csv", separator)
    said = options(f"{table}:y=2,x=1,unit=nm,trigger=7")
    require_scan(master(tmp_path), "dectris", said)
    with open_scan(tmp_path / "m_master.h5", said) as scan:
        words = " | ".join(scan.header.conversions)
        assert "columns 2 and 1 of scan 7: laser.csv" in words
        assert "42 readings averaged to 14" in words


@pytest.mark.parametrize(
    ("heading", "choice"),
    [
        ("row,stage v [um],stage u [um]", "y=stage v [um],x=stage u [um]"),
        ("row,v_um,u_um", "y=v_um,x=2"),
        ("row,v,u", "y=v,x=u,unit=um"),
        ("row,v_nm,u_nm", "y=v_nm,x=u_nm,unit=um"),
    ],
)
def test_columns_are_chosen_by_name_and_say_their_unit(heading: str, choice: str, tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    lines = [heading, *(f"{number},{y!r},{x!r}" for number, (y, x) in enumerate(UM.tolist()))]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    require_scan(master(tmp_path), "dectris", options(f"{table}:{choice}"))


def test_a_heading_behind_a_mark_of_utf8_names_its_first_column(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    lines = ["y_um;x_um", *(f"{y!r};{x!r}" for y, x in UM.tolist())]
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    require_scan(master(tmp_path), "dectris", options(str(table)))


def spec(path: Path) -> Path:
    points = [f"{y / 1e3:.9g} {x / 1e3:.9g} {100 + n}" for n, (y, x) in enumerate(UM.tolist())]
    labels = ["#N 3", "#L Sample Y  samx  ion chamber"]
    first = ["#S 3  ascan samy 0 1 2 1", *labels, "9 9 1", "8 8 1", ""]
    second = ["#S 12  mesh", "#D Tue Dec  1", *labels, *points, "@A 1 2 3", "#C done", ""]
    path.write_text("\n".join(["#F scans.spec", "#E 1", "", *first, *second]))
    return path


@pytest.mark.parametrize("columns", ["y=Sample Y,x=samx", "y=0,x=1"])
def test_motors_of_a_scan_of_a_spec_file_are_positions(columns: str, tmp_path: Path) -> None:
    require_scan(master(tmp_path), "dectris", options(f"{spec(tmp_path / 'scans.spec')}:scan=12,{columns},unit=mm"))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("", "is a SPEC file and no scan of it is chosen"),
        (":scan=4,y=0,x=1,unit=mm", r"has no scan 4 \(there are 3, 12\)"),
        (":scan=12,y=samz,x=samx,unit=mm", r"has no column 'samz'; the scan has Sample Y, samx, ion chamber"),
        (":scan=12,y=9,x=samx,unit=mm", "has no column '9'"),
        (":scan=12,y=0,x=samx", "column '0' .* says no unit; .*unit=um"),
        (":scan=3,y=0,x=1,unit=mm", "has 14 frames, the file of positions 2"),
        (":scan=12,y=0,x=1,unit=kg", "has the unit 'kg'; expected a length"),
        (":scan=12,why=0", "chooses 'scan=12,why=0'; expected columns such as y=2"),
        (":y=0,y=1", "chooses 'y=0,y=1'"),
        (":12", "chooses '12'"),
        (":scan=12,y=1,x=1,unit=mm", "takes y and x from one column"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choice: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=words):
        open_scan(master(tmp_path), options(f"{spec(tmp_path / 'scans.spec')}{choice}"))


def test_a_short_line_of_a_spec_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.spec"
    path.write_text("#F s\n#S 1 mesh\n#L y  x\n1 2\n3\n")
    with pytest.raises(DataFormatError, match=r"line 5 of .*s.spec has 1 words; expected 2 numbers"):
        open_scan(master(tmp_path), options(f"{path}:scan=1,y=y,x=x,unit=um"))


def _picture(path: Path) -> None:
    imsave(path, np.zeros((8, 8), np.uint8), check_contrast=False)


KNOWN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a.mda": (lambda path: path.write_bytes(b"\x3f\xa6\x66\x66" + bytes(100)), "an MDA file of EPICS .*mda2ascii"),
    "a.cbf": (lambda path: path.write_bytes(b"###CBF: VERSION 1.5\r\n"), "a CBF picture"),
    "a.edf": (lambda path: path.write_bytes(b"{\nHeaderID = EH:000001 ;\n}"), "an EDF picture"),
    "a.tif": (_picture, "a TIFF picture"),
    "a.csv": (lambda path: path.write_bytes("y_um,x_um\n1,2\n".encode("utf-16")), "text in UTF-16"),
    "a.csv.gz": (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(20)), "compressed by gzip"),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("as_scan", [True, False])
def test_a_file_of_another_kind_is_told_by_name(name: str, as_scan: bool, tmp_path: Path) -> None:
    write, words = KNOWN[name]
    write(tmp_path / name)
    path, said = tmp_path / name, ScanOptions()
    if not as_scan:
        path, said = master(tmp_path), options(str(path))
    with pytest.raises(DataFormatError, match=words):
        open_scan(path, said)


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"a,b\n\0\0", "is no text"), (b"a", "0 columns")])
def test_what_is_no_table_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(content)
    with pytest.raises(DataFormatError, match=words):
        open_scan(master(tmp_path), options(str(tmp_path / "p.csv")))


def test_a_trigger_that_no_integer_holds_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("index,y_um,x_um\n1e300,1,2\n2,3,4\n")
    with pytest.raises(DataFormatError, match=r"holds 1e\+300; expected whole numbers"):
        open_scan(master(tmp_path), options(str(tmp_path / "p.csv")))


def test_positions_and_frames_without_each_other_are_counted(tmp_path: Path) -> None:
    lines = [f"{number},{y!r},{x!r}" for number, (y, x) in zip([-5, *range(1, 14)], UM.tolist(), strict=True)]
    (tmp_path / "p.csv").write_text("\n".join(["index,y_um,x_um", *lines]))
    with open_scan(master(tmp_path), options(f"{tmp_path / 'p.csv'}: y = 1 , x = 2 , index = 0")) as scan:
        said = " | ".join(scan.header.conversions)
        assert len(scan) == 13
    assert "patterns: 1 of 14 without a position left out" in said
    assert "positions: 1 of 14 without a pattern left out" in said


def test_a_comma_as_decimal_mark_is_told(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("y_um;x_um\n0,5;1,5\n")
    with pytest.raises(DataFormatError, match=r"numbers such as '0,5'; expected a point as the decimal mark"):
        open_scan(master(tmp_path), options(str(tmp_path / "p.csv")))


@pytest.mark.parametrize("name", ["written/ptychodus_diffraction.h5", "written/cdtools.cxi"])
def test_a_text_file_has_the_positions_of_ptychodus_patterns(name: str, formats_dir: Path, tmp_path: Path) -> None:
    truth = np.load(formats_dir / "written" / "truth.npz")["pos_rowcol_m"]
    rows = [f"{number},{y!r},{x!r}" for number, (y, x) in enumerate(truth.tolist())]
    (tmp_path / "p.csv").write_text("\n".join(["index,y_m,x_m", *rows]))
    said = ScanOptions(positions_file=str(tmp_path / "p.csv"), energy_eV=8800.0, detector_distance_m=1.92)
    if name.endswith(".cxi"):
        with pytest.raises(DataFormatError, match="has positions of its own"):
            open_scan(formats_dir / name, ScanOptions(positions_file=said.positions_file))
        return
    with open_scan(formats_dir / name, said) as scan:
        moved = (scan.positions_px - scan.positions_px[0]) * scan.header.pixel_size_m
        np.testing.assert_allclose(moved, truth - truth[0], atol=1e-10)


def test_positions_that_nothing_uses_are_refused(tmp_path: Path) -> None:
    table = velociprobe(tmp_path / "p.csv")
    with pytest.raises(DataFormatError, match=r"has positions of its own \(ptycho_dist_h5\); expected"):
        open_scan(simulate_tiny(tmp_path / "own.h5"), ScanOptions(positions_file=str(table)))
