"""What is asked for, and which of several given values is in force. Pure: no files, no torch.

Highest first: explicit overrides, a given execution config, the config file,
the value read from the scan (or the bundle), the dataclass default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from ptycho_dist.config.fields import coerce, field_types
from ptycho_dist.config.ptychopinn import PTYCHOPINN, Entry
from ptycho_dist.config.sections import (
    ALIASES,
    ALL_SECTIONS,
    FORMER_VALUES,
    INFERENCE_SECTIONS,
    MOVED,
    REFINE_SECTIONS,
    TRAINING_SECTIONS,
    Sections,
    field_names,
    homes,
)
from ptycho_dist.errors import ConfigError
from ptycho_dist.progress.tracker import Progress

OVERRIDE = "override"
EXECUTION_CONFIG = "execution_config"
CONFIG_FILE = "config_file"
SCAN = "scan"
BUNDLE = "bundle"
DEFAULT = "default"
PRECEDENCE = (OVERRIDE, EXECUTION_CONFIG, CONFIG_FILE, BUNDLE, SCAN, DEFAULT)


@dataclass(frozen=True)
class Level:
    """Values given at one level, by dotted name such as ``training.seed``."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Resolution:
    """The values in force and where they came from, by dotted name.

    ``provenance`` names the level in force first; levels it beat follow,
    as in ``"override > execution_config"``.
    """

    values: Mapping[str, Any]
    provenance: Mapping[str, str]

    def section(self, section: str) -> dict[str, Any]:
        """Values of one section, by plain field name."""
        prefix = f"{section}."
        return {key.removeprefix(prefix): value for key, value in self.values.items() if key.startswith(prefix)}


def resolve(levels: Sequence[Level]) -> Resolution:
    """Let the first level that gives a key decide it.

    Parameters
    ----------
    levels
        Highest precedence first.
    """
    values: dict[str, Any] = {}
    givers: dict[str, list[str]] = {}
    for level in levels:
        for key, value in level.values.items():
            values.setdefault(key, value)
            givers.setdefault(key, []).append(level.name)
    return Resolution(values, {key: _name_givers(names) for key, names in givers.items()})


def _name_givers(names: Sequence[str]) -> str:
    given = [name for name in names if name != DEFAULT]
    return " > ".join(given) if given else DEFAULT


def defaults(sections: Sections) -> Level:
    """Dataclass defaults of all fields that have one."""
    values = {
        f"{section}.{field.name}": field.default
        for section, config in sections.items()
        for field in fields(config)
        if field.default is not MISSING
    }
    return Level(DEFAULT, values)


def canonicalise(given: Mapping[str, Any], sections: Sections, level: str, *, drop_foreign: bool = False) -> Level:
    """Give every key its dotted name and its value the declared type.

    Parameters
    ----------
    given
        Keys may be dotted (``training.seed``), plain (``seed``) or aliases (``epochs``).
    sections
        Sections of the stage (training or inference) that asks.
    level
        Name of the level, for messages and provenance.
    drop_foreign
        Leave out keys that only the other stage knows, instead of refusing them.

    Raises
    ------
    ConfigError
        For an unknown or ambiguous key, two names of one field with different
        values, or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for name, stated in given.items():
        theirs = _theirs(name, level)
        if theirs is not None and theirs.moot:
            theirs.require_moot(stated, level)
            continue
        value = stated if theirs is None else theirs.translate(stated)
        key = _dotted(name, sections, level)
        section, field = key.split(".")
        if section not in sections:
            if not drop_foreign:
                _refuse_foreign(name, key, sections, level)
            continue
        value = FORMER_VALUES[key].get(value, value) if key in FORMER_VALUES else value
        typed = coerce(key, value, field_types(sections[section])[field])
        if key in values and not _same(values[key], typed):
            msg = (
                f"{level}: {spelled[key]} = {values[key]!r} and {name} = {typed!r} name one setting ({key}) but "
                "differ; expected one value. Remove one of them."
            )
            raise ConfigError(msg)
        values[key], spelled[key] = typed, name
    return Level(level, values)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A scan, a folder for results, and settings that were typed or are in a file.

    Parameters
    ----------
    scan
        Scan file; for an evaluation, the scan the product was made from (or None).
    output_dir
        Folder that receives results.
    overrides
        Settings the user typed, by dotted name.
    in_file
        Settings of the config file, by dotted name; see :func:`settings_of_file`.
    model_path
        Bundle to load, where one is needed.
    product, reference
        Product to evaluate, and what to compare it with.
    start
        Where a refinement starts.
    argv
        What was typed, program name left out; empty where that is not known.
    progress
        Where this rank reports how far it is.
    overwrite
        Whether earlier results may be replaced.
    """

    scan: Path | None
    output_dir: Path | None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    in_file: Mapping[str, Any] = field(default_factory=dict)
    model_path: Path | None = None
    product: Path | None = None
    reference: Path | None = None
    start: Path | None = None
    argv: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress, compare=False, repr=False)
    overwrite: bool = False

    def levels(self, sections: Sections) -> list[Level]:
        """Select what a stage knows of the settings given, highest precedence first; what others know is left out."""
        return [_of_sections(OVERRIDE, self.overrides, sections), _of_sections(CONFIG_FILE, self.in_file, sections)]


