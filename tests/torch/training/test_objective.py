"""Supervised, unsupervised and mixed training, priors, and the weights of all terms."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from ptycho_dist.bundle import load_bundle
from ptycho_dist.config.schema import TrainingConfig
from ptycho_dist.data.labels import read_labels
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.data.scan_set import open_source
from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.launching.environment import detect
from ptycho_dist.physics.regularisers import amplitude_deviation, label_error, total_variation
from ptycho_dist.training.objective import physics_share
from ptycho_dist.training.run import build_module, run_training
from tests.support.runs import training_payload
from tests.support.sets import simulate_small_set

Train = Callable[..., list[dict[str, str]]]


@pytest.fixture
def train(tiny_path: Path, tmp_path: Path) -> Train:
    def run(name: str, source: Path = tiny_path, **overrides: Any) -> list[dict[str, str]]:
        payload = training_payload(source, tmp_path / name, **overrides)
        with open_source(source) as opened:
            run_training(payload, detect(os.environ), opened)
        return list(csv.DictReader((tmp_path / name / "logs" / "metrics.csv").read_text().splitlines()))

    return run


def column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name)]


def random_patches(seed: int, count: int = 3) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(count, 8, 8)) + 1j * rng.normal(size=(count, 8, 8)))


WEIGHT = torch.from_numpy(np.random.default_rng(9).uniform(0.1, 1.0, (8, 8)))


def test_label_error_is_zero_for_the_label_at_any_phase_and_one_for_nothing() -> None:
    labels = random_patches(0)
    turned = (
        labels * torch.polar(torch.ones(3, dtype=torch.float64), torch.tensor([0.3, 2.0, -3.0]).double())[:, None, None]
    )
    assert label_error(turned, labels, WEIGHT).abs().max() < 1e-12
    assert torch.allclose(label_error(torch.zeros_like(labels), labels, WEIGHT), torch.ones(3, dtype=torch.float64))


def test_label_error_is_the_least_over_all_phases() -> None:
    patches, labels = random_patches(1), random_patches(2)
    phases = torch.polar(
        torch.ones(2000, dtype=torch.float64), torch.linspace(0, 2 * torch.pi, 2000, dtype=torch.float64)
    )
    tried = torch.stack([(WEIGHT * (patches - phase * labels).abs().square()).sum((1, 2)) for phase in phases])
    expected = tried.amin(0) / (WEIGHT * labels.abs().square()).sum((1, 2))
    assert torch.allclose(label_error(patches, labels, WEIGHT), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "term",
    [
        lambda patches: label_error(patches, random_patches(4), WEIGHT),
        lambda patches: total_variation(patches, WEIGHT),
        lambda patches: amplitude_deviation(patches, WEIGHT),
    ],
)
def test_terms_have_the_right_slopes(term: Callable[[Tensor], Tensor]) -> None:
    assert torch.autograd.gradcheck(term, random_patches(3).requires_grad_())


def test_priors_know_flat_from_rough_and_strong_from_weak() -> None:
    flat = torch.full((1, 8, 8), 0.5 + 0j, dtype=torch.complex128)
    step = flat.clone()
    step[:, 4:] = 1.5
    assert total_variation(flat, WEIGHT).item() < 2e-4
    assert total_variation(step, torch.ones(8, 8).double()).item() == pytest.approx(1 / 7, rel=1e-3)
    assert amplitude_deviation(flat, WEIGHT).item() == pytest.approx(0.25)
    assert amplitude_deviation(flat * 2j, WEIGHT).item() < 1e-12


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential"])
def test_physics_share_rises_from_labels_alone_to_patterns_alone(schedule: str) -> None:
    training = TrainingConfig(train_data_file=Path("a"), output_dir=Path("b"), mode="mixed", max_epochs=12,
                              stage_1_epochs=3, stage_2_epochs=5, physics_weight_schedule=schedule)  # fmt: skip
    shares = [physics_share(training, epoch) for epoch in range(12)]
    assert shares[:3] == [0.0] * 3
    assert all(one < two for one, two in pairwise(shares[2:9]))
    assert shares[8:] == [1.0] * 4


def test_weights_and_values_of_all_terms_are_logged(train: Train) -> None:
    rows = train("mixed", mode="mixed", max_epochs=3, tv_weight=0.2, amplitude_weight=0.1, label_weight=2.0)
    data, label = (column(rows, f"weight_{name}") for name in ("data", "label"))
    assert data == pytest.approx([1 - value / 2 for value in label])
    assert data[0] < data[1] < data[2]
    assert (column(rows, "weight_tv"), column(rows, "weight_amplitude")) == ([0.2] * 3, [0.1] * 3)
    terms = {name: column(rows, f"train_{name}") for name in ("data", "label", "tv", "amplitude")}
    sums = [sum(column(rows, f"weight_{name}")[epoch] * terms[name][epoch] for name in terms) for epoch in range(3)]
    assert column(rows, "train_loss") == pytest.approx(sums, rel=1e-6)


def test_unsupervised_training_logs_no_weights(train: Train) -> None:
    assert not [name for row in train("plain", max_epochs=1) for name in row if name.startswith("weight")]


def test_supervised_training_learns_the_object_without_touching_the_probe(
    train: Train, tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    rows = train("labels", mode="supervised", max_epochs=30, learning_rate=1e-2)
    losses = column(rows, "train_loss")
    assert losses[-1] < 0.6 * losses[0]
    bundle = load_bundle(tmp_path / "labels" / "bundle")
    assert bundle.payload_dict["data"]["probe_trainable"] is False
    untouched = build_module(training_payload(tiny_path, tmp_path, mode="supervised"), tiny_scan, 1)
    assert torch.equal(bundle.state["optics.probe_parts"], untouched.model.state_dict()["optics.probe_parts"])


def test_priors_act_on_the_patches(train: Train) -> None:
    smooth = train("smooth", max_epochs=4, tv_weight=10.0)
    strong = train("strong", max_epochs=4, amplitude_weight=10.0)
    free = train("measured", max_epochs=4, tv_weight=1e-12, amplitude_weight=1e-12)
    assert column(smooth, "train_tv")[-1] < 0.8 * column(free, "train_tv")[-1]
    assert column(strong, "train_amplitude")[-1] < 0.7 * column(free, "train_amplitude")[-1]


def test_supervised_training_on_a_set_learns_from_the_object_of_each_scan(train: Train, tmp_path: Path) -> None:
    scans = simulate_small_set(tmp_path / "set", 3)
    losses = column(train("of a set", scans, mode="supervised", max_epochs=8, val_fraction=0.3), "train_loss")
    assert losses[-1] < 0.9 * losses[0]


def test_labels_are_on_the_scale_in_which_the_probe_explains_the_mean_counts(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path
) -> None:
    labels = read_labels(tiny_scan, None, 16)
    model = build_module(training_payload(tiny_path, tmp_path), tiny_scan, 1).model
    light = model.patch_weight()
    through = [
        float((light * patch.abs().square()).sum() / light.sum()) for patch in labels.patches(tiny_scan.positions_px)
    ]
    assert np.mean(through) == pytest.approx(1.0, rel=1e-2)


def test_labels_are_the_part_of_the_object_that_a_pattern_shows(tiny_scan: Scan) -> None:
    labels = read_labels(tiny_scan, None, 16)
    positions = np.array([[3.0, 5.0], [4.25, 6.5]]) + labels.origin_px
    found = labels.patches(positions).numpy()
    object_ = labels.object_HW.numpy()
    np.testing.assert_array_equal(found[0], object_[11:27, 13:29])
    assert tiny_scan.object_ is not None
    ratio = object_ / tiny_scan.object_
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    mixed = sum(
        object_[12 + dy : 28 + dy, 14 + dx : 30 + dx] * (0.25 if dy else 0.75) * 0.5 for dy in (0, 1) for dx in (0, 1)
    )
    np.testing.assert_allclose(found[1], mixed, rtol=1e-5)


def test_labels_from_a_file_are_those_of_the_scan_that_holds_the_same(
    train: Train, tiny_scan: Scan, tmp_path: Path
) -> None:
    """The tiny scan's object begins at position 0; an NPZ is placed at the smallest position, so it is shifted."""
    object_, origin = tiny_scan.object_, tiny_scan.object_origin_px
    assert object_ is not None
    assert origin is not None
    low = np.floor(tiny_scan.positions_px.min(axis=0) - origin).astype(int)
    np.savez(tmp_path / "truth.npz", object=object_[low[0] :, low[1] :])
    own = train("own", mode="supervised", max_epochs=1)
    filed = train("filed", mode="supervised", max_epochs=1, label_file=tmp_path / "truth.npz")
    assert column(own, "train_loss") == column(filed, "train_loss")


