"""One bundle predicted by any number of ranks gives one object, bit for bit."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.assembly.synchronise import overlap_pairs, solve_phases
from ptycho_dist.commands.inspect import describe
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.grouping import canonical_order
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import BundleError, ShardError
from ptycho_dist.inference import run as inference_run
from ptycho_dist.inference.exchange import agree
from ptycho_dist.inference.patch_store import PatchFile, ShardPatches, place_model, predict_patches
from ptycho_dist.inference.product import stitch_to_product
from ptycho_dist.inference.rank_work import ShardWork
from ptycho_dist.inference.run import load_model, run_inference
from ptycho_dist.launching.environment import RankContext, detect
from ptycho_dist.results import run_stitch
from tests.support.ranks import rank_context
from tests.support.runs import inference_payload, training_payload, untrained_bundle


@dataclass(frozen=True)
class Trained:
    bundle: Path
    path: Path
    scan: Scan


@pytest.fixture
def trained(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> Trained:
    payload = training_payload(tiny_path, tmp_path / "trained", depth=1)
    return Trained(untrained_bundle(payload, tiny_scan), tiny_path, tiny_scan)


def predict_as(trained: Trained, output_dir: Path, world: int, **overrides: Any) -> Path:
    """Run all ranks of a prediction side by side in this process."""
    payload = inference_payload(trained.bundle, trained.path, output_dir, **overrides)
    folder = output_dir / "shards"
    loaded, facts = load_model(payload, trained.scan)
    inference_run.write_manifest(folder, inference_run._manifest(payload, as_rank(world), trained.scan, loaded, facts))
    model = place_model(loaded, payload.execution_config, 0)
    agreed = agree(model, trained.scan, payload, as_rank(1)) if model.sizes.exchange else None
    with ExitStack() as stack:
        works = [
            stack.enter_context(ShardWork(model, trained.scan, payload, rank_context(rank, world), folder, agreed))
            for rank in range(world)
        ]
        phases = works[0].solve(np.sum([work.products() for work in works], axis=0))
        for work in works:
            work.write(phases)
    return stitch_to_product(folder, output_dir / "reconstruction.h5")


def as_rank(world: int) -> RankContext:
    return RankContext(
        rank=0, world=world, local_rank=0, local_world=world, node_rank=0, nodes=1, launcher="spawn",
        why="test", main_address="127.0.0.1", main_port=0,
    )  # fmt: skip


def arrays(path: Path) -> dict[str, Any]:
    product = read_product(path)
    return {"object": product.object_, "probe": product.probe, **product.extras}


def test_objects_are_bit_identical_for_any_number_of_ranks(trained: Trained, tmp_path: Path) -> None:
    alone = arrays(predict_as(trained, tmp_path / "1", 1, inference_batch_size=4))
    assert np.abs(alone["object"] - 1).max() > 0.05
    assert alone["coverage"].max() > 3
    for world in (2, 3, 4, 30):
        found = arrays(predict_as(trained, tmp_path / str(world), world, inference_batch_size=4))
        for name, array in alone.items():
            assert array.tobytes() == found[name].tobytes(), f"{name} of {world} ranks"


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "ptychopinn_cnn", "n_filters_scale": 1},
        {"architecture": "vit", "width": 16},
        {"group_as_channels": True, "gridsize": 2},
    ],
    ids=["cnn", "vit", "groups"],
)
def test_objects_are_bit_identical_with_any_network(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path, changes: dict[str, Any]
) -> None:
    payload = training_payload(tiny_path, tmp_path / "trained", stages=1, **changes)
    other = Trained(untrained_bundle(payload, tiny_scan, noise=0.02), tiny_path, tiny_scan)
    alone = arrays(predict_as(other, tmp_path / "1", 1, inference_batch_size=4))
    assert np.abs(alone["object"] - 1).max() > 0.05
    for world in (2, 3, 4):
        found = arrays(predict_as(other, tmp_path / str(world), world, inference_batch_size=4))
        assert alone["object"].tobytes() == found["object"].tobytes(), f"{world} ranks"


def test_run_inference_gives_the_same_object_as_its_parts(trained: Trained, tmp_path: Path) -> None:
    payload = inference_payload(trained.bundle, trained.path, tmp_path / "whole")
    result = run_inference(payload, detect({}), trained.scan)
    parts = predict_as(trained, tmp_path / "parts", 2)
    assert arrays(result.product_path)["object"].tobytes() == arrays(parts)["object"].tobytes()


def test_stitched_object_does_not_depend_on_the_tile(trained: Trained, tmp_path: Path) -> None:
    whole = arrays(predict_as(trained, tmp_path / "a", 2, stitch_tile_px=1024))
    tiled = arrays(predict_as(trained, tmp_path / "b", 2, stitch_tile_px=17))
    for name, array in whole.items():
        assert array.tobytes() == tiled[name].tobytes(), name


def test_second_prediction_into_a_folder_leaves_no_old_shards(trained: Trained, tmp_path: Path) -> None:
    predict_as(trained, tmp_path, 3)
    payload = inference_payload(trained.bundle, trained.path, tmp_path)
    run_inference(payload, detect({}), trained.scan)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "manifest.h5",
        "shard-00000-of-00001.h5",
    ]


def test_stitch_refuses_a_shard_of_another_model(trained: Trained, tmp_path: Path) -> None:
    predict_as(trained, tmp_path / "a", 2, middle_trim=1)
    predict_as(trained, tmp_path / "b", 2)
    foreign = tmp_path / "a" / "shards" / "shard-00001-of-00002.h5"
    foreign.replace(tmp_path / "b" / "shards" / foreign.name)
    with pytest.raises(ShardError, match=r"shard-00001-of-00002\.h5 is of another prediction"):
        stitch_to_product(tmp_path / "b" / "shards", tmp_path / "x.h5")
    assert not (tmp_path / "x.h5").exists()


def test_predict_patches_does_not_depend_on_place_or_batch_mates(trained: Trained, tmp_path: Path) -> None:
    payload = inference_payload(trained.bundle, trained.path, tmp_path, inference_batch_size=8)
    model = place_model(load_model(payload, trained.scan)[0], payload.execution_config, 0)

    def predict(order: list[int]) -> dict[int, bytes]:
        found = predict_patches(model, trained.scan, np.array(order), payload)
        return {
            int(row): patch.numpy().tobytes()
            for patches, rows in found
            for row, patch in zip(rows, patches, strict=True)
        }

    together = predict(list(range(25)))
    assert predict([7]) == {7: together[7]}
    assert predict(list(range(24, -1, -1))) == together


def test_shard_patches_cover_each_pattern_once_and_trim(trained: Trained, tmp_path: Path) -> None:
    order = canonical_order(trained.scan.positions_px)
    assert sorted(order) == list(range(25))
    for trim, side in ((0, 16), (3, 10)):
        payload = inference_payload(trained.bundle, trained.path, tmp_path, middle_trim=trim, patch_weighting="uniform")
        model = place_model(load_model(payload, trained.scan)[0], payload.execution_config, 0)
        patches = ShardPatches(model, trained.scan, order, payload, PatchFile(tmp_path / f"{trim}.npy"))
        total = patches.total(order, np.zeros(25))
        weight = total.arrays()["weight"].sum() / 2.0**total.bits
        assert weight == pytest.approx(25 * side**2, rel=1e-9)
        patches.close()


def test_phases_of_patches_do_not_reach_the_object(trained: Trained, tmp_path: Path) -> None:
    """Patches turned by unknown phases give the object they gave before, up to one global phase."""
    payload = inference_payload(trained.bundle, trained.path, tmp_path)
    model = place_model(load_model(payload, trained.scan)[0], payload.execution_config, 0)
    pairs = overlap_pairs(trained.scan.positions_px, 16)
    patches = ShardPatches(model, trained.scan, np.arange(25), payload, PatchFile(tmp_path / "patches.npy"))
    products = patches.products(pairs)
    patches.close()
    turns = np.random.default_rng(0).uniform(-1.0, 1.0, 25)
    turned = products * np.exp(1j * (turns[pairs[:, 0]] - turns[pairs[:, 1]]))
    change = solve_phases(25, pairs, turned) - solve_phases(25, pairs, products) + turns
    assert np.abs(change - change.mean()).max() < 1e-3


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_precision_changes_the_prediction_a_little(trained: Trained, tmp_path: Path, precision: str) -> None:
    single = read_product(predict_as(trained, tmp_path / "single", 1)).object_
    other = read_product(predict_as(trained, tmp_path / "other", 1, precision=precision)).object_
    difference = np.abs(single - other).max()
    assert 0 < difference < (1e-4 if precision == "64-true" else 0.05)


def test_workers_do_not_change_the_object(trained: Trained, tmp_path: Path) -> None:
    alone = arrays(predict_as(trained, tmp_path / "a", 1, inference_batch_size=4))
    helped = arrays(predict_as(trained, tmp_path / "b", 1, inference_batch_size=4, num_workers=2))
    assert alone["object"].tobytes() == helped["object"].tobytes()


def test_load_model_refuses_weights_of_another_network(trained: Trained, tmp_path: Path) -> None:
    payload = inference_payload(trained.bundle, trained.path, tmp_path)
    deeper = replace(payload, model_config=replace(payload.model_config, depth=2))
    with pytest.raises(BundleError, match=r"do not fit network 'lean' of this version"):
        load_model(deeper, trained.scan)


def test_inspect_tells_a_shard_folder_and_what_to_run(trained: Trained, tmp_path: Path) -> None:
    predict_as(trained, tmp_path, 2)
    text = describe(tmp_path / "shards")
    assert "2 of 2" in text
    assert "ptycho-dist stitch" in text


def test_stitch_from_inside_the_shard_folder_writes_beside_it(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_as(trained, tmp_path, 2).unlink()
    monkeypatch.chdir(tmp_path / "shards")
    assert run_stitch(Path()) == tmp_path / "reconstruction.h5"
    assert (tmp_path / "reconstruction.h5").is_file()


def test_trimmed_patches_cover_less_and_change_the_rest(trained: Trained, tmp_path: Path) -> None:
    whole = arrays(predict_as(trained, tmp_path / "whole", 1))
    trimmed = arrays(predict_as(trained, tmp_path / "trimmed", 1, middle_trim=3))
    assert whole["coverage"].sum() == 25 * 17**2  # patches of 16 pixels reach over 17, at positions between pixels
    assert trimmed["coverage"].sum() == 25 * 11**2
    assert np.all(trimmed["coverage"] <= whole["coverage"])


def test_patch_weighting_decides_the_object_but_not_the_coverage(trained: Trained, tmp_path: Path) -> None:
    uniform = arrays(predict_as(trained, tmp_path / "uniform", 1, patch_weighting="uniform"))
    probe = arrays(predict_as(trained, tmp_path / "probe", 1, patch_weighting="probe"))
    assert np.array_equal(uniform["coverage"], probe["coverage"])
    both = uniform["coverage"] > 1
    assert np.abs(uniform["object"] - probe["object"])[both].max() > 1e-3


@pytest.mark.parametrize("size", [1, 7])
def test_inference_batch_size_is_the_size_of_every_batch(trained: Trained, tmp_path: Path, size: int) -> None:
    payload = inference_payload(trained.bundle, trained.path, tmp_path, inference_batch_size=size)
    model = place_model(load_model(payload, trained.scan)[0], payload.execution_config, 0)
    seen: list[int] = []
    model.networks[0].register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    parts = [len(rows) for _, rows in predict_patches(model, trained.scan, np.arange(25), payload)]
    assert parts == [size] * (25 // size) + ([25 % size] if 25 % size else [])
    assert set(seen) == {size}


def test_disagreement_is_not_known_where_one_patch_lies_alone(trained: Trained, tmp_path: Path) -> None:
    found = arrays(predict_as(trained, tmp_path, 2, patch_weighting="uniform"))
    known = np.isfinite(found["disagreement"])
    assert not known[found["coverage"] < 2].any()
    assert known[found["coverage"] > 5].all()
    assert (found["disagreement"][known] >= 0).all()
