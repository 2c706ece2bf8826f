"""Print the settings of a command as a file for ``--config`` that explains itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ptycho_dist.commands.given import given_settings
from ptycho_dist.commands.parser import default_text, metavar, title_of
from ptycho_dist.commands.registry import Command, Typed
from ptycho_dist.config.fields import field_docs, field_types

CHANGED = "changed"
_PATHS = {
    "init_from": "training.init_from",
    "label_file": "training.label_file",
    "model_path": "inference.model_path",
    "start": "refine.start",
    "probe_file": "simulate.probe_file",
}
"""Path flags that are settings, and their home."""
_WIDTH = 108
_LEGEND = "Lines that begin with # and no blank are defaults: remove the # to set them. Scan, OUTPUT_DIR are typed."


def config_text(command: Command, typed: Typed) -> str:
    """Write settings as commented YAML for ``--config``.

    What was given is set; with ``--print_config changed`` that is all, else every other setting is there as a comment
    with its default. So the file gives the same payload, and what the scan or the bundle decides stays with them.

    Parameters
    ----------
    command
        The command.
    typed
        What was typed.

    Raises
    ------
    ConfigError
        If the file of ``--config`` cannot be read or understood.
    """
    paths = {home: typed.paths[name] for name, home in _PATHS.items() if name in typed.paths}
    given = given_settings(command, typed) | paths
    lines = [f"# Settings of: ptycho-dist {command.name} --config FILE. Flags that are typed win over them."]
    lines += [] if typed.print_config == CHANGED else [f"# {_LEGEND}"]
    for section in command.sections:
        shown = list(_section_lines(command, section, given, everything=typed.print_config != CHANGED))
        lines += ["", f"# {title_of(section)}", f"{section}:", *shown] if shown else []
    return "\n".join(lines) + "\n"


def _section_lines(command: Command, section: str, given: Mapping[str, Any], *, everything: bool) -> Iterator[str]:
    docs, types = field_docs(command.sections[section]), field_types(command.sections[section])
    shown = [field.name for field in command.settings(section)]
    defaults = {field.name: field.default for field in command.settings(section)}
    paths = [home.partition(".")[2] for home in _PATHS.values() if home in given and home.startswith(f"{section}.")]
    for name in (*paths, *shown):
        key = f"{section}.{name}"
        if key not in given and not everything:
            continue
        kind = metavar(types[name]) or "PATH"
        default = f"; default: {default_text(defaults.get(name))}" if key in given else ""
        told = f"{docs[name]} ({kind}{default})"
        yield from (f"  # {line}" for line in textwrap.wrap(told, _WIDTH))
        yield f"  {_entry(name, given[key])}" if key in given else f"  #{_entry(name, defaults[name])}"


def _entry(name: str, value: Any) -> str:
    """Write one setting in one line of YAML."""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return str(yaml.safe_dump({name: plain}, default_flow_style=True, width=10_000)).strip()[1:-1]
