"""One network for many scans: trained on a set, used on a scan that it has not seen, and trained further on that."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from ptycho_dist import create_inference_payload, create_training_payload
from ptycho_dist.bundle import load_bundle, read_bundle_info
from ptycho_dist.config.precedence import RunRequest
from ptycho_dist.data.datamodule import ScanDataModule
from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.data.scan_set import open_set
from ptycho_dist.data.set_index import entry_of, write_index
from ptycho_dist.errors import BundleError, ConfigError, DataFormatError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.inference.run import load_model, run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.pipeline import run_train
from ptycho_dist.training.run import TrainingResult, build_module, run_training
from tests.support.ranks import rank_context
from tests.support.runs import forget_launchers, inference_payload, simulate_tiny, train_small, training_payload
from tests.support.scans import make_scan, write_own
from tests.support.sets import simulate_small_set, write_set
from tests.torch.training.test_resume import Killed, die_at

TRAIN: dict[str, Any] = {"max_epochs": 6, "batch_size": 3, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_small_set(tmp_path_factory.mktemp("set") / "set", 4)


def train(source: Path, folder: Path, *, resume: bool = False, **overrides: Any) -> TrainingResult:
    return train_small(source, folder, resume=resume, **(TRAIN | overrides))


@dataclass(frozen=True)
class Pretrained:
    result: TrainingResult
    unseen: Path
    """A scan of another object, with another probe, of other photons."""


@pytest.fixture(scope="module")
def pretrained(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    with pytest.MonkeyPatch.context() as patch:
        forget_launchers(patch)
        result = train(scans, tmp_path_factory.mktemp("run"))
    path = tmp_path_factory.mktemp("unseen") / "unseen.h5"
    return Pretrained(result, simulate_tiny(path, pupil_radius=0.3, photons=3e4, phase_picture="moon"))


def test_training_on_a_set_lowers_the_loss(pretrained: Pretrained) -> None:
    losses = pretrained.result.losses
    assert len(losses) == 6
    assert losses[-1] < 0.8 * losses[0]


def test_payload_of_a_set_fixes_the_probes_and_covers_all_checksums(scans: Path, tmp_path: Path) -> None:
    payload = training_payload(scans, tmp_path)
    assert (payload.n_patterns, payload.data_config.N, payload.data_config.file_format) == (56, 32, "ptycho_dist_set")
    assert payload.data_config.probe_trainable is False
    assert payload.provenance["probe_trainable"] == "scan"
    other = simulate_small_set(tmp_path / "other", 4, seed=1)
    assert training_payload(other, tmp_path).fingerprint() != payload.fingerprint()
    again = simulate_small_set(tmp_path / "again", 4)
    assert training_payload(again, tmp_path).result_fingerprint() == payload.result_fingerprint()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"probe_trainable": True}, r"data\.probe_trainable = True with a set of scans"),
        ({"train_rows": (0.0, 0.5)}, r"training\.train_rows = \(0\.0, 0\.5\) with a set of scans"),
    ],
)
def test_settings_of_one_scan_are_refused_with_a_set(
    scans: Path, tmp_path: Path, overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        training_payload(scans, tmp_path, **overrides)


def test_set_of_one_scan_has_the_loss_of_that_scan_alone(tmp_path: Path) -> None:
    made = make_scan(n_patterns=9, N=32)
    folder = write_set(tmp_path / "set", made)
    settings = {"group_size": 9, "batch_size": 1, "probe_trainable": False, "max_steps": 1, "max_epochs": 1}
    alone = train(folder / "0.h5", tmp_path / "alone", **settings)
    assert train(folder, tmp_path / "together", **settings).losses == pytest.approx(alone.losses, rel=1e-6)


def test_loss_counts_scans_alike_whatever_their_photons(tmp_path: Path) -> None:
    bright = make_scan(n_patterns=9, N=32)
    counts = bright.counts * 100
    dim = write_set(tmp_path / "dim", bright, bright)
    both = [bright, type(bright)(counts, bright.positions_px, bright.probe * 3, bright.object_)]
    mixed = write_set(tmp_path / "mixed", *both)
    settings = {"group_size": 9, "batch_size": 2, "max_steps": 1, "max_epochs": 1, "nphotons": 5e4}
    one, other = (train(folder, tmp_path / folder.name / "run", **settings).losses for folder in (dim, mixed))
    assert other == pytest.approx(one, rel=1e-4)


def test_each_scan_of_a_set_learns_a_scale_of_its_own(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", *(make_scan(n_patterns=9, N=32, seed=seed) for seed in (0, 1)))
    changes = {"intensity_scale_trainable": True, "freeze": ("networks", "steps"), "group_size": 9, "batch_size": 1}
    payload = training_payload(folder, tmp_path / "run", **(TRAIN | changes | {"max_steps": 1}))
    with open_set(folder) as opened:
        module = build_module(payload, opened, 1)
        configs = (payload.data_config, payload.training_config, payload.execution_config)
        first = ScanDataModule(opened, configs, rank_context(0, 1), payload.photons).first_batch()
        seen = {part.number for part in first.parts}
        sum(module.objective.terms(module.model_of(part), part)["data"] for part in first.parts).backward()
        assert module.model.optics.scan_log_scales is not None
        grad = module.model.optics.scan_log_scales.grad
        assert grad is not None
        assert [bool(one != 0) for one in grad] == [number in seen for number in (0, 1)]
        run_training(payload, detect(os.environ), opened)
    bundle = load_bundle(tmp_path / "run" / "bundle")
    scales = bundle.payload_dict["intensity_scales"]
    assert [scale != 1.0 for scale in scales] == [number in seen for number in (0, 1)]
    assert not [name for name in bundle.state if name.startswith("optics.")]


def test_masked_pixels_of_a_scan_do_not_count_in_a_set(tmp_path: Path) -> None:
    made, mask = make_scan(n_patterns=9, N=32), np.ones((32, 32), np.bool_)
    mask[3:9, 20:25] = False
    harmed = made.counts.copy()
    harmed[:, ~mask] = 77
    losses = []
    for name, counts in (("clean", made.counts), ("harmed", harmed)):
        folder = tmp_path / name
        write_own(folder / "0.h5", made, patterns=[counts], mask=mask)
        write_index_of(folder)
        losses.append(train(folder, tmp_path / f"{name}-run", max_epochs=2).losses)
    assert losses[0] == losses[1]


def write_index_of(folder: Path) -> None:
    write_index(folder, [entry_of(path) for path in sorted(folder.glob("*.h5"))])


def test_gradients_on_a_set_reach_the_shared_network_only(scans: Path, tmp_path: Path) -> None:
    payload = training_payload(scans, tmp_path)
    with open_set(scans) as opened:
        module = build_module(payload, opened, 1)
    assert not [name for name, _ in module.model.named_parameters() if name.startswith("optics.")]


def test_killed_training_on_a_set_equals_the_uninterrupted_one(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"max_epochs": 2, "val_fraction": 0.25, "checkpoint_interval_s": 0.0}
    train(scans, tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(pl.Callback, "on_train_batch_start", die_at(5))
        with pytest.raises(Killed):
            train(scans, tmp_path / "killed", **settings)
    train(scans, tmp_path / "killed", resume=True, **settings)
    found, whole = (load_bundle(tmp_path / name / "bundle") for name in ("killed", "whole"))
    assert found.payload_dict["history"] == whole.payload_dict["history"]
    assert all(torch.equal(found.state[name], value) for name, value in whole.state.items())


def test_changed_scan_of_a_set_stops_the_training(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set", *(make_scan(n_patterns=9, N=32, seed=seed) for seed in (0, 1)))
    path = folder / "1.h5"
    content = bytearray(path.read_bytes())
    content[content.index(open_scan(path).positions_px.tobytes()) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match=r"1\.h5 has SHA-256 .* was changed"):
        train(folder, tmp_path / "run")


def test_bundle_of_a_set_holds_no_probe(pretrained: Pretrained) -> None:
    info = read_bundle_info(pretrained.result.bundle_path)
    assert not info.holds_probe
    state = load_bundle(pretrained.result.bundle_path).state
    assert {name.partition(".")[0] for name in state} == {"networks", "steps"}


def test_unseen_scan_is_predicted_with_its_own_probe_and_scale(pretrained: Pretrained, tmp_path: Path) -> None:
    payload = inference_payload(pretrained.result.bundle_path, pretrained.unseen, tmp_path)
    assert payload.inference_config.probe_from == "scan"
    with open_scan(pretrained.unseen) as scan:
        assert scan.probe is not None
        model, _ = load_model(payload, scan)
        np.testing.assert_array_equal(model.optics.probe.numpy(), scan.probe)
        product = read_product(run_inference(payload, detect(os.environ), scan).product_path)
        energy = (np.abs(product.probe) ** 2).sum()
        assert energy == pytest.approx(scan.header.mean_counts, rel=1e-4)
        assert np.abs(product.object_ - 1).max() > 0.05


def test_modes_of_an_unseen_scan_are_its_own(pretrained: Pretrained, tmp_path: Path) -> None:
    path = write_own(tmp_path / "two.h5", make_scan(N=32, n_modes=2))
    payload = inference_payload(pretrained.result.bundle_path, path, tmp_path)
    assert (payload.data_config.n_modes, payload.provenance["n_modes"]) == (2, "scan")
    with open_scan(path) as scan:
        assert len(load_model(payload, scan)[0].optics.probe) == 2


def test_bundle_of_a_set_has_no_probe_to_predict_with(pretrained: Pretrained, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inference\.probe_from = 'bundle'.* holds no probe"):
        inference_payload(pretrained.result.bundle_path, pretrained.unseen, tmp_path, probe_from="bundle")


def test_unseen_scan_without_a_probe_is_refused(pretrained: Pretrained, tmp_path: Path) -> None:
    path = write_own(tmp_path / "bare.h5", make_scan(N=32), probe=None)
    with pytest.raises(ConfigError, match="has no probe"):
        inference_payload(pretrained.result.bundle_path, path, tmp_path)


def test_bundle_of_one_scan_keeps_its_probe_unless_that_of_the_scan_is_asked_for(
    tiny_path: Path, tiny_scan: Scan, pretrained: Pretrained, tmp_path: Path
) -> None:
    bundle = train(tiny_path, tmp_path / "run", max_epochs=1).bundle_path
    trained = load_bundle(bundle).state["optics.probe_parts"]
    with open_scan(pretrained.unseen) as scan:
        kept = inference_payload(bundle, pretrained.unseen, tmp_path)
        assert torch.equal(load_model(kept, scan)[0].optics.probe_parts, trained)
        own = inference_payload(bundle, pretrained.unseen, tmp_path, probe_from="scan")
        assert scan.probe is not None
        np.testing.assert_array_equal(load_model(own, scan)[0].optics.probe.detach().numpy(), scan.probe)
    assert own.result_fingerprint() != kept.result_fingerprint()


def fine_tuning(pretrained: Pretrained, folder: Path, scan: Path | None = None, **overrides: Any) -> TrainingPayload:
    given = {"accelerator": "cpu", "group_size": 4, "init_from": pretrained.result.bundle_path}
    return create_training_payload(scan or pretrained.unseen, folder, given | overrides)


def test_fine_tuning_starts_from_the_network_and_the_probe_of_the_scan(pretrained: Pretrained, tmp_path: Path) -> None:
    payload = fine_tuning(pretrained, tmp_path)
    assert (payload.model_config.width, payload.provenance["width"]) == (8, "bundle")
    assert payload.data_config.probe_trainable
    learnt = load_bundle(pretrained.result.bundle_path).state
    with open_scan(pretrained.unseen) as scan:
        state = build_module(payload, scan, 1).model.state_dict()
        assert scan.probe is not None
        np.testing.assert_array_equal(torch.view_as_complex(state["optics.probe_parts"]).numpy(), scan.probe)
    assert all(torch.equal(state[name], value) for name, value in learnt.items())


def test_fine_tuning_begins_with_a_lower_loss_than_training_from_scratch(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    settings = {"max_epochs": 1, "learning_rate": 1e-5}
    scratch = train(pretrained.unseen, tmp_path / "scratch", **settings).losses[0]
    tuned = train(pretrained.unseen, tmp_path / "tuned", init_from=pretrained.result.bundle_path, **settings).losses[0]
    assert tuned < 0.9 * scratch


def test_network_of_one_scan_may_be_the_start_on_a_set(tiny_path: Path, scans: Path, tmp_path: Path) -> None:
    bundle = train(tiny_path, tmp_path / "one", max_epochs=1).bundle_path
    payload = training_payload(scans, tmp_path / "many", init_from=bundle)
    with open_set(scans) as opened:
        state = build_module(payload, opened, 1).model.state_dict()
    assert torch.equal(state["networks.0.head.weight"], load_bundle(bundle).state["networks.0.head.weight"])


def test_start_is_part_of_the_fingerprint_but_its_folder_is_not(pretrained: Pretrained, tmp_path: Path) -> None:
    payload = fine_tuning(pretrained, tmp_path)
    moved = tmp_path / "moved"
    moved.symlink_to(pretrained.result.bundle_path)
    assert fine_tuning(pretrained, tmp_path, init_from=moved).result_fingerprint() == payload.result_fingerprint()
    scratch = create_training_payload(pretrained.unseen, tmp_path, {"accelerator": "cpu", "group_size": 4, "width": 8})
    assert scratch.result_fingerprint() != payload.result_fingerprint()


def test_start_that_does_not_fit_is_refused(pretrained: Pretrained, tmp_path: Path) -> None:
    other = write_own(tmp_path / "other.h5", make_scan(N=16))
    with pytest.raises(ConfigError, match=r"training\.init_from = .* patterns of 32 pixels, but .* have 16"):
        fine_tuning(pretrained, tmp_path, other)
    with pytest.raises(ConfigError, match=r"model\.width = 16, but the bundle was trained with 8"):
        fine_tuning(pretrained, tmp_path, width=16)
    with pytest.raises(BundleError, match="is not there"):
        fine_tuning(pretrained, tmp_path, init_from=tmp_path / "nowhere")


def test_start_that_was_changed_after_the_payload_is_refused(
    pretrained: Pretrained, scans: Path, tmp_path: Path
) -> None:
    bundle = train(scans, tmp_path / "run", max_epochs=1).bundle_path
    payload = fine_tuning(pretrained, tmp_path / "tuned", init_from=bundle)
    train(scans, tmp_path / "run", max_epochs=1, seed=5)
    with open_scan(pretrained.unseen) as scan, pytest.raises(BundleError, match="were changed since"):
        build_module(payload, scan, 1)


def test_bundle_of_a_set_says_what_is_predicted_also_through_the_api(pretrained: Pretrained, tmp_path: Path) -> None:
    payload = create_inference_payload(pretrained.result.bundle_path, pretrained.unseen, tmp_path)
    assert payload.overrides_applied["N"] == 32
    assert payload.photons == pytest.approx(payload.mean_counts * payload.count_factor)


def test_a_set_with_a_scan_that_is_certainly_wrong_is_refused_by_name(scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(scans, folder)
    entries = json.loads((folder / "set.json").read_text())["scans"]
    bad = folder / entries[1]["file"]
    with h5py.File(bad, "r+") as file:
        file["patterns"][3] = 0
    write_index(folder, [entry_of(folder / one["file"]) for one in entries])
    request = RunRequest(scan=folder, output_dir=tmp_path / "o", overrides={"training.max_epochs": 1})
    with pytest.raises(DataFormatError, match=rf"{bad.name}: 1 of .* patterns \(3\) hold no count"):
        run_train(request)


@pytest.mark.parametrize("said", [{"data.drop_frames": "auto"}, {"data.mask_saturated": True}])
def test_what_is_left_out_of_a_scan_is_not_left_out_of_a_set(scans: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(DataFormatError, match="Convert its scans"):
        run_train(RunRequest(scan=scans, output_dir=tmp_path / "o", overrides=said))
