"""Files of beamlines that hold a part of a scan at best: told by their first bytes, with what to do about them."""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 512
_POSITIONS = "'index,x_um,y_um' (--positions_file FILE.csv)"
_FRAMES = "Write the frames of the series as one HDF5 dataset (frame, y, x), and give a map (--map)."
_STARTS: dict[bytes, str] = {
    b"\x3f\xa6\x66\x66": "mda",
    b"\x3f\xb3\x33\x33": "mda",
    b"###CBF": "cbf",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"\x89PNG": "png",
    b"%PDF": "pdf",
    b"\x1f\x8b": "gzip",
    b"SIMPLE  =": "fits",
    b"#F ": "spec",
    b"#S ": "spec",
    b"\xff\xfe": "utf16",
    b"\xfe\xff": "utf16",
}
_WORDS = {
    "mda": "an MDA file of EPICS (saveData), which is not read. Export the positions as text with a first line such as "
    f"{_POSITIONS}, for instance with mda2ascii of the EPICS utilities.",
    "cbf": f"a CBF picture (Pilatus): one frame, without positions. {_FRAMES}",
    "edf": f"an EDF picture: one frame, its motors in a header that is not read. {_FRAMES}",
    "tiff": f"a TIFF picture: frames without positions. {_FRAMES}",
    "png": "a PNG picture, whose values are no photon counts. Give the file that it was made from.",
    "pdf": "a PDF document. Give the file of the measurement.",
    "gzip": "compressed by gzip. Unpack it (gunzip), or copy the file that it was made from.",
    "fits": "a FITS file, which is not read. Export it as HDF5, and give a map (--map).",
    "spec": "a SPEC file: positions without frames. Give the file of the frames, and this one as "
    "--positions_file FILE:scan=NUMBER,y=MOTOR,x=MOTOR,unit=mm.",
    "utf16": "text in UTF-16. Save it as UTF-8 (CSV).",
}


def kind_of_file(path: Path) -> str | None:
    """Tell what a file is by its first bytes, such as ``"mda"`` or ``"spec"``; None where that is not known."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    is_edf = head.lstrip().startswith(b"{") and (b"EDF_" in head or b"HeaderID" in head)
    return "edf" if is_edf else None


def told_kind(path: Path) -> str | None:
    """Say in words what a file is and what to do with it (to follow ``PATH is``); None where that is not known."""
    kind = kind_of_file(path)
    return None if kind is None else _WORDS[kind]
