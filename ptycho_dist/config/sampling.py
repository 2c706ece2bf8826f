"""Settings of which patterns and groups are trained on, with PtychoPINN's meanings."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config import validators


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Which patterns are trained on, and which groups of them make an epoch; a part of the training config."""

    n_subsample: int | None = None
    """Patterns to train on, drawn from the scan before grouping; all where not set."""

    subsample_seed: int | None = None
    """Seed of that drawing; training.seed where not set."""

    n_groups: int | None = None
    """Groups in an epoch; as many as hold all patterns (with gridsize: one around each) where not set."""

    neighbor_count: int | None = None
    """Nearest neighbours that the rest of a group is drawn from (K choose C), with gridsize; the C - 1 nearest else."""

    sequential_sampling: bool = False
    """Take the first n_subsample patterns and n_groups groups in the order of the file, not random ones."""

    def __post_init__(self) -> None:
        for name in ("n_subsample", "n_groups", "neighbor_count"):
            validators.require_optional_int(f"training.{name}", getattr(self, name), 1)
        validators.require_optional_int("training.subsample_seed", self.subsample_seed, 0)
        validators.require_bool("training.sequential_sampling", self.sequential_sampling)

    def n_chosen(self, n_patterns: int) -> int:
        """Count the patterns that are trained on, of so many in the scan."""
        return n_patterns if self.n_subsample is None else min(n_patterns, self.n_subsample)
