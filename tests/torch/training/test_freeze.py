"""Parts of the network that a training leaves as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ptycho_dist.bundle import load_bundle
from ptycho_dist.data.scan import Scan, open_scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import detect
from ptycho_dist.training.freeze import freeze
from ptycho_dist.training.run import build_module, run_training
from tests.support.runs import simulate_tiny, training_payload

EVERYTHING = ("networks", "steps", "probe", "intensity_scale")


def trained(path: Path, folder: Path, **changes: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights before and after a short training."""
    usual = {"max_steps": 4, "learning_rate": 1e-2, "gradient_clip_val": 1.0}
    payload = training_payload(path, folder, **usual | changes)
    with open_scan(path) as scan:
        module = build_module(payload, scan, 1)
        before = {name: value.clone() for name, value in module.model.state_dict().items()}
        after = load_bundle(run_training(payload, detect({}), scan).bundle_path).state
    return before, after


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    ("pattern", "is_frozen"),
    [
        ("networks.0.stem", lambda name: name.startswith("networks.0.stem.")),
        ("networks", lambda name: name.startswith("networks.")),
        ("networks.?.norm.*", lambda name: name.split(".")[2:3] == ["norm"]),
        ("*.bias", lambda name: name.endswith(".bias")),
        ("steps", lambda name: name == "steps"),
        ("probe", lambda name: name == "optics.probe_parts"),
        ("intensity_scale", lambda name: name == "optics.log_scale"),
    ],
)
def test_frozen_weights_keep_their_bits_and_the_others_do_not(
    tiny_path: Path, tmp_path: Path, pattern: str, is_frozen: Any
) -> None:
    before, after = trained(tiny_path, tmp_path, freeze=(pattern,), intensity_scale_trainable=True)
    assert changed(before, after) == {name for name in before if not is_frozen(name)}


def test_whole_network_may_be_frozen_to_fit_the_probe(tiny_path: Path, tmp_path: Path) -> None:
    before, after = trained(tiny_path, tmp_path, freeze=("networks", "steps"))
    assert changed(before, after) == {"optics.probe_parts"}


def test_fine_tuning_on_a_scan_of_another_probe_keeps_the_frozen_part(tiny_path: Path, tmp_path: Path) -> None:
    _, start = trained(tiny_path, tmp_path / "first")
    other = simulate_tiny(tmp_path / "other.h5", defocus_m=4e-5)
    freezing = ("networks.0", "networks.1.stem")
    before, after = trained(other, tmp_path / "tuned", init_from=tmp_path / "first", freeze=freezing,
                            probe_learning_rate=1e-4, learning_rate=1e-4)  # fmt: skip
    kept = [name for name in start if name.startswith(freezing)]
    assert kept
    assert all(torch.equal(after[name], start[name]) for name in kept)
    assert not torch.equal(before["optics.probe_parts"], start["optics.probe_parts"])
    assert not torch.equal(after["optics.probe_parts"], before["optics.probe_parts"])


@pytest.mark.parametrize(
    ("patterns", "changes", "words"),
    [
        (("networks.0.stm",), {}, r"'networks.0.stm' names nothing that is trained; expected one of networks, .*stem"),
        (("stepz",), {}, "Did you mean 'steps'"),
        (("probe",), {"probe_trainable": False}, "'probe' names nothing that is trained"),
        (EVERYTHING, {"intensity_scale_trainable": True}, "leaves nothing to train; expected to keep some of "),
        (("*",), {}, "leaves nothing to train"),
    ],
)
def test_wrong_freezing_is_refused(
    tiny_path: Path, tiny_scan: Scan, tmp_path: Path, patterns: tuple[str, ...], changes: dict[str, Any], words: str
) -> None:
    payload = training_payload(tiny_path, tmp_path, freeze=patterns, **changes)
    with pytest.raises(ConfigError, match=words):
        build_module(payload, tiny_scan, 1)


def test_freeze_names_what_it_froze(tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    model = build_module(training_payload(tiny_path, tmp_path), tiny_scan, 1).model
    assert freeze(model, ("steps", "*.stem.bias")) == ("networks.0.stem.bias", "networks.1.stem.bias", "steps")
    assert freeze(model, ()) == ()
