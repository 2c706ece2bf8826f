"""Tests of precedence and naming on small configs of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.config.fields import coerce
from ptycho_dist.config.precedence import Level, RunRequest, canonicalise, defaults, resolve, settings_of_file
from ptycho_dist.config.sections import (
    ALIASES,
    ALL_SECTIONS,
    INFERENCE_SECTIONS,
    MOVED,
    REFINE_SECTIONS,
    TRAINING_SECTIONS,
    homes,
)
from ptycho_dist.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class One:
    shared: int = 1
    path: Path


@dataclass(frozen=True, kw_only=True)
class Two:
    shared: int = 2
    rows: tuple[float, float] = (0.0, 1.0)


TOY = {"one": One, "two": Two}


def test_resolve_takes_the_first_level_and_records_all() -> None:
    lower = [Level("config_file", {"a.x": 2, "a.y": 3}), Level("default", {"a.y": 4, "a.z": 5})]
    result = resolve([Level("override", {"a.x": 1}), *lower])
    assert dict(result.values) == {"a.x": 1, "a.y": 3, "a.z": 5}
    assert dict(result.provenance) == {"a.x": "override > config_file", "a.y": "config_file", "a.z": "default"}
    assert result.section("a") == {"x": 1, "y": 3, "z": 5}


def test_defaults_leave_out_required_fields() -> None:
    assert defaults(TOY).values == {"one.shared": 1, "two.shared": 2, "two.rows": (0.0, 1.0)}


def test_canonicalise_refuses_a_plain_key_of_two_configs_when_not_dotted() -> None:
    with pytest.raises(ConfigError, match=r"'shared' is a field of 2 configs.*Write one\.shared or two\.shared"):
        canonicalise({"shared": 1}, TOY, "override")
    assert canonicalise({"two.shared": 1}, TOY, "override").values == {"two.shared": 1}


def test_canonicalise_drops_keys_of_the_other_stage_only_when_asked() -> None:
    given = {"patch_weighting": "uniform", "seed": 3}
    assert canonicalise(given, TRAINING_SECTIONS, "f", drop_foreign=True).values == {"training.seed": 3}
    with pytest.raises(ConfigError, match=r"'patch_weighting' is inference\.patch_weighting"):
        canonicalise(given, TRAINING_SECTIONS, "f")


def test_output_dir_belongs_to_the_stage_that_asks() -> None:
    assert canonicalise({"output_dir": "x"}, TRAINING_SECTIONS, "f").values == {"training.output_dir": Path("x")}
    assert canonicalise({"output_dir": "x"}, INFERENCE_SECTIONS, "f").values == {"inference.output_dir": Path("x")}


@pytest.mark.parametrize("sections", [TRAINING_SECTIONS, INFERENCE_SECTIONS])
def test_every_field_has_one_home_in_each_stage(sections: Any) -> None:
    names = [name for config in sections.values() for name in config.__dataclass_fields__]
    assert len(names) == len(set(names))


def test_aliases_name_existing_fields_and_hide_none() -> None:
    for alias, name in ALIASES.items():
        assert homes(name, ALL_SECTIONS)
        assert not homes(alias, ALL_SECTIONS)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, float, 1.0), ("a/b", Path, Path("a/b")), ([0, 1], tuple[float, float], (0.0, 1.0)),
        (None, int | None, None),
        (True, bool | str, True), ("warn", bool | str, "warn"), (3, int | str, 3),
    ],
)  # fmt: skip
def test_coerce_keeps_the_value_and_declares_the_type(value: Any, hint: Any, expected: Any) -> None:
    result = coerce("a.x", value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [(True, int), (1, bool), (1.5, int), ("1", float), (None, int), ([1.0], tuple[float, float]), (3, Path), (1, str)],
)
def test_coerce_refuses_when_the_type_differs(value: Any, hint: Any) -> None:
    with pytest.raises(ConfigError, match=r"a\.x = .* expected "):
        coerce("a.x", value, hint)


def test_request_splits_overrides_by_stage() -> None:
    overrides = {"training.seed": 1, "inference.patch_weighting": "uniform", "execution.devices": 2}
    in_file = settings_of_file({"epochs": 3, "batch_size": 4})
    request = RunRequest(scan=Path("s"), output_dir=Path("o"), overrides=overrides, in_file=in_file)
    typed, read = (level.values for level in request.levels(TRAINING_SECTIONS))
    assert typed == {"training.seed": 1, "execution.devices": 2}
    assert read == {"training.max_epochs": 3, "training.batch_size": 4}
    typed, read = (level.values for level in request.levels(REFINE_SECTIONS))
    assert typed == {"execution.devices": 2}
    assert read == {"refine.batch_size": 4}


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_names_of_settings_that_moved_are_still_known(old: str, new: str) -> None:
    values = {"propagation": "near_field", "probe_trainable": False, "n_modes": 2, "background": "pixel"}
    value = values.get(new.partition(".")[2], 20.0)
    assert canonicalise({old: value}, ALL_SECTIONS, "override").values == {new: value}
    assert homes(new.partition(".")[2], ALL_SECTIONS) == ("data",)


@pytest.mark.parametrize(("former", "value"), [(True, "pixel"), (False, "none")])
def test_former_values_of_the_background_are_still_known(former: bool, value: str) -> None:
    assert canonicalise({"refine.background": former}, ALL_SECTIONS, "file").values == {"data.background": value}
