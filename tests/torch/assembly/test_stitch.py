"""Shards are checked one by one before anything is stitched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.assembly.accumulate import FixedPointSum, fraction_bits
from ptycho_dist.assembly.shards import Manifest, read_manifest, shard_path, write_manifest, write_shard
from ptycho_dist.assembly.stitch import PlacedShards, Stitching, require_complete, stitch
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ShardError
from ptycho_dist.types import Canvas

N, BITS = 4, fraction_bits(12)
RNG = np.random.default_rng(0)


def write_all(folder: Path, count: int, world: int) -> Manifest:
    """Write shards whose patches hold their pattern's number plus 1."""
    positions = RNG.uniform(0, 20, (count, 2))
    manifest = Manifest(
        fingerprint="f" * 64, world=world, indexes=np.arange(count), N=N, canvas=Canvas.around(positions, N), bits=BITS,
        probe_PNN=np.ones((1, N, N), np.complex64), positions_px=positions, facts={"name": "x", "losses": [1.0, 0.5]},
    )  # fmt: skip
    write_manifest(folder, manifest)
    for rank in range(world):
        write_one(folder, manifest, rank)
    return manifest


def write_one(folder: Path, manifest: Manifest, rank: int) -> None:
    part = shard(manifest.n_patterns, rank, manifest.world)
    rows = np.arange(manifest.n_patterns)[local_slice(part)]
    mine = manifest.positions_px[rows]
    tile = Canvas.around(mine, N) if len(rows) else Canvas((0, 0), (0, 0))
    total = FixedPointSum(tile, BITS)
    if len(rows):
        patches = torch.from_numpy(rows + 1.0)[:, None, None].expand(-1, N, N).to(torch.complex128).contiguous()
        total.add(patches, torch.ones(N, N), torch.from_numpy(mine))
    write_shard(folder, part, manifest.fingerprint, tile, total.arrays())


def whole(folder: Path, manifest: Manifest, tile_px: int) -> tuple[np.ndarray, np.ndarray]:
    object_ = np.full(manifest.canvas.shape, np.nan, np.complex64)
    count = np.full(manifest.canvas.shape, -1)
    for tile in stitch(require_complete(folder, manifest), manifest, tile_px):
        (top, left), (rows, columns) = tile.corner, tile.object_.shape
        assert np.isnan(object_[top : top + rows, left : left + columns]).all(), "tiles overlap"
        object_[top : top + rows, left : left + columns] = tile.object_
        count[top : top + rows, left : left + columns] = tile.count
    return object_, count


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("world", [1, 2, 3, 5, 13])
def test_every_pattern_is_stitched_once_for_any_number_of_shards(tmp_path: Path, count: int, world: int) -> None:
    manifest = write_all(tmp_path, count, world)
    object_, found = whole(tmp_path, manifest, 9)
    alone = replace(manifest, world=1)
    write_manifest(tmp_path / "alone", alone)
    write_one(tmp_path / "alone", alone, 0)
    expected, counts = whole(tmp_path / "alone", alone, 1024)
    assert object_.tobytes() == expected.tobytes()
    assert np.array_equal(found, counts)
    assert found.sum() == count * (N + 1) ** 2


@pytest.mark.parametrize("tile_px", [1, 7, 16, 1000])
def test_tile_size_does_not_matter(tmp_path: Path, tile_px: int) -> None:
    manifest = write_all(tmp_path, 12, 3)
    expected, counts = whole(tmp_path, manifest, 5)
    object_, found = whole(tmp_path, manifest, tile_px)
    assert object_.tobytes() == expected.tobytes()
    assert np.array_equal(found, counts)


@pytest.mark.parametrize("world", [1, 2, 3, 7, 100])
def test_tiles_of_all_ranks_make_up_the_object(tmp_path: Path, world: int) -> None:
    manifest = write_all(tmp_path, 12, 3)
    stitching = Stitching(require_complete(tmp_path, manifest), manifest.canvas, manifest.bits, 7)
    corners = [[tile.corner for tile in stitching.tiles(rank, world)] for rank in range(world)]
    assert [corner for own in corners for corner in own] == [tile.corner for tile in stitching.tiles()]
    assert max(map(len, corners)) - min(map(len, corners)) <= 1


def test_tile_opens_only_the_shards_that_have_a_part_on_it(tmp_path: Path) -> None:
    manifest = write_all(tmp_path, 12, 12)
    placed = require_complete(tmp_path, manifest)
    corner = manifest.canvas.corner
    tile = replace(manifest, canvas=Canvas((corner[0] + 4, corner[1] + 4), (8, 8)))
    (expected,) = stitch(placed, tile, 8)
    touching = placed.on(tile.canvas)
    assert 0 < len(touching) < 12
    for path in {*placed.paths} - {*touching}:
        path.unlink()
    (found,) = stitch(placed, tile, 8)
    assert found.object_.tobytes() == expected.object_.tobytes()
    assert found.count.any()
    touching[0].unlink()
    with pytest.raises(OSError, match=touching[0].name):
        next(stitch(placed, tile, 8))


def test_shard_that_ends_where_a_tile_begins_has_no_part_on_it() -> None:
    paths = tuple(Path(name) for name in ("above", "corner", "inside", "empty", "beside"))
    corners = np.array([[0, 10], [2, 2], [14, 14], [12, 12], [10, 20]])
    shapes = np.array([[10, 10], [9, 9], [2, 2], [0, 0], [4, 4]])
    found = PlacedShards(paths, corners, shapes).on(Canvas((10.0, 10.0), (10, 10)))
    assert [path.name for path in found] == ["corner", "inside"]


def test_manifest_survives_the_file(tmp_path: Path) -> None:
    manifest, found = write_all(tmp_path, 5, 2), read_manifest(tmp_path)
    assert np.array_equal(found.positions_px, manifest.positions_px)
    assert np.array_equal(found.probe_PNN, manifest.probe_PNN)
    plain = ("fingerprint", "world", "n_patterns", "N", "canvas", "bits", "facts")
    assert [getattr(found, name) for name in plain] == [getattr(manifest, name) for name in plain]


def remove(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def change(name: str, value: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return apply


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove, r"lacks 1 of 3 shards: shard-00001-of-00003\.h5"),
        (cut_short, r"shard-00001-of-00003\.h5 cannot be read"),
        (change("fingerprint", "a" * 64), r"shard-00001-of-00003\.h5 is of another prediction \(fingerprint aaaaaaaa"),
        (change("start", 3), r"shard-00001-of-00003\.h5 holds Shard\(.*start=3.*expected Shard\(.*start=4"),
        (change("schema", 9), r"shard-00001-of-00003\.h5 has schema 9; expected 2"),
    ],
    ids=["missing", "damaged", "foreign", "wrong range", "newer"],
)
def test_stitch_refuses_a_bad_shard_by_name(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    manifest = write_all(tmp_path, 12, 3)
    harm(shard_path(tmp_path, 1, 3))
    with pytest.raises(ShardError, match=words):
        require_complete(tmp_path, manifest)


def test_read_manifest_refuses_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no manifest\.h5"):
        read_manifest(tmp_path)


def test_writing_leaves_no_temporary_files(tmp_path: Path) -> None:
    write_all(tmp_path, 5, 2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["manifest.h5", "shard-00000-of-00002.h5", "shard-00001-of-00002.h5"]
