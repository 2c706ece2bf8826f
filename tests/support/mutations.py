"""Ways to damage the files of a scan, by chance: each returns what it did, and changes one file of a folder."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

OUTSIDE = "outside"
"""Folder beside that of the scan, of which no file may be opened."""
_ABSENT_FILTER = 32_099


def damage_bytes(path: Path, rng: np.random.Generator) -> str:
    """Cut a file short, or change, double or remove some of its bytes, mostly where its structure is."""
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    end = min(int(rng.choice([600, 2000, 10_000, max(len(data), 1)])), len(data))
    kind = ("cut", "flip", "zeros", "doubled", "removed")[rng.choice(5, p=[0.15, 0.55, 0.1, 0.1, 0.1])]
    first, count = int(rng.integers(0, max(end, 1))), int(rng.choice([1, 8, 64, 600]))
    if kind == "cut":
        data = data[: rng.integers(len(data) + 1)]
    elif kind == "flip":
        places = rng.integers(0, max(end, 1), rng.choice([1, 4, 32]))
        data[places % max(len(data), 1)] = rng.integers(0, 256, len(places))
    elif kind == "zeros":
        data[first : first + count] = 0
    elif kind == "doubled":
        data = np.insert(data, first, data[first : first + count])
    else:
        data = np.delete(data, slice(first, first + count))
    path.write_bytes(data.tobytes())
    return f"bytes {kind}"


def damage_text(path: Path, rng: np.random.Generator) -> str:
    """Exchange a word or a number of a text file, or lead it to another file or into an endless text."""
    words = path.read_text(encoding="utf-8", errors="replace").split(" ")
    said = ("../outside/secret.h5", "/etc/passwd", "1e999", "-1", "nan", "", "9" * 400, "*a", "&a [*a, *a]", "[" * 500)
    said += ("!!python/object/apply:os.abort []", "{", "\x00", "..", "~", "true", "1.5", "0", "/", "../../..")
    new = str(rng.choice(said))
    words[rng.integers(len(words))] = new
    path.write_text(" ".join(words), encoding="utf-8")
    return f"text {new[:30]!r}"


def damage_archive(path: Path, rng: np.random.Generator) -> str:
    """Exchange a member of an NPZ: another shape, a pickle, a name that leads out, a bomb."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(sorted(members)))
    kind = str(rng.choice(["bomb", *sorted(_MEMBERS)]))
    old = members.pop(name)
    name, content = (name, _bomb()) if kind == "bomb" else _MEMBERS[kind](name, old)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other in members:
            archive.writestr(other, members[other])
        archive.writestr(name, content, zipfile.ZIP_STORED if kind == "bomb" else None)
        if kind == "bomb":
            told = archive.getinfo(name)
            told.compress_type, told.file_size = zipfile.ZIP_DEFLATED, _BOMB_BYTES + len(_header(_BOMB_SHAPE))
    return f"member {name} {kind}"


_BOMB_SHAPE = (3000, 512, 512)
_BOMB_BYTES = 4 * 3000 * 512 * 512


@cache
def _bomb() -> bytes:
    """Compress 3 GB of zeros by hand, as one MB over and over."""
    work = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = work.compress(_header(_BOMB_SHAPE)) + work.flush(zlib.Z_FULL_FLUSH)
    one = work.compress(bytes(1 << 20)) + work.flush(zlib.Z_FULL_FLUSH)
    return start + one * (_BOMB_BYTES >> 20) + work.flush()


def _header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": kind, "fortran_order": False, "shape": shape})
    return written.getvalue()


def _array(values: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, values, allow_pickle=True)
    return written.getvalue()


