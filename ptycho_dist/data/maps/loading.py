"""Scan maps as files: read as data only, checked, with errors that name file, line and key; and where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from ptycho_dist.data.maps.schema import ScanMap
from ptycho_dist.errors import ConfigError

_MOST_BYTES = 1 << 20
_MOST_DEPTH = 20
SHIPPED = Path(__file__).parent / "shipped"


def load_map(path: Path) -> ScanMap:
    """Read a scan map.

    Parameters
    ----------
    path
        YAML file: plain data; tags and aliases are refused.

    Raises
    ------
    ConfigError
        Naming file, line and key of what is wrong.
    """
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        found = "missing or no file" if not path.is_file() else f"{path.stat().st_size} bytes long"
        msg = f"scan map {path} is {found}; expected a YAML file of at most {_MOST_BYTES} bytes. Check --map."
        raise ConfigError(msg)
    return map_of_text(path.read_text(encoding="utf-8", errors="replace"), path)


def map_of_text(text: str, path: Path) -> ScanMap:
    """Read a scan map from its text; see :func:`load_map`."""
    if "\0" in text:
        msg = f"scan map {path} is no text in UTF-8; expected YAML. Check --map, or save it as UTF-8."
        raise ConfigError(msg)
    try:
        _require_plain(text, path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _require_single_keys(node, path)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"scan map {path}{_line_of(error)}; expected YAML. Correct it."
        raise ConfigError(msg) from error
    if not isinstance(values, dict) or node is None:
        msg = f"scan map {path} holds no keys; expected patterns, positions and others. See docs/your_beamline.md."
        raise ConfigError(msg)
    try:
        found = ScanMap.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_in_words(path, node, error)) from error
    return found if "name" in values else found.model_copy(update={"name": path.stem})


def _line_of(error: yaml.YAMLError) -> str:
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    if mark is not None and "'\\t'" in str(getattr(error, "problem", "")):
        return f", line {mark.line + 1}: a tab, where YAML takes blanks only"
    if mark is not None:
        return f", line {mark.line + 1}: {getattr(error, 'problem', error)}"
    return f": {error}"


def _require_plain(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        tag = getattr(event, "tag", None)
        found = f"the tag {tag}" if tag else "an alias" if isinstance(event, yaml.AliasEvent) else None
        if depth > _MOST_DEPTH:
            found = f"more than {_MOST_DEPTH} levels"
        if found is not None:
            line = getattr(event.start_mark, "line", 0) + 1
            msg = f"scan map {path}, line {line}: {found}; expected plain data. Write it out."
            raise ConfigError(msg)


def _require_single_keys(node: yaml.Node, path: Path) -> None:
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _require_single_keys(one, path)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            msg = f"scan map {path}, line {key.start_mark.line + 1}: {key.value!r} is there twice. Remove one."
            raise ConfigError(msg)
        seen.add(str(key.value))
        _require_single_keys(value, path)


def _in_words(path: Path, node: yaml.Node, error: ValidationError) -> str:
    """Name line and key of each fault, one line each."""
    lines = []
    for fault in error.errors(include_url=False):
        line, keys = _place(node, fault["loc"])
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            said = "unknown key; expected one that docs/formats.md names"
        lines.append(f"scan map {path}, line {line}, {'.'.join(keys)}: {said}. Correct it.")
    return "\n".join(lines[:5])


def _place(node: yaml.Node, location: tuple[int | str, ...]) -> tuple[int, list[str]]:
    """Find the line of a fault, and its key as it is written; numbers of single alternatives are left out."""
    line, keys = node.start_mark.line + 1, []
    for step in location:
        if isinstance(step, int) and isinstance(node, yaml.SequenceNode) and step < len(node.value):
            node = node.value[step]
            keys.append(str(step + 1))
        elif isinstance(step, str):
            keys.append(step)
            found = (
                [(key, value) for key, value in getattr(node, "value", ()) if key.value == step]
                if isinstance(node, yaml.MappingNode)
                else []
            )
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
            continue
        line = node.start_mark.line + 1 if isinstance(step, int) and keys and keys[-1].isdigit() else line
    return line, keys


def user_folder() -> Path:
    """Folder of the user's own maps: ptycho_dist/maps in XDG_CONFIG_HOME, else in ~/.config."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path("~/.config").expanduser()) / "ptycho_dist" / "maps"


def known_maps() -> Iterator[tuple[Path, ScanMap]]:
    """All maps that are found by themselves: the user's, then those that are shipped.

    Raises
    ------
    ConfigError
        If one is faulty.
    """
    folder = user_folder()
    own = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    for path in own:
        yield path, load_map(path)
    for path in sorted(SHIPPED.glob("*.yaml")):
        yield path, _shipped(path)


@lru_cache(maxsize=64)
def _shipped(path: Path) -> ScanMap:
    return load_map(path)
