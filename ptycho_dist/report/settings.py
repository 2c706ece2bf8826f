"""Settings of a run for people: what differs from the default first, then all, with where each came from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.config.precedence import DEFAULT, defaults
from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.factory.payload import plain
from ptycho_dist.report.source import Source
from ptycho_dist.run_record import PREDICTION, REFINEMENT, TRAINING

STAGES = (TRAINING, PREDICTION, REFINEMENT)
_ORIGINS = {
    "override": "given",
    "execution_config": "execution config",
    "config_file": "settings file",
    "scan": "scan",
    "bundle": "bundle",
    DEFAULT: "default",
}
_GIVEN = ("given", "execution config", "settings file")
_RESOLVED = "resolved by the program"
_PROGRAM = "ptycho-dist"


@dataclass(frozen=True)
class Setting:
    """A setting in force: its dotted name, its value, that of the default, and where it came from."""

    name: str
    value: str
    default: str
    origin: str

    @property
    def differs(self) -> bool:
        """Whether it is not the default."""
        return self.value != self.default

    @property
    def is_given(self) -> bool:
        """Whether a person has set it."""
        return self.origin in _GIVEN


@dataclass(frozen=True)
class StageSettings:
    """Settings of a stage, and its fingerprints."""

    stage: str
    settings: tuple[Setting, ...]
    fingerprint: str
    result_fingerprint: str

    @property
    def changed(self) -> tuple[Setting, ...]:
        """Those that differ from the default; what a person has set comes first."""
        return tuple(sorted((one for one in self.settings if one.differs), key=lambda one: not one.is_given))


def stage_settings(source: Source) -> list[StageSettings]:
    """List the settings of each stage that ran, as far as they are known."""
    found = []
    for stage in STAGES:
        sections = source.settings(stage)
        if sections:
            noted = source.record.get("stages", {}).get(stage, {})
            listed = tuple(_listed(sections, noted.get("provenance", {})))
            found.append(
                StageSettings(stage, listed, noted.get("fingerprint", ""), noted.get("result_fingerprint", ""))
            )
    return found


def command_line(source: Source) -> str:
    """Command that makes the results again; empty where it is not known."""
    command = source.record.get("command", [])
    return shlex.join([_PROGRAM, *command]) if command else ""


def _listed(sections: Mapping[str, Any], provenance: Mapping[str, str]) -> Iterator[Setting]:
    default = {name: plain(value) for name, value in defaults(ALL_SECTIONS).values.items()}
    for section, values in sections.items():
        if section not in ALL_SECTIONS or not isinstance(values, Mapping):
            continue
        for name, value in values.items():
            dotted = f"{section}.{name}"
            origin = provenance.get(dotted, provenance.get(name, ""))
            told = _ORIGINS.get(origin.partition(" > ")[0], origin)
            found, usual = value_text(value), value_text(default[dotted]) if dotted in default else "(none)"
            yield Setting(dotted, found, usual, _RESOLVED if told == DEFAULT and found != usual else told)


def value_text(value: Any) -> str:
    """Say a plain value as settings and tables show it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(value_text, value)) if isinstance(value, list | tuple) else str(value)
