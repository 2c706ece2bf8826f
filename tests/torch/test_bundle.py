"""Tests of the model bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ptycho_dist.bundle import INFO_NAME, WEIGHTS_NAME, find_bundle, load_bundle, read_bundle_info, save_bundle
from ptycho_dist.errors import BundleError

PAYLOAD: dict[str, Any] = {"data": {"N": 32, "nphotons": 1.5e5}, "model": {"width": 8, "output_px": None}}


def some_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, generator=generator)
    return {
        "weight": weight,
        "transposed": weight.t(),
        "half": weight.to(torch.bfloat16),
        "probe": torch.randn(2, 8, 8, generator=generator, dtype=torch.complex64),
        "conjugate": torch.randn(3, generator=generator, dtype=torch.complex128).conj(),
        "steps": torch.tensor(7),
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return save_bundle(tmp_path / "bundle", some_state(), PAYLOAD)


def test_bundle_gives_back_the_same_tensors_and_payload(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert loaded.payload_dict == PAYLOAD
    assert set(loaded.state) == set(some_state())
    for name, tensor in some_state().items():
        assert loaded.state[name].dtype == tensor.dtype
        assert torch.equal(loaded.state[name], tensor.resolve_conj())


def test_bundle_info_names_the_weights_it_belongs_to(bundle: Path, tmp_path: Path) -> None:
    other = save_bundle(tmp_path / "other", {"weight": torch.zeros(2)}, PAYLOAD)
    assert read_bundle_info(bundle).weights_checksum == load_bundle(bundle).weights_checksum
    assert read_bundle_info(other).weights_checksum != read_bundle_info(bundle).weights_checksum


def test_bundle_has_no_pickle_in_it(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [INFO_NAME, WEIGHTS_NAME]
    assert "probe" in safetensors.torch.load_file(bundle / WEIGHTS_NAME)
    assert json.loads((bundle / INFO_NAME).read_text())["complex"] == ["conjugate", "probe"]


def test_save_replaces_an_older_bundle_and_leaves_nothing_behind(bundle: Path) -> None:
    save_bundle(bundle, {"weight": torch.zeros(1)}, PAYLOAD)
    assert set(load_bundle(bundle).state) == {"weight"}
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_save_leaves_the_older_bundle_when_the_payload_is_not_plain(bundle: Path) -> None:
    with pytest.raises(BundleError, match="plain values"):
        save_bundle(bundle, some_state(), {"path": Path("x")})
    assert load_bundle(bundle).payload_dict == PAYLOAD
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_find_bundle_accepts_the_output_folder(bundle: Path) -> None:
    assert find_bundle(bundle.parent) == find_bundle(bundle) == bundle


def test_load_refuses_when_weights_are_truncated(bundle: Path) -> None:
    weights = bundle / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(BundleError, match=r"weights.safetensors has \d+ bytes; expected \d+"):
        load_bundle(bundle)


def test_load_refuses_when_one_byte_of_the_weights_differs(bundle: Path) -> None:
    content = bytearray((bundle / WEIGHTS_NAME).read_bytes())
    content[-1] ^= 1
    (bundle / WEIGHTS_NAME).write_bytes(content)
    with pytest.raises(BundleError, match="does not match its checksum"):
        load_bundle(bundle)


def change(bundle: Path, **changes: Any) -> None:
    path = bundle / INFO_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema_version": 99}, "schema version 99, written by ptycho-dist"),
        ({"schema_version": "1"}, "schema_version = '1'; expected a int"),
        ({"payload": {"data": {"N": 64}}}, "do not match their checksum"),
        ({"weights_sha256": None}, "weights_sha256 = None"),
        ({"complex": ["weight"]}, "'weight' is not stored as pairs"),
        ({"complex": ["none"]}, "'none' is not stored as pairs"),
    ],
)
def test_load_refuses_when_the_info_was_changed(bundle: Path, changes: dict[str, Any], words: str) -> None:
    change(bundle, **changes)
    with pytest.raises(BundleError, match=words):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_info_refuses_when_the_json_is_damaged(bundle: Path, text: str) -> None:
    (bundle / INFO_NAME).write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle_info(bundle)


@pytest.mark.parametrize("name", [INFO_NAME, WEIGHTS_NAME])
def test_info_refuses_when_a_file_is_missing(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle_info(bundle)


def test_find_bundle_refuses_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not there"):
        find_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match=r"has no bundle\.json"):
        find_bundle(tmp_path)
