"""What a command line asks the pipeline to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho_dist.config.precedence import OVERRIDE, canonicalise
from ptycho_dist.config.sections import INFERENCE_SECTIONS, REFINE_SECTIONS, TRAINING_SECTIONS


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
        Settings the user typed, by plain or dotted name.
    config_file
        YAML or JSON file with further settings.
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
    config_file: Path | None = None
    model_path: Path | None = None
    product: Path | None = None
    reference: Path | None = None
    start: Path | None = None

    def training_overrides(self) -> dict[str, Any]:
        """Select the overrides that training knows, by dotted name; those only for inference left out."""
        return dict(canonicalise(self.overrides, TRAINING_SECTIONS, OVERRIDE, drop_foreign=True).values)

    def inference_overrides(self) -> dict[str, Any]:
        """Select the overrides that inference knows, by dotted name; those only for training left out."""
        return dict(canonicalise(self.overrides, INFERENCE_SECTIONS, OVERRIDE, drop_foreign=True).values)

    def refine_overrides(self) -> dict[str, Any]:
        """Select the overrides that a refinement knows, by dotted name; those for other steps left out."""
        return dict(canonicalise(self.overrides, REFINE_SECTIONS, OVERRIDE, drop_foreign=True).values)