def settings_of_file(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give settings of a config file that all stages share their dotted names.

    A plain name that several stages know (``batch_size``) is given to each of them.

    Raises
    ------
    ConfigError
        For unknown, ambiguous or ill-typed settings.
    """
    values: dict[str, Any] = {}
    for sections in (REFINE_SECTIONS, INFERENCE_SECTIONS, TRAINING_SECTIONS):
        values |= canonicalise(settings, sections, CONFIG_FILE, drop_foreign=True).values
    return values


def _of_sections(name: str, values: Mapping[str, Any], sections: Sections) -> Level:
    return Level(name, {key: value for key, value in values.items() if key.partition(".")[0] in sections})


def _theirs(name: str, level: str) -> Entry | None:
    """Look a key up among PtychoPINN's; one that has no counterpart is refused."""
    plain = name.rpartition(".")[2]
    entry = PTYCHOPINN.get(plain)
    if entry is None or (not entry.ours and homes(plain, ALL_SECTIONS)):
        return None
    if not entry.ours and not entry.moot:
        entry.refuse(level)
    return entry


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _dotted(name: str, sections: Sections, level: str) -> str:
    """Dotted name of a key; the stage's own sections are asked first."""
    everything = {**ALL_SECTIONS, **sections}
    name = MOVED.get(name, name)
    if "." in name:
        section, _, plain = name.partition(".")
        field = _true_name(plain, {section: everything[section]} if section in everything else {})
        if section in everything and field in field_names(everything[section]):
            return f"{section}.{field}"
        _refuse_unknown(name, everything, level)
    field = _true_name(name, everything)
    found = homes(field, sections) or homes(field, everything)
    if len(found) > 1:
        choices = " or ".join(f"{section}.{field}" for section in found)
        msg = f"{level}: {name!r} is a field of {len(found)} configs; expected one. Write {choices}."
        raise ConfigError(msg)
    if not found:
        _refuse_unknown(name, everything, level)
    return f"{found[0]}.{field}"


def _true_name(name: str, sections: Sections) -> str:
    """Resolve an alias, unless a field really has that name."""
    return name if homes(name, sections) else ALIASES.get(name, name)


def _refuse_foreign(name: str, key: str, sections: Sections, level: str) -> NoReturn:
    msg = f"{level}: {name!r} is {key}, which is not used here; expected a field of {', '.join(sections)}. Remove it."
    raise ConfigError(msg)


def _refuse_unknown(name: str, sections: Sections, level: str) -> NoReturn:
    known = [field for config in sections.values() for field in field_names(config)] + list(ALIASES)
    dotted = [f"{section}.{field}" for section, config in sections.items() for field in field_names(config)]
    near = difflib.get_close_matches(name, dotted if "." in name else known, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}?" if near else "Run ptycho-dist train --help for all names."
    msg = f"{level}: unknown setting {name!r}; expected a field of {', '.join(sections)}. {hint}"
    raise ConfigError(msg)
