"""The known scan formats, and detection by content."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ptycho_dist.data.formats import hdf5, npz, ptycho_dist_h5, ptychopinn_npz, tike_npz
from ptycho_dist.data.formats.base import RawScan, ScanFormat, ScanOptions
from ptycho_dist.errors import DataFormatError

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ZIP_SIGNATURE = b"PK"


FORMATS: tuple[ScanFormat, ...] = (tike_npz.FORMAT, ptychopinn_npz.FORMAT, ptycho_dist_h5.FORMAT)


def open_raw(path: Path, options: ScanOptions) -> RawScan:
    """Open a scan with the reader that the user names, or that fits the content.

    Raises
    ------
    DataFormatError
        If the path is no scan of a known format.
    """
    container = _container(path)
    if options.file_format == "auto":
        return _detect(path, container).open_raw(path, options)
    named = {scan_format.name: scan_format for scan_format in FORMATS}
    chosen = named.get(options.file_format)
    if chosen is None:
        msg = f"data.file_format = {options.file_format!r}; expected auto or one of {', '.join(named)}. Change it."
        raise DataFormatError(msg)
    if chosen.container != container:
        msg = f"{path} is {container}; {chosen.name} is {chosen.container}. Use data.file_format = 'auto'."
        raise DataFormatError(msg)
    return chosen.open_raw(path, options)


def _container(path: Path) -> str:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "missing" if not path.exists() else "no regular file"
        msg = f"{path} is {kind}; expected a scan file ({_known()}). Give the path of the file."
        raise DataFormatError(msg)
    with path.open("rb") as stream:
        head = stream.read(len(_HDF5_SIGNATURE))
    if head == _HDF5_SIGNATURE:
        return "hdf5"
    if head.startswith(_ZIP_SIGNATURE) or zipfile.is_zipfile(path):
        return "npz"
    found = "empty" if not head else f"neither NPZ nor HDF5 (it starts with {head!r})"
    msg = f"{path} is {found}; expected a scan file ({_known()}). Export the scan again."
    raise DataFormatError(msg)


def _detect(path: Path, container: str) -> ScanFormat:
    keys = npz.member_names(path) if container == "npz" else _hdf5_keys(path)
    for scan_format in FORMATS:
        if scan_format.container == container and scan_format.detect(keys):
            return scan_format
    msg = (
        f"{path} has no known scan format; it holds {', '.join(keys) or 'nothing'}. Known formats: {_known()}. "
        "Re-export it, or name the reader in data.file_format."
    )
    raise DataFormatError(msg)


def _hdf5_keys(path: Path) -> tuple[str, ...]:
    with hdf5.reading(path) as file:
        return tuple(file)


def _known() -> str:
    return "; ".join(f"{f.name}: {f.container} with {', '.join(f.keys)}" for f in FORMATS)
