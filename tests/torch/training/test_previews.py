"""Previews: the same on any number of ranks, and without an effect on the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.payload import TrainingPayload
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.previews import Preview, _forget_after, build_previews
from ptycho_dist.training.run import build_module, run_training
from tests.support.ranks import rank_context
from tests.support.runs import training_payload

PREVIEWS: dict[str, Any] = {"recon_log_every_n_epochs": 1, "recon_log_stitch": True}


def train(scan: Scan, folder: Path, **overrides: Any) -> dict[str, torch.Tensor]:
    payload = training_payload(scan.header.path, folder, max_epochs=3, **overrides)
    return load_bundle(run_training(payload, detect({}), scan).bundle_path).state


def make_payload(scan: Scan, folder: Path, **overrides: Any) -> TrainingPayload:
    return training_payload(scan.header.path, folder, **PREVIEWS, **overrides)


def test_previews_change_no_bit_of_the_training(tiny_scan: Scan, tmp_path: Path) -> None:
    without, with_them = train(tiny_scan, tmp_path / "a"), train(tiny_scan, tmp_path / "b", **PREVIEWS)
    assert len(list((tmp_path / "b" / "previews").iterdir())) == 3
    for name, tensor in without.items():
        assert torch.equal(tensor, with_them[name]), name


@pytest.mark.parametrize("world", [2, 3, 30])
def test_stitched_preview_has_the_same_bits_on_any_number_of_ranks(tiny_scan: Scan, tmp_path: Path, world: int) -> None:
    payload = make_payload(tiny_scan, tmp_path)
    model = build_module(payload, tiny_scan, 1).model.requires_grad_(requires_grad=False)
    whole = Preview(payload, tiny_scan, rank_context(0, 1)).share_of_sums(model)
    shares = [Preview(payload, tiny_scan, rank_context(rank, world)).share_of_sums(model) for rank in range(world)]
    assert whole.abs().max() > 0
    assert torch.equal(sum(shares[1:], shares[0]), whole)


def test_pictures_of_epochs_to_come_are_removed(tmp_path: Path) -> None:
    for name in ("epoch-0001.png", "epoch-0003.png", "epoch-0012.png", "epoch-mine.png", "notes.txt"):
        (tmp_path / name).write_text("x")
    _forget_after(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-0001.png",
        "epoch-0003.png",
        "epoch-mine.png",
        "notes.txt",
    ]


def test_previews_reach_tensorboard(tiny_scan: Scan, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_scan, tmp_path, logger_backend="tensorboard", **PREVIEWS)
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.step for event in events.Images("preview")] == [3, 7, 11]
    assert [name for name in events.Tags()["histograms"] if name.startswith("weights/")]


def test_previews_of_a_set_are_refused(tmp_path: Path) -> None:
    from ptycho_dist.config.simulate import SetConfig, SimulateConfig
    from ptycho_dist.data.scan_set import open_source
    from ptycho_dist.distributed.rank_group import open_rank_group
    from ptycho_dist.simulate.sets import simulate_set

    config = SimulateConfig(output_file=tmp_path / "set", n_patterns=9, N=32)
    with open_rank_group(detect({}), 10.0) as ranks:
        simulate_set(config, SetConfig(n_scans=1), ranks)
    with open_source(tmp_path / "set") as source, pytest.raises(ConfigError, match=r"expected one scan"):
        build_previews(training_payload(tmp_path / "set", tmp_path / "out", **PREVIEWS), source, detect({}))
