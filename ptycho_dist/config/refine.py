"""Settings of the refinement of a reconstruction by physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.config import validators
from ptycho_dist.config.scan_options import AUTO, NONE
from ptycho_dist.errors import ConfigError

STARTS = ("auto", "both", "network", "ones")
"""What to refine from; both compares the network's product (or the file of --start) with an object of ones."""

METHOD_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "pie": {"batch_size": 8, "object_step": 1.0, "probe_step": 0.5, "momentum": 0.5, "cooling": 0.5},
    "lsqml": {"batch_size": 8, "object_step": 1.0, "probe_step": 1.0, "momentum": 0.5, "cooling": 0.5},
    "gradient": {"batch_size": 64, "object_step": 0.01, "probe_step": 0.01, "momentum": 0.0, "cooling": 0.0},
}
"""Methods, and what their settings mean where they are not set."""


def defaults_of(method: str, alpha: float) -> dict[str, float]:
    """Give what settings mean where they are not set.

    Steps of rPIE are long in the dark already; momentum there ends in noise.
    """
    found = dict(METHOD_DEFAULTS.get(method, {}))
    return found if method != "pie" or alpha == 1.0 else found | {"momentum": 0.0}


_MOST_AT_ONCE_PX, _TILE_PX, _LEAST_IN_TILE = 2**26, 2**22, 250


def default_tiles(canvas_px: int | None, n_patterns: int) -> int:
    """Decide how many tiles a scan is cut into where that is not set.

    At once an object converges a little better, and every rank holds it all: half a GiB for each copy at the most.

    Parameters
    ----------
    canvas_px
        Pixels of the object; None where nobody knows.
    n_patterns
        Patterns of the scan; a tile has 250 or more.
    """
    if canvas_px is None or canvas_px <= _MOST_AT_ONCE_PX:
        return 1
    return max(1, min(round(canvas_px / _TILE_PX), n_patterns // _LEAST_IN_TILE))


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """What is refined, how, and for how long."""

    scan: Path
    """Scan file whose patterns are to be explained."""

    output_dir: Path
    """Folder that receives the refined reconstruction."""

    start: Path | None = None
    """Product, or NPZ with object and probe, to start from; an object of ones and the scan's probe where not set."""

    start_from: str = "auto"
    """network (its product, or start), ones, or both until one is clearly better; auto: both in reconstruct."""

    iterations: int = 20
    """Passes over all patterns; 0 leaves a reconstruction as it is."""

    method: str = "pie"
    """pie (ePIE and rPIE), lsqml (least-squares steps), or gradient (Adam on the Poisson likelihood)."""

    batch_size: int | None = None
    """Most patterns in one update, over all ranks, fewer where they overlap; 8 where not set (gradient: always 64)."""

    object_step: float | None = None
    """Length of the object's steps, relative to the method's own; 1 where not set (0.01 with gradient)."""

    probe_step: float | None = None
    """Length of the probe's steps, relative to the method's own; 0.5 where not set (0.01 with gradient). 0 fixes it."""

    alpha: float = 1.0
    """With pie: 1 scales steps by the brightest pixel (ePIE), less by each pixel's own light (rPIE)."""

    momentum: float | None = None
    """Share of the object's change in each quarter iteration made once more; 0.5 where not set (rPIE, Adam: 0)."""

    cooling: float | None = None
    """Share of the iterations, the last ones, over which steps shrink to a tenth; 0.5 where not set (gradient: 0)."""

    tiles: int | None = None
    """Parts of the scan that are refined side by side and joined where they overlap; 1: the whole at once. Ranks share
    tiles, and the answer depends on their number only. Where not set, 1 up to 67 million pixels of the object, and one
    for each 4 million of a larger one. Use 250 patterns a tile or more."""

    position_start: int | None = None
    """Iteration from which positions are refined; never where not set."""

    position_step: float = 0.5
    """Length of the positions' steps, relative to the least-squares one."""

    flux: bool = False
    """Refine how bright the illumination of each pattern was."""

    regularisation: str | float = "none"
    """Weight of the object's wavelet detail in last passes: none, auto (by cross-validation), or a number from 0."""

    regularised_passes: int = 50
    """Passes of the regularised Poisson likelihood after the iterations, where there is a weight for them."""

    uncertainty: bool = False
    """Refine both halves of the photons, too, and tell from them how uncertain the object is, pixel by pixel."""

    memory_GiB: float = 4.0
    """Room on each rank for its patterns; a larger share is read from the scan in every iteration."""

    seed: int = 0
    """Seed of the order of the patterns."""

    def _check_positions(self) -> None:
        validators.require_optional_int("refine.position_start", self.position_start, 0)
        if self.position_start is not None and 0 < self.iterations <= self.position_start:
            msg = (
                f"refine.position_start = {self.position_start} with refine.iterations = {self.iterations}; expected "
                f"less than {self.iterations}, or positions are never refined. Change one of them."
            )
            raise ConfigError(msg)

    def __post_init__(self) -> None:
        validators.require_choice("refine.start_from", self.start_from, STARTS)
        validators.require_int("refine.iterations", self.iterations, 0)
        validators.require_choice("refine.method", self.method, tuple(METHOD_DEFAULTS))
        validators.require_optional_int("refine.batch_size", self.batch_size, 1)
        validators.require_optional_int("refine.tiles", self.tiles, 1)
        validators.require_optional_positive("refine.object_step", self.object_step)
        if self.probe_step is not None:
            validators.require_positive("refine.probe_step", self.probe_step, zero_allowed=True)
        validators.require_share("refine.alpha", self.alpha, 1.0)
        validators.require_share("refine.momentum", self.momentum or 0.0, 0.99)
        validators.require_share("refine.cooling", self.cooling or 0.0, 1.0)
        self._check_positions()
        validators.require_positive("refine.position_step", self.position_step)
        validators.require_bool("refine.flux", self.flux)
        if not isinstance(self.regularisation, str):
            validators.require_positive("refine.regularisation", self.regularisation, zero_allowed=True)
        elif self.regularisation not in (AUTO, NONE):
            msg = f"refine.regularisation = {self.regularisation!r}; expected auto, none, or a number. Change it."
            raise ConfigError(msg)
        validators.require_int("refine.regularised_passes", self.regularised_passes, 1)
        validators.require_bool("refine.uncertainty", self.uncertainty)
        validators.require_positive("refine.memory_GiB", self.memory_GiB)
        validators.require_int("refine.seed", self.seed, 0)
