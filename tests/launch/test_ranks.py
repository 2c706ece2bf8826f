"""Prediction by real ranks: one object, bit for bit, and stitching alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import open_scan
from tests.support.launch import run, run_well
from tests.support.runs import training_payload, untrained_bundle

Run = tuple[Path, Path]


@pytest.fixture(scope="module")
def one(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Predict with one rank; returns the bundle and the output folder."""
    folder = tmp_path_factory.mktemp("one")
    with open_scan(scan) as found:
        bundle = untrained_bundle(training_payload(scan, folder), found)
    infer(scan, bundle, folder / "1", 1)
    return bundle, folder / "1"


def infer(scan: Path, bundle: Path, output_dir: Path, devices: int) -> None:
    run_well(["infer", scan, "--model_path", bundle, "--output_dir", output_dir, "--devices", devices,
              "--accelerator", "cpu", "--inference_batch_size", 4, "--quiet"])  # fmt: skip


@pytest.mark.parametrize(
    "devices", [pytest.param(2, marks=pytest.mark.exhaustive), 3, pytest.param(4, marks=pytest.mark.exhaustive)]
)
def test_object_is_bit_identical_for_any_number_of_ranks(one: Run, scan: Path, tmp_path: Path, devices: int) -> None:
    bundle, alone = one
    infer(scan, bundle, tmp_path, devices)
    assert len(list((tmp_path / "shards").glob("shard-*"))) == devices
    found, expected = (read_product(folder / "reconstruction.h5") for folder in (tmp_path, alone))
    assert np.abs(expected.object_ - 1).max() > 0.05
    assert found.object_.tobytes() == expected.object_.tobytes()
    assert found.extras["coverage"].tobytes() == expected.extras["coverage"].tobytes()


def test_stitch_works_alone_and_names_a_missing_shard(one: Run) -> None:
    _bundle, folder = one
    product = folder / "reconstruction.h5"
    before = read_product(product).object_
    product.unlink()
    run_well(["stitch", folder / "shards"])
    assert read_product(product).object_.tobytes() == before.tobytes()
    (folder / "shards" / "shard-00000-of-00001.h5").rename(folder / "away.h5")
    done = run(["stitch", folder / "shards"])
    (folder / "away.h5").rename(folder / "shards" / "shard-00000-of-00001.h5")
    assert done.returncode == 2
    assert "ShardError" in done.stderr
    assert "lacks 1 of 1 shards: shard-00000-of-00001.h5" in done.stderr
    assert "Traceback" not in done.stderr
