"""PtychoPINN's names: which setting each means here, and what to say of those that have no counterpart.

Facts of PtychoPINN (github.com/hoidn/PtychoPINN, 2026-07): fields of ``ptycho.config.config`` and
``ptycho_torch.config_params``, flags of its training and inference scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from ptycho_dist.config.ptychopinn_table import ABSENT, CHANGED, MOOT, ONLY, SAME
from ptycho_dist.errors import ConfigError

_OPPOSITE: Mapping[Any, Any] = MappingProxyType({True: False, False: True, "true": "false", "false": "true"})


@dataclass(frozen=True)
class Entry:
    """What one of PtychoPINN's names means here.

    Parameters
    ----------
    name
        Their name, with underscores.
    ours
        Our plain name; empty where there is none.
    values
        Their values that are called otherwise here.
    switch
        Value that their flag stands for when it is typed without one; empty where it takes one.
    moot
        Whether the name is accepted and changes nothing, because what it asks for is always so here.
    only
        The one value that a moot name may have; empty where it is a switch.
    note
        What to know, or what to do instead.
    """

    name: str
    ours: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    switch: str = ""
    moot: bool = False
    only: str = ""
    note: str = ""

    def translate(self, value: Any) -> Any:
        """Give a value of theirs as ours; of a flag that switches off, the opposite."""
        if self.switch == "false":
            return _OPPOSITE.get(value, value)
        return self.values.get(str(value).lower(), value)

    def require_moot(self, value: Any, level: str) -> None:
        """Refuse a value that asks for something else than what is always so.

        Raises
        ------
        ConfigError
            If it does.
        """
        if self.only and value != self.only:
            msg = f"{level}: {self.name} = {value!r}; expected {self.only!r}: {self.note} Remove {self.name}."
            raise ConfigError(msg)

    def refuse(self, level: str) -> NoReturn:
        """Say why there is no such setting.

        Raises
        ------
        ConfigError
            Always.
        """
        msg = f"{level}: {self.name!r} is a name of PtychoPINN without a counterpart here: {self.note} Remove it."
        raise ConfigError(msg)


def _entries() -> dict[str, Entry]:
    same = [Entry(name, name) for name in SAME.split()]
    changed = [Entry(name, ours, values, switch, note=note) for name, ours, values, switch, note in CHANGED]
    moot = [Entry(name, moot=True, note=note) for name, note in MOOT.items()]
    moot += [Entry(name, moot=True, only=only, note=note) for name, (only, note) in ONLY.items()]
    absent = [Entry(name, note=note) for names, note in ABSENT for name in names.split()]
    return {entry.name: entry for entry in (*same, *changed, *moot, *absent)}


PTYCHOPINN: Mapping[str, Entry] = MappingProxyType(_entries())
"""Every field and flag of PtychoPINN, by its name."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {name: entry.ours for name, entry in PTYCHOPINN.items() if entry.ours and entry.ours != name}
)
"""Their names of our settings, where these differ."""