class Abort:
    """A pickle that ends the process that loads it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return (exec, ("import os; os.abort()",))


_Member = Callable[[str, bytes], tuple[str, bytes]]
_MEMBERS: dict[str, _Member] = {
    "of 10 GB": lambda name, _: (name, _header((10_000, 500, 500)) + bytes(4096)),
    "of 10^12": lambda name, _: (name, _header((10**12,)) + bytes(4096)),
    "of 10^12 frames": lambda name, _: (name, _header((10**12, 16, 16)) + bytes(4096)),
    "pickle": lambda name, _: (name, pickle.dumps(Abort())),
    "objects": lambda name, _: (name, _array(np.array([Abort()], dtype=object))),
    "leads out": lambda name, content: (f"../outside/{name}", content),
    "absolute": lambda name, content: (f"/tmp/{name}", content),
    "empty": lambda name, _: (name, b""),
    "text": lambda name, _: (name, _array(np.array("nonsense"))),
    "scalar": lambda name, _: (name, _array(np.float64(-1))),
    "nan": lambda name, _: (name, _array(np.full((3, 2), np.nan))),
    "records": lambda name, _: (name, _array(np.zeros(4, [("a", "f4"), ("b", "i2")]))),
    "half": lambda name, content: (name, content[: len(content) // 2]),
}


def damage_hdf5(path: Path, rng: np.random.Generator) -> str:
    """Exchange a dataset, a group or an attribute of an HDF5 file by one that lies, leads out or is no number."""
    with h5py.File(path, "r+") as file:
        places: list[str] = []
        file.visit(places.append)
        key = str(rng.choice(sorted(places)))
        attributes = list(file[key].attrs)
        if attributes and rng.random() < 0.3:
            name, value = str(rng.choice(attributes)), int(rng.integers(len(_VALUES)))
            file[key].attrs[name] = _VALUES[value]
            return f"{key}@{name} value {value}"
        kind = str(rng.choice(sorted(_NODES)))
        old = file[key]
        shape = old.shape if isinstance(old, h5py.Dataset) and old.shape else (4, 4)
        dtype = old.dtype if isinstance(old, h5py.Dataset) and old.dtype.kind in "iuf" else np.dtype("f4")
        del file[key]
        with contextlib.suppress(ValueError, OSError):
            _NODES[kind](file, key, shape, dtype, rng)
    return f"{key} {kind}"


_VALUES: tuple[Any, ...] = (
    *(np.float64(value) for value in (0, -1, 1e300, np.nan, np.inf, 1e-300)),
    *("nonsense", "../outside/secret.h5", b"\xff\xfe", np.array([b"a", b"bc"]), np.zeros(0), np.full((3, 2), np.nan)),
    *(np.ones((1, 2, 1, 2, 2)), np.ones((2, 2), "c8"), np.zeros(4, [("r", "f4"), ("i", "f4")]), np.int64(2**62)),
)


def _declared(file: h5py.File, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
    """Declare an array of ``size`` elements as one of as many axes, of which nothing is written."""
    rest = int(np.prod(shape[1:], dtype=np.int64))
    long = (max(size // max(rest, 1), 1), *shape[1:])
    chunks = tuple(min(length, 64) for length in long)
    file.create_dataset(key, long, dtype, chunks=chunks, compression="gzip")[(0,) * len(long)] = 1


def _external(file: h5py.File, key: str, stored: str) -> None:
    file[key] = h5py.ExternalLink(stored, "/values")


def _virtual(file: h5py.File, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: str) -> None:
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(stored, "values", shape)
    file.create_virtual_dataset(key, layout)


def _filtered(file: h5py.File, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Declare a dataset behind a filter that is nowhere."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(shape)
    plist.set_filter(_ABSENT_FILTER, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, key.encode(), h5py.h5t.py_create(dtype), space, plist)
    file[key].id.write_direct_chunk((0,) * len(shape), b"no such coding", 0)


def _stored(file: h5py.File, key: str, shape: tuple[int, ...], dtype: np.dtype[Any], stored: str) -> None:
    file.create_dataset(key, shape, dtype, external=[(stored, 0, h5py.h5f.UNLIMITED)])


def _objects(file: h5py.File, key: str, shape: tuple[int, ...]) -> None:
    file.create_dataset(key, shape, h5py.string_dtype())


def _beside(file: h5py.File) -> Path:
    return Path(file.filename).parent.parent / OUTSIDE / "secret.h5"


_NODES: dict[str, Callable[..., None]] = {
    "of 10 GB": lambda f, k, s, t, _: _declared(f, k, s, t, 10**10 // t.itemsize),
    "of 10^12": lambda f, k, s, t, _: _declared(f, k, s, t, 10**12),
    "of 10^12 in one axis": lambda f, k, _s, t, _: _declared(f, k, (1,), t, 10**12),
    "of 10^12 virtual": lambda f, k, s, t, _: _virtual(f, k, (10**12, *s[1:]), t, "."),
    "of 1 GB virtual": lambda f, k, s, t, _: _virtual(f, k, (10**9 // t.itemsize // max(s[-1], 1), s[-1]), t, "."),
    "circle": lambda f, k, *_: f.__setitem__(k, h5py.SoftLink(f"/{k}")),
    "two in a circle": lambda f, k, *_: (f.__setitem__(k, h5py.SoftLink("/z")), f.__setitem__("z", h5py.SoftLink(k))),
    "root below": lambda f, k, *_: f.__setitem__(k, f["/"]),
    "soft nowhere": lambda f, k, *_: f.__setitem__(k, h5py.SoftLink("/nowhere/at/all")),
    "external to itself": lambda f, k, *_: f.__setitem__(k, h5py.ExternalLink(Path(f.filename).name, f"/{k}")),
    "external outside": lambda f, k, *_: _external(f, k, "../outside/secret.h5"),
    "external absolute": lambda f, k, *_: _external(f, k, str(_beside(f))),
    "external by a link": lambda f, k, *_: _external(f, k, "linked.h5"),
    "external device": lambda f, k, *_: _external(f, k, "/dev/zero"),
    "virtual outside": lambda f, k, s, t, _: _virtual(f, k, s, t, "../outside/secret.h5"),
    "virtual absolute": lambda f, k, s, t, _: _virtual(f, k, s, t, str(_beside(f))),
    "virtual by a link": lambda f, k, s, t, _: _virtual(f, k, s, t, "linked.h5"),
    "virtual of itself": lambda f, k, s, t, _: _virtual(f, k, s, t, "."),
    "storage outside": lambda f, k, s, t, _: _stored(f, k, s, t, "../outside/secret.h5"),
    "storage absolute": lambda f, k, s, t, _: _stored(f, k, s, t, str(_beside(f))),
    "no filter": lambda f, k, s, t, _: _filtered(f, k, s, t),
    "objects": lambda f, k, s, *_: _objects(f, k, s),
    "references": lambda f, k, s, *_: f.create_dataset(k, s, h5py.ref_dtype),
    "group": lambda f, k, *_: f.create_group(k),
    "removed": lambda *_: None,
    "nan": lambda f, k, s, *_: f.create_dataset(k, data=np.full(s, np.nan)),
    "scaled": lambda f, k, s, _t, rng: f.create_dataset(k, data=np.ones(s) * 10.0 ** rng.integers(-30, 30)),
    "shorter": lambda f, k, s, t, _: f.create_dataset(k, data=np.ones((max(s[0] - 1, 0), *s[1:]), t)),
    "value": lambda f, k, _s, _t, rng: f.__setitem__(k, _VALUES[rng.integers(len(_VALUES))]),
}


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Change one file of a folder, of which the largest is the likeliest.

    Returns
    -------
    str
        Which file, and what was done to it.
    """
    files = sorted(one for one in folder.rglob("*") if one.is_file() and not one.is_symlink())
    path = files[rng.integers(len(files))]
    ways: list[Callable[[Path, np.random.Generator], str]] = [damage_bytes]
    if h5py.is_hdf5(path):
        ways += [damage_hdf5] * 2
    elif zipfile.is_zipfile(path):
        ways += [damage_archive]
    elif path.suffix in (".yaml", ".csv", ".txt", ".dat", ".xml", ".hdr"):
        ways += [damage_text] * 2
    return f"{path.name}: {ways[rng.integers(len(ways))](path, rng)}"
