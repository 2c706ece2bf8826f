"""Help in two lengths, and settings that are printed as a file that explains itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ptycho_dist.cli import main
from ptycho_dist.commands.parser import ALL, build_parser, help_text, shown_flags, topics
from ptycho_dist.commands.parsing import parse
from ptycho_dist.commands.printed_config import config_text
from ptycho_dist.commands.registry import Command, commands
from ptycho_dist.commands.startup import make_request, own_section
from ptycho_dist.config import validators
from ptycho_dist.config.fields import field_docs, field_types
from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.errors import ConfigError
from ptycho_dist.factory.config_file import OWN_SECTIONS

BY_NAME = commands()
COMMANDS = tuple(BY_NAME.values())
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
FLAG = re.compile(r"^  --([\w.]+)", re.MULTILINE)


@each_command
def test_short_help_shows_what_most_runs_need_and_where_the_rest_is(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert FLAG.findall(text) == list(command.main_flags)
    assert 1 <= len(command.main_flags) <= 13
    assert command.example in text
    assert f"  {command.operand} " in text
    assert f"ptycho-dist {command.name} --help all" in text
    assert len(text.splitlines()) < 80


@each_command
def test_help_on_all_topics_is_the_whole_help(command: Command) -> None:
    whole = FLAG.findall(help_text(command, ALL))
    assert len(whole) == len(set(whole))
    by_topic = [flag for topic in topics(command)[1:] for flag in FLAG.findall(help_text(command, topic))]
    assert by_topic == whole
    assert set(command.main_flags) <= set(whole)
    assert f"All {len(whole)} flags" in help_text(command)


@each_command
def test_help_spells_every_name_with_underscores(command: Command) -> None:
    assert not re.findall(r"^  --\w+-\w", help_text(command, ALL), re.MULTILINE)


@pytest.mark.parametrize(
    "line", ["refine --help refine", "refine --help=refine", "help refine refine", "refine s -h refine"]
)
def test_help_on_a_topic(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    text = capsys.readouterr().out
    assert "--iterations" in text
    assert "--devices" not in text


def test_help_on_an_unknown_topic_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"no help on 'trainig' of train; expected all, files.*Did you mean training"):
        help_text(BY_NAME["train"], "trainig")


def test_flags_before_the_help_are_no_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "--devices", "2"]) == 0
    assert FLAG.findall(capsys.readouterr().out) == list(BY_NAME["train"].main_flags)


GIVEN: dict[str, str] = {
    "demo": "s --n_patterns 60 --max_epochs 2 --devices 1",
    "completion": "bash",
    "train": "s --max_epochs 7 --train_rows [0,0.5] --lr 2e-4 --init_from b --freeze [a] --max_time 00:10:00",
    "infer": "s --model_path b --region [0,-5,64,60] --follow x.h5 --timeout_s 5 --beam_center_px [3.5,4]",
    "reconstruct": "s --batch_size 4 --refine.batch_size 16 --iterations 0 --regularisation 0.5 --seed 0",
    "refine": "s --start b --regularisation auto --background pixel --drop_frames none --pixel_size_m 2e-8",
    "stitch": "s",
    "evaluate": "s --mask_saturated null --drop_frames 3,11",
    "simulate": "s --n_scans 3 --photons 1e4 --pictures [brick,coins] --probe_file p.h5 --devices 2",
    "convert": "s --to cxi --order as_measured --flip_rows",
    "inspect": "s --map m.yaml",
    "orient": "s --n_modes 2",
    "plan": "s --plan.ranks 1,2 --max_steps 20 --json",
    "doctor": "s --under torchrun --ranks 3",
    "report": "s --drop_frames 3,11",
    "figure": "s --kind frc --drop_frames 3,11",
    "watch": "s --serve --port 8000 --interval_s 2",
}  # fmt: skip


def settings_of(command: Command, line: list[str]) -> dict[str, Any]:
    """All that a command is given, by dotted name, in whatever way."""
    typed = parse(command, line)
    own = {f"{name}.{key}": value for name, config in command.sections.items() if name in OWN_SECTIONS
           for key, value in own_section(typed, name, config).items()}  # fmt: skip
    request = make_request(typed)
    shared = {name: config for name, config in command.sections.items() if name in ALL_SECTIONS}
    found = {key: value for level in reversed(request.levels(shared)) for key, value in level.values.items()}
    probe_file = {"simulate.probe_file": typed.paths["probe_file"]} if "probe_file" in typed.paths else {}
    paths = {"model_path": request.model_path, "start": request.start}
    return {**found, **own, **probe_file, **{name: path for name, path in paths.items() if path is not None}}


@pytest.mark.parametrize("form", ["all", "changed"])
@each_command
def test_printed_settings_are_read_back_with_the_same_meaning(command: Command, form: str, tmp_path: Path) -> None:
    line = GIVEN[command.name].split()
    asked = settings_of(command, line)
    file, again = tmp_path / "run.yaml", tmp_path / "again.yaml"
    file.write_text(config_text(command, parse(command, [*line, "--print_config", form])))
    plain = {key: value for key, value in settings_of(command, ["s", "--config", str(file)]).items()}
    same = {name.rpartition(".")[2] if name.endswith(("model_path", "refine.start")) else name: value
            for name, value in plain.items()}  # fmt: skip
    assert same == asked
    again.write_text(config_text(command, parse(command, ["s", "--config", str(file), "--print_config", form])))
    assert again.read_text() == file.read_text()


@each_command
def test_printed_settings_explain_every_one(command: Command) -> None:
    text = config_text(command, parse(command, ["s", "--print_config"]))
    assert yaml.safe_load(text) is None or not any(yaml.safe_load(text).values())
    flat = " ".join(line.lstrip(" #") for line in text.splitlines())
    for section, config in command.sections.items():
        docs = field_docs(config)
        for field in command.settings(section):
            assert " ".join(docs[field.name].split()) in flat
            assert f"\n  #{field.name}: " in text


@each_command
def test_a_default_that_is_set_in_the_printed_file_is_accepted(command: Command, tmp_path: Path) -> None:
    """Each line can be uncommented by itself, as the legend says."""
    text = config_text(command, parse(command, ["s", "--print_config"]))
    file = tmp_path / "run.yaml"
    file.write_text(re.sub(r"^  #(\w+: )", r"  \1", text, flags=re.MULTILINE))
    found = settings_of(command, ["s", "--config", str(file)])
    shown = {
        f"{section}.{field.name}": field.default for section in command.sections for field in command.settings(section)
    }
    assert {key: found[key] for key in shown} == shown


def test_changed_settings_are_those_that_were_given(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 4\nrefine: {iterations: 3}\n")
    typed = parse(BY_NAME["reconstruct"], ["s", "--config", str(file), "--width", "32", "--print_config=changed"])
    text = config_text(BY_NAME["reconstruct"], typed)
    assert yaml.safe_load(text) == {
        "model": {"width": 32},
        "training": {"seed": 4},
        "refine": {"iterations": 3, "seed": 4},
    }
    assert "  # Channels of the network at its working resolution. (INT; default: 64)\n  width: 32\n" in text


def test_print_config_refuses_another_form() -> None:
    with pytest.raises(ConfigError, match=r"--print_config=short; expected changed or all"):
        parse(BY_NAME["train"], ["s", "--print_config=short"])


def test_every_choice_is_named_where_the_setting_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a field says is what the help, the printed settings and the pages show of its allowed values."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(validators, "require_choice", lambda name, _value, choices: seen.setdefault(name, choices))
    for section, config in {key: value for command in COMMANDS for key, value in command.sections.items()}.items():
        paths = {name: Path("x") for name, kind in field_types(config).items() if kind is Path}
        config(**paths)
        docs = field_docs(config)
        for key, choices in seen.items():
            owner, _, name = key.partition(".")
            words = [choice for choice in choices if isinstance(choice, str)] if owner == section else []
            told = docs.get(name, "") + (docs.get("phase_picture", "") if name == "amplitude_picture" else "")
            assert [word for word in words if word not in told] == [], key


def test_every_shown_flag_is_known_to_the_parser() -> None:
    for command in COMMANDS:
        known = {option.lstrip("-") for action in build_parser(command)._actions for option in action.option_strings}
        assert set(shown_flags(command).values()) <= known
