"""Read a YAML or JSON file of settings."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ptycho_dist.config.sections import ALL_SECTIONS
from ptycho_dist.errors import ConfigError

OWN_SECTIONS = ("simulate", "set", "ranks", "doctor", "plan")
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


def read_config_file(path: Path | str) -> dict[str, Any]:
    """Read settings by plain or dotted name.

    Parameters
    ----------
    path
        YAML or JSON with sections ``data, model, training, inference,
        execution``, or with plain names, or both.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no mapping, has an unknown section, or
        gives a key twice.
    """
    content = _load(Path(path))
    settings: dict[str, Any] = {}
    for key, value in content.items():
        if key in OWN_SECTIONS or (key in ALL_SECTIONS and value is None):
            continue
        if key in ALL_SECTIONS and isinstance(value, dict):
            settings |= {f"{key}.{name}": item for name, item in value.items()}
        elif isinstance(value, dict):
            listed = ", ".join(ALL_SECTIONS)
            msg = f"{path} has a section {key!r}; expected {listed}. Rename or remove it."
            raise ConfigError(msg)
        else:
            settings[str(key)] = value
    return settings


def read_section(path: Path | str, section: str) -> dict[str, Any]:
    """Read one section of a config file by plain name; empty where the file has none.

    Raises
    ------
    ConfigError
        If the file cannot be read, or the section is no mapping.
    """
    content = _load(Path(path)).get(section) or {}
    if not isinstance(content, dict):
        msg = f"section {section!r} of {path} is {content!r}; expected 'name: value' lines. Correct it."
        raise ConfigError(msg)
    return {str(name): value for name, value in content.items()}


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
