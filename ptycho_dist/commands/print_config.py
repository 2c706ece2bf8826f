"""Write settings as a config file (``--print_config``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ptycho_dist.commands.command import Typed
from ptycho_dist.config import precedence
from ptycho_dist.config.sections import Sections, field_names


def config_text(typed: Typed, settings: dict[str, Any], sections: Sections) -> str:
    """Write the settings in force before any scan is read as YAML for ``--config``.

    What the scan or the bundle decides is left out unless it was given.

    Parameters
    ----------
    typed
        The command line.
    settings
        Content of the config file.
    sections
        Sections of the command.
    """
    file = precedence.canonicalise(settings, sections, precedence.CONFIG_FILE, drop_foreign=True)
    typed_level = precedence.Level(precedence.OVERRIDE, typed.overrides)
    given = precedence.resolve([typed_level, file, precedence.defaults(sections)])
    decided_later = {"data", "model"} if "training" not in sections else set()
    nested: dict[str, dict[str, Any]] = {}
    for section, config in sections.items():
        for name in field_names(config):
            key = f"{section}.{name}"
            is_default = given.provenance.get(key, precedence.DEFAULT) == precedence.DEFAULT
            if key not in given.values or (is_default and (section in decided_later or key == "data.N")):
                continue
            nested.setdefault(section, {})[name] = _yaml_value(given.values[key])
    return str(yaml.safe_dump(nested, sort_keys=False))


def _yaml_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
