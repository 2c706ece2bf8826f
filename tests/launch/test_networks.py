"""Real ranks: a user's own network that sees groups, with a part of it frozen, trained and predicted as by one rank."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ptycho_dist.bundle import load_bundle
from tests.support.launch import run_well, step_losses

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.mark.exhaustive
def test_two_ranks_use_a_network_of_the_users_own_like_one(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="ascii"), flags=re.DOTALL)
    (tmp_path / "my_network.py").write_text(block, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    network = ["--architecture", "my_network:plain", "--width", 8, "--group-as-channels", "--gridsize", 2]
    settings = [*network, "--accelerator", "cpu", "--quiet", "--precision", "64-true", "--max_steps", 6]
    for ranks in (1, 2):
        frozen = ["--freeze", "[networks.0.first,probe]"]
        folder = ["--output_dir", tmp_path / f"{ranks}", "--devices", ranks]
        run_well(["train", scan, *settings, "--batch_size", 5, "--learning_rate", 1e-2, *frozen, *folder])
    losses = step_losses(tmp_path / "1")
    assert len(losses) == 6
    assert step_losses(tmp_path / "2") == pytest.approx(losses, rel=1e-9, abs=0)
    one, two = (load_bundle(tmp_path / f"{ranks}" / "bundle").state for ranks in (1, 2))
    for name, value in one.items():
        assert two[name].numpy() == pytest.approx(value.numpy(), abs=1e-9), name
        if name.startswith(("networks.0.first", "optics")):
            assert two[name].numpy().tobytes() == value.numpy().tobytes(), name
    ending = ["--accelerator", "cpu", "--quiet", "--devices", 2, "--output_dir", tmp_path / "2"]
    run_well(["infer", scan, "--model_path", tmp_path / "2", *ending])
    assert (tmp_path / "2" / "reconstruction.h5").is_file()
