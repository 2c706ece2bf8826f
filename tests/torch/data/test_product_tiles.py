"""Arrays of a product that several processes fill: tiles find their places, and a full disk is told of."""

from __future__ import annotations

import errno
import multiprocessing
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import ProductGeometry, ProductWriter, read_product
from ptycho_dist.data.formats.product_tiles import OBJECT, UnfinishedProduct
from ptycho_dist.types import ProductMetadata

SHAPE, TILE = (23, 17), 6


def begin(path: Path) -> UnfinishedProduct:
    with ProductWriter(path, ProductMetadata("x"), SHAPE, ProductGeometry(N=4)) as writer:
        writer.write_probe(np.ones((1, 4, 4), np.complex64))
        writer.write_positions(np.zeros((2, 2)))
        return writer.leave_tiles_open({"coverage": "int32"})


def expected() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    object_ = (rng.random(SHAPE) + 1j * rng.random(SHAPE)).astype(np.complex64)
    return {OBJECT: object_, "coverage": rng.integers(0, 9, SHAPE).astype(np.int32)}


def write(product: UnfinishedProduct, part: int, parts: int) -> None:
    """Write every so manieth tile."""
    corners = [(y, x) for y in range(0, SHAPE[0], TILE) for x in range(0, SHAPE[1], TILE)]
    with product.tiles() as writer:
        for y, x in corners[part::parts]:
            for name, array in expected().items():
                writer.write(name, (y, x), array[y : y + TILE, x : x + TILE])


def test_tiles_of_several_processes_make_up_the_arrays(tmp_path: Path) -> None:
    product = begin(tmp_path / "p.h5")
    assert not (tmp_path / "p.h5").exists()
    spawned = multiprocessing.get_context("spawn")
    processes = [spawned.Process(target=write, args=(product, part, 3)) for part in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    product.publish()
    found = read_product(tmp_path / "p.h5")
    assert np.array_equal(found.object_, expected()[OBJECT])
    assert np.array_equal(found.extras["coverage"], expected()["coverage"])
    assert [one.name for one in tmp_path.iterdir()] == ["p.h5"]


def test_full_rows_are_written_at_once(tmp_path: Path) -> None:
    product, arrays = begin(tmp_path / "p.h5"), expected()
    with product.tiles() as writer:
        for start in (0, 10):
            for name, array in arrays.items():
                writer.write(name, (start, 0), array[start : start + (10 if start == 0 else 13)])
    product.publish()
    assert np.array_equal(read_product(tmp_path / "p.h5").object_, arrays[OBJECT])


def test_object_is_in_one_piece_and_plain_for_other_programs(tmp_path: Path) -> None:
    product = begin(tmp_path / "p.h5")
    write(product, 0, 1)
    product.publish()
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["object"].shape == (1, *SHAPE)
        assert file["object"].chunks is None
        assert np.array_equal(file["object"][0, 3:9, 2:5], expected()[OBJECT][3:9, 2:5])


def test_product_that_is_discarded_leaves_nothing(tmp_path: Path) -> None:
    product = begin(tmp_path / "p.h5")
    product.discard()
    assert not list(tmp_path.iterdir())
    product.discard()


def test_full_disk_is_named(tmp_path: Path) -> None:
    product = begin(tmp_path / "p.h5")
    full = UnfinishedProduct(product.path, Path("/dev/full"), product.places)
    writer = full.tiles()
    with pytest.raises(OSError, match="/dev/full") as caught:  # noqa: SIM117  # what is raised in the block
        with writer:
            writer.write(OBJECT, (0, 0), expected()[OBJECT])
    assert caught.value.errno == errno.ENOSPC
