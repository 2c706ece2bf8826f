"""What a command is given, by flags and by file, and doubts about it."""

from __future__ import annotations

import logging
from typing import Any

from ptycho_dist.commands.registry import Command, Typed, commands
from ptycho_dist.commands.startup import own_section
from ptycho_dist.config import precedence
from ptycho_dist.config.plausibility import doubts
from ptycho_dist.factory.config_file import OWN_SECTIONS

logger = logging.getLogger(__name__)


def given_settings(command: Command, typed: Typed) -> dict[str, Any]:
    """Gather the settings that were typed or are in the file, by dotted name.

    Raises
    ------
    ConfigError
        If the file cannot be read or understood.
    """
    shared = precedence.settings_of_file(typed.file.settings())
    in_file = {key: value for key, value in shared.items() if key.partition(".")[0] in command.sections}
    own = {
        f"{section}.{name}": value
        for section, config in command.sections.items()
        if section in OWN_SECTIONS
        for name, value in own_section(typed, section, config).items()
    }
    return {**in_file, **own, **typed.overrides}


def tell_doubts(typed: Typed) -> None:
    """Log which settings are unlikely to be meant."""
    command = commands()[typed.argv[0]]
    for doubt in doubts(given_settings(command, typed), precedence.defaults(command.sections).values):
        logger.warning("%s", doubt)