def test_labels_are_refused_when_they_cannot_be_learnt_from(tiny_scan: Scan, tiny_path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", object=np.ones((20, 20), complex))
    with pytest.raises(DataFormatError, match="does not cover the patches of"):
        read_labels(tiny_scan, tmp_path / "small.npz", 16)
    np.savez(tmp_path / "nan.npz", object=np.full((200, 200), np.nan + 0j))
    with pytest.raises(DataFormatError, match="NaN or infinite"):
        read_labels(tiny_scan, tmp_path / "nan.npz", 16)
    bare = tmp_path / "bare.h5"
    bare.write_bytes(tiny_path.read_bytes())
    with h5py.File(bare, "a") as file:
        del file["object"]
    with open_scan(bare) as scan, pytest.raises(DataFormatError, match="holds no object to learn from"):
        read_labels(scan, None, 16)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "supervised", "probe_trainable": True}, "labels say nothing of it"),
        ({"mode": "mixed", "label_file": "nosuch.npz"}, "nosuch.npz is not a file"),
        ({"label_file": "x.npz"}, "training.mode = 'unsupervised'"),
    ],
)
def test_payload_is_refused_when_labels_do_not_fit(
    tiny_path: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, DataFormatError), match=said):
        training_payload(tiny_path, tmp_path, **settings)


def test_one_file_of_labels_is_refused_for_a_set(tmp_path: Path) -> None:
    scans = simulate_small_set(tmp_path / "set", 2)
    with pytest.raises(ConfigError, match="labelled by its own object"):
        training_payload(scans, tmp_path, mode="mixed", label_file=tmp_path / "x.npz")


def test_changed_labels_make_another_training(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    path = tmp_path / "truth.npz"
    prints = []
    for value in (1.0, 2.0):
        np.savez(path, object=np.full((300, 300), value + 0j))
        payload = training_payload(tiny_path, tmp_path, mode="mixed", label_file=path)
        prints.append(payload.result_fingerprint())
    assert prints[0] != prints[1]
    np.savez(path, object=np.full((300, 300), 3.0 + 0j))
    with pytest.raises(DataFormatError, match="was changed since this job was begun"):
        run_training(payload, detect(os.environ), tiny_scan)
