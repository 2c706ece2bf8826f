"""What a training leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Parameters
    ----------
    bundle_path
        Folder of the trained model.
    losses
        Training loss of each epoch.
    patterns_per_s
        Speed of the last epoch over all ranks.
    """

    bundle_path: Path
    losses: tuple[float, ...]
    patterns_per_s: float
