"""What a command line asks the pipeline to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho_dist.config.precedence import CONFIG_FILE, OVERRIDE, Level, canonicalise
from ptycho_dist.config.sections import INFERENCE_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS, Sections


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
    """

    scan: Path | None
    output_dir: Path | None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    in_file: Mapping[str, Any] = field(default_factory=dict)
    model_path: Path | None = None
    product: Path | None = None
    reference: Path | None = None
    start: Path | None = None

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
