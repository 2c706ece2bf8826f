"""Read a YAML or JSON file of settings."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.errors import ConfigError

OWN_SECTIONS = ("demo", "simulate", "set", "convert", "ranks", "doctor", "plan", "live", "watch", "page", "figure")
"""Sections of a run file that only the commands read which know them."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            msg = f"{', '.join(twice)} given twice in one section; expected once. Remove one."
            raise ConfigError(msg)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class ConfigFile:
    """Content of a file of settings; empty where there is none.

    Parameters
    ----------
    path
        The file.
    content
        What it holds, as nested plain values.
    """

    path: Path = Path()
    content: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the settings that several commands know, by plain or dotted name.

        Raises
        ------
        ConfigError
            For an unknown section.
        """
        settings: dict[str, Any] = {}
        for key, value in self.content.items():
            if key in OWN_SECTIONS or (key in ALL_SECTIONS and value is None):
                continue
            if key in ALL_SECTIONS and isinstance(value, dict):
                settings |= {f"{key}.{name}": item for name, item in value.items()}
            elif isinstance(value, dict):
                listed = ", ".join(ALL_SECTIONS)
                msg = f"{self.path} has a section {key!r}; expected {listed}. Rename or remove it."
                raise ConfigError(msg)
            else:
                settings[str(key)] = value
        return settings

    def section(self, name: str) -> dict[str, Any]:
        """Return one section by plain name; empty where the file has none.

        Raises
        ------
        ConfigError
            If the section is no mapping.
        """
        found = self.content.get(name) or {}
        if not isinstance(found, dict):
            msg = f"section {name!r} of {self.path} is {found!r}; expected 'name: value' lines. Correct it."
            raise ConfigError(msg)
        return {str(key): value for key, value in found.items()}


def read_config_file(path: Path | str) -> ConfigFile:
    """Read YAML or JSON with sections ``data, model, training, inference, refine, execution``, plain names, or both.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no mapping, or gives a key twice.
    """
    path = Path(path)
    return ConfigFile(path, _load(path))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        msg = f"config file {path} cannot be read: {error.strerror}. Check the path."
        raise ConfigError(msg) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        msg = f"config file {path} is not YAML or JSON: {first}. Correct it there."
        raise ConfigError(msg) from error
    except ConfigError as error:
        msg = f"config file {path}: {error}"
        raise ConfigError(msg) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        msg = f"config file {path} holds a {type(content).__name__}; expected 'name: value' lines. Correct it."
        raise ConfigError(msg)
    return content
