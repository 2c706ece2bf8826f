"""Values that cannot be meant, and the ones that are meant instead."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ptycho_dist.commands.registry import commands
from ptycho_dist.config import precedence
from ptycho_dist.config.execution import PRECISIONS, SCHEDULERS, PyTorchExecutionConfig
from ptycho_dist.config.nearest import MEANT, nearest
from ptycho_dist.config.plausibility import MAGNITUDES, NEEDS, NO_LONGER_THAN, doubts
from ptycho_dist.config.refine import METHOD_DEFAULTS, RefineConfig
from ptycho_dist.config.schema import DataConfig, TrainingConfig
from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.config.simulate import SimulateConfig
from ptycho_dist.errors import ConfigError

DEFAULTS = precedence.defaults(ALL_SECTIONS).values
PATHS: dict[type[Any], dict[str, Path]] = {
    RefineConfig: {"scan": Path("a"), "output_dir": Path("b")},
    TrainingConfig: {"train_data_file": Path("a"), "output_dir": Path("b")},
    SimulateConfig: {"output_file": Path("a.h5")},
}


@pytest.mark.parametrize(
    ("config", "values", "words"),
    [
        (DataConfig, {"pixel_size_m": 20.0}, r"pixel_size_m = 20\.0 m; expected 1e-13 to 0\.001 m\..*20 nm is 20e-9"),
        (DataConfig, {"pixel_size_m": 20e-20}, "expected 1e-13 to 0.001 m"),
        (
            DataConfig,
            {"energy_eV": 8.8e9},
            r"expected 0\.05 to 1e\+07 eV\. Energies are in electronvolts: 8 keV",
        ),
        (DataConfig, {"detector_distance_m": 1920.0}, "expected 1e-06 to 1000 m"),
        (DataConfig, {"detector_pixel_m": 75.0}, "75 um is 75e-6"),
        (DataConfig, {"scan_step_m": 0.5}, "data.scan_step_m = 0.5 m"),
        (DataConfig, {"angle_per_pixel_rad": 1.2}, "1 mrad is 1e-3"),
        (DataConfig, {"source_distance_m": 1e5}, "data.source_distance_m"),
        (SimulateConfig, {"pixel_size_m": 20.0}, "simulate.pixel_size_m = 20.0 m"),
        (SimulateConfig, {"energy_eV": 1e-3}, "simulate.energy_eV"),
        (PyTorchExecutionConfig, {"learning_rate": 1e3}, "execution.learning_rate = 1000.0; expected 1e-12 to 100"),
        (RefineConfig, {"position_start": 500, "iterations": 3}, "position_start = 500 with refine.iterations = 3"),
        (RefineConfig, {"position_start": 3, "iterations": 3}, "expected less than 3"),
        (
            TrainingConfig,
            {"mode": "mixed", "stage_1_epochs": 9, "max_epochs": 9},
            "stage_1_epochs = 9 with",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_unit_and_range(config: type[Any], values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**PATHS.get(config, {}), **values)


@pytest.mark.parametrize(
    "given",
    [{"position_start": 2, "iterations": 3}, {"position_start": 5, "iterations": 0}, {"position_start": None}],
)
def test_positions_that_are_refined_some_time_are_accepted(given: dict[str, Any]) -> None:
    assert RefineConfig(**PATHS[RefineConfig], **given).position_start == given["position_start"]


@pytest.mark.parametrize("name", sorted(MAGNITUDES))
def test_usual_values_are_possible_and_defaults_are_usual(name: str) -> None:
    magnitude = MAGNITUDES[name]
    (low, high), (least, most) = magnitude.possible, magnitude.usual
    assert low <= least < most <= high
    owners = [(section, config) for section, config in {**ALL_SECTIONS, "simulate": SimulateConfig}.items()
              if name in {field.name for field in fields(config)}]  # fmt: skip
    assert owners
    assert list(doubts({f"{section}.{name}": least for section, _ in owners}, {})) == []
    assert len(list(doubts({f"{section}.{name}": low for section, _ in owners}, {}))) == len(owners) * (low < least)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data.energy_eV": 8.0}, "data.energy_eV = 8 eV is unusual; most are 100 to 310000 eV. Energies are in"),
        ({"execution.learning_rate": 2.0}, "execution.learning_rate = 2 is unusual"),
        ({"training.lr_gamma": 0.9}, "training.lr_gamma = 0.9 changes nothing: it is used with execution.scheduler = "),
        ({"training.momentum": 0.8}, "used with training.optimizer = 'sgd', not 'adamw'"),
        ({"refine.position_step": 1.0}, "used with a refine.position_start, not None"),
        ({"refine.method": "lsqml", "refine.alpha": 0.5}, "used with refine.method = 'pie', not 'lsqml'"),
        (
            {"refine.iterations": 0, "refine.flux": True},
            "refine.flux = True changes nothing: it is used with a",
        ),
        (
            {"execution.recon_log_every_n_epochs": 50, "training.max_epochs": 9},
            "is not reached: training.max_epo",
        ),
        ({"execution.early_stop_patience": 60, "training.max_epochs": 60}, "is not reached"),
    ],
)
def test_what_is_unlikely_or_idle_is_told(given: dict[str, Any], words: str) -> None:
    (said,) = doubts(given, DEFAULTS)
    assert words in said


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data.energy_eV": 8e3, "data.pixel_size_m": 2e-8, "data.detector_distance_m": 1.9},
        {"execution.scheduler": "Exponential", "training.lr_gamma": 0.9},
        {"training.lr_gamma": 0.95},
        {"training.max_epochs": 3},
        {"refine.iterations": 0},
        {"refine.position_start": 2, "refine.position_step": 1.0},
    ],
)
def test_what_may_be_meant_is_not_doubted(given: dict[str, Any]) -> None:
    assert list(doubts(given, DEFAULTS)) == []


def test_rules_name_settings_that_there_are() -> None:
    known = {f"{section}.{field.name}" for command in commands().values()
             for section, config in command.sections.items() for field in fields(config)}  # fmt: skip
    assert set(NEEDS) | {needed.other for needed in NEEDS.values()} <= known
    assert set(NO_LONGER_THAN) | set(NO_LONGER_THAN.values()) <= known
    for needed in NEEDS.values():
        section, _, name = needed.other.partition(".")
        for value in needed.values:
            ALL_SECTIONS[section](**PATHS.get(ALL_SECTIONS[section], {}), **{name: value})


@pytest.mark.parametrize(
    ("value", "choices", "meant"),
    [
        ("cosine", SCHEDULERS, "WarmupCosine"),
        ("warmupcosine", SCHEDULERS, "WarmupCosine"),
        ("Exponental", SCHEDULERS, "Exponential"),
        ("plateau", SCHEDULERS, "ReduceLROnPlateau"),
        ("16", PRECISIONS, "16-mixed"),
        (32, PRECISIONS, "32-true"),
        ("rpie", tuple(METHOD_DEFAULTS), "pie"),
        ("unet", ("lean", "ptychopinn_cnn", "vit"), "ptychopinn_cnn"),
        ("Lean", ("lean", "vit"), "lean"),
        ("nonsense", SCHEDULERS, None),
        ("x", (True, False), None),
    ],
)
def test_the_nearest_value_is_found(value: object, choices: tuple[Any, ...], meant: str | None) -> None:
    assert nearest(value, choices) == meant


def test_words_of_other_programs_are_in_lower_case() -> None:
    assert [word for word in MEANT if word != word.lower()] == []


def test_a_wrong_choice_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*'WarmupCosine'.* Did you mean 'WarmupCosine'\?"):
        PyTorchExecutionConfig(scheduler="cosine")
    with pytest.raises(ConfigError, match=r"expected one of 'adam', 'adamw', 'sgd'. Change training.optimizer"):
        TrainingConfig(**PATHS[TrainingConfig], optimizer="lbfgs")
