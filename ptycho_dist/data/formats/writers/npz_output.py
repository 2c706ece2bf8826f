"""NPZ archives that are written member by member, a large one in pieces."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.ptycho_dist_h5_writer import Rows, require_counts
from ptycho_dist.errors import DataFormatError


class NpzOutput:
    """An archive that is being written; members are stored without compression, so that they are read in place."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Write an array whole."""
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)

    def write_rows(self, name: str, chunks: Iterable[NDArray[Any]], rows: Rows, dtype: DTypeLike) -> None:
        """Write patterns (n, N, N) of counts one chunk after the other as one array (B, N, N).

        Raises
        ------
        DataFormatError
            If there are more or fewer than ``rows`` says, of several sizes, or no counts.
        """
        chunks = iter(chunks)
        first = next(chunks, None)
        side = () if first is None else first.shape[1:]
        written = 0
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            kind = np.dtype(dtype)
            header = {"descr": kind.str, "fortran_order": False, "shape": (len(rows), *side)}
            np.lib.format.write_array_header_1_0(stream, header)
            for chunk in chain(() if first is None else (first,), chunks):
                require_counts(rows, chunk, written)
                if chunk.shape[1:] != side:
                    break
                stream.write(np.ascontiguousarray(chunk, kind).data)
                written += len(chunk)
        if written != len(rows):
            msg = f"{written} patterns {side} for {len(rows)} positions to be written to {rows.path}; expected as many."
            raise DataFormatError(msg)


@contextmanager
def writing_npz(path: Path) -> Iterator[NpzOutput]:
    """Write an NPZ archive, which appears under its name when it is complete."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        yield NpzOutput(archive)
