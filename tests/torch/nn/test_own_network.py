"""A user's own network: the example of docs/extending.md, taken from the page, trained and predicted with."""

from __future__ import annotations

import re
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats.product_h5 import read_product
from ptycho_dist.data.scan import Scan
from ptycho_dist.errors import ConfigError
from ptycho_dist.inference.run import run_inference
from ptycho_dist.launching.environment import detect
from ptycho_dist.nn import registry
from ptycho_dist.training.run import run_training
from tests.support.runs import inference_payload, training_payload

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="ascii"), flags=re.DOTALL)
    return str(next(block for block in blocks if "@register_network" in block))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Save the example under a name of its own, where Python finds it."""
    registry._NETWORKS.entries()  # the shipped ones join the original, not the copy
    monkeypatch.setattr(registry, "_NETWORKS", deepcopy(registry._NETWORKS))
    name = "network_of_the_page"
    (tmp_path / f"{name}.py").write_text(example(), encoding="ascii")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_example_has_fewer_than_forty_lines() -> None:
    assert len(example().splitlines()) < 40


def test_example_trains_and_predicts(module: str, tiny_path: Path, tiny_scan: Scan, tmp_path: Path) -> None:
    changes = {"architecture": f"{module}:plain", "max_steps": 8, "learning_rate": 1e-2}
    payload = training_payload(tiny_path, tmp_path / "run", **changes)
    losses = run_training(payload, detect({}), tiny_scan).losses
    assert losses[-1] < losses[0]
    prediction = inference_payload(tmp_path / "run", tiny_path, tmp_path / "run")
    assert prediction.model_config.architecture == f"{module}:plain"
    result = run_inference(prediction, detect({}), tiny_scan)
    assert np.abs(read_product(result.product_path).object_ - 1).max() > 0.05


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:plain", r"there is no module 'no_such_module'.*PYTHONPATH"),
        ("json.no_such:plain", r"there is no module 'json.no_such'"),
        ("network_of_the_page:fancy", r"registers no network 'fancy'.*@register_network\(\"fancy\"\)"),
        ("network_of_the_page:", r"registers no network"),
    ],
)
@pytest.mark.usefixtures("module")
def test_wrong_name_of_an_own_network_is_refused(tiny_path: Path, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        training_payload(tiny_path, tmp_path, architecture=name)


def test_error_inside_an_own_network_is_not_hidden(
    tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network_that_lacks.py").write_text("import not_installed_anywhere\n", encoding="ascii")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        training_payload(tiny_path, tmp_path, architecture="network_that_lacks:any")
