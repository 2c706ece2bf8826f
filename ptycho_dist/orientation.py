"""How the patterns of a scan lie to its positions: found by trying, for no file says it reliably.

A detector image may be transposed and flipped in eight ways. In the wrong ones no object explains patterns that
overlap, which a short refinement of a hundred of them shows. Where photons are few their noise is most of every error;
so what noise alone would leave is taken off, and two orientations are compared pattern by pattern.

Turning all patterns by 180 degrees gives the complex conjugate of the object, which explains them as well (the
intensity of a far field does not change when the wave is conjugated and the frequency reversed); only a probe that is
known can tell the two apart. Without one, one of each two is tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.formats.base import ComplexArray, Turn
from ptycho_dist.data.maps.loading import load_map
from ptycho_dist.data.scan import Scan, ScanOptions, open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.evaluate.fourier import FourierErrors
from ptycho_dist.evaluate.previews import draw_phases
from ptycho_dist.evaluate.whole_scan import compact_rows
from ptycho_dist.physics.probe import select_modes
from ptycho_dist.probe_start import Settings, with_start_probe
from ptycho_dist.refine.sample import refine_and_judge

_PATTERNS, _PASSES = 128, 6
_CLEARLY = 0.95
"""Factor on the error above noise of another orientation below which one explains the patterns clearly better."""
_SIGMAS = 5.0
"""Standard errors that the mean difference of their misfits, pattern by pattern, has to be away from 0."""
_MOSTLY_NOISE = 0.5
"""Share of the misfit that noise is expected to leave, from which on too few photons may be why nothing is decided."""
TURNS = tuple(Turn(*one) for one in itertools.product((False, True), repeat=3))
"""All ways in which patterns may lie."""


@dataclass(frozen=True)
class Trial:
    """One orientation, tried.

    Parameters
    ----------
    turn
        How the patterns were turned.
    errors
        Misfit of each pattern after a few passes, and what photon noise alone leaves of it: 0 where the counts per
        photon are unknown.
    object_
        Object of the patterns in the middle, complex64, shape (H, W).
    """

    turn: Turn
    errors: FourierErrors
    object_: ComplexArray

    @property
    def fourier_error(self) -> float:
        """Fourier error of all patterns; NaN where the refinement failed."""
        return self.errors.error()

    @property
    def above_noise(self) -> float:
        """Fourier error without what photon noise alone leaves of it; 0 where that is all, NaN without photons."""
        above = float((self.errors.misfit - self.errors.expected).sum())
        photons = float(self.errors.counts.sum())
        return math.sqrt(max(0.0, above) / photons) if photons > 0 and math.isfinite(above) else math.nan

    def is_clearly_better(self, other: Trial) -> bool:
        """Tell whether it explains the patterns much better than another, by more than chance makes of the patterns."""
        if not math.isfinite(other.above_noise):
            return math.isfinite(self.above_noise)
        difference = other.errors.misfit - self.errors.misfit
        chance = float(difference.std(ddof=1)) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
        is_beyond_chance = float(difference.mean()) > _SIGMAS * chance
        return is_beyond_chance and self.above_noise < _CLEARLY * other.above_noise

    @property
    def flags(self) -> str:
        """Flags that turn patterns so; empty where they are left as they are."""
        return " ".join(f"--{name} true" for name, said in vars(self.turn).items() if said)


@dataclass(frozen=True)
class Orientation:
    """What trying has found.

    Parameters
    ----------
    trials
        All orientations, the best first.
    given
        How the settings turn the patterns.
    counts_per_photon
        None where it cannot be told, so that photon noise was not taken off.
    """

    trials: Sequence[Trial]
    given: Turn
    counts_per_photon: float | None = None

    @property
    def best(self) -> Trial:
        """The orientation to take: of two that differ by 180 degrees and are equally good, the one that is given."""
        first = self.trials[0]
        for one in self.trials[1:]:
            is_pair = same_object(one.turn, first.turn)
            if is_pair and one.turn == self.given and not first.is_clearly_better(one):
                return one
        return first

    @property
    def is_clear(self) -> bool:
        """Whether no orientation of another object explains the patterns nearly as well."""
        first = self.trials[0]
        others = [one for one in self.trials if not same_object(one.turn, first.turn)]
        return all(first.is_clearly_better(one) for one in others)

    def verdict(self) -> str:
        """Say in words what to do."""
        best = self.best
        if not self.is_clear:
            return f"undecided: several orientations explain the patterns alike{self._reason()}"
        if best.turn == self.given:
            return "the patterns lie as the settings have it; nothing to change"
        said = [f"--{name} false" for name, on in vars(self.given).items() if on and not getattr(best.turn, name)]
        return f"turn the patterns: {' '.join([best.flags, *said]).strip()}"

    def _reason(self) -> str:
        """Say what may be behind it that nothing was decided."""
        if self.counts_per_photon is None:
            return (
                ", and photon noise could not be taken off, for the counts per photon are unknown. Give "
                "--counts_per_photon, or a better probe (--probe)"
            )
        first = self.trials[0].errors
        few = ""
        if first.expected.sum() > _MOSTLY_NOISE * first.misfit.sum():
            few = ", and photon noise is most of every error: more photons would tell"
        return (
            f"{few}. Give a better probe (--probe), more modes (--n_modes), or more overlap; or units, signs or the "
            "order of the positions are wrong"
        )


def same_object(one: Turn, other: Turn) -> bool:
    """Tell whether two orientations are the same, or differ by 180 degrees, which gives the conjugate object."""
    flips = [getattr(one, name) != getattr(other, name) for name in ("flip_rows", "flip_columns")]
    return one.transpose == other.transpose and flips[0] == flips[1]


def find_orientation(
    path: Path, options: ScanOptions, settings: Settings, told: Callable[[Trial], None] | None = None
) -> Orientation:
    """Try all orientations of the patterns of a scan.

    Parameters
    ----------
    path, options
        Scan, and how it is opened but for the orientation.
    settings
        How its waves travel, whose device works, and the place of this rank.
    told
        Called after each trial.

    Raises
    ------
    DataFormatError
        If the scan cannot be opened, or is a set of scans.
    """
    if path.is_dir():
        msg = f"{path} is a folder; expected one scan. Give a scan of the set."
        raise DataFormatError(msg)
    given = Turn.of(options)
    with open_scan(path, options) as scan:
        turns = TURNS if scan.probe is not None or options.probe is not None else _one_of_each_two(given)
        counts_per_photon = scan.gain().counts_per_photon
    trials = []
    for turn in turns:
        trials.append(_tried(path, replace(options, **vars(turn)), settings, counts_per_photon))
        if told is not None:
            told(trials[-1])
    return Orientation(sorted(trials, key=_error), given, counts_per_photon)


def _one_of_each_two(given: Turn) -> tuple[Turn, ...]:
    """Of each two orientations that give conjugate objects, the one that differs less from a given one."""

    def changes(turn: Turn) -> int:
        return sum(said != getattr(given, name) for name, said in vars(turn).items())

    kept: list[Turn] = []
    for turn in sorted(TURNS, key=changes):
        if not any(same_object(turn, one) for one in kept):
            kept.append(turn)
    return tuple(kept)


def _error(trial: Trial) -> float:
    return trial.fourier_error if np.isfinite(trial.fourier_error) else np.inf


def _tried(path: Path, options: ScanOptions, settings: Settings, counts_per_photon: float | None) -> Trial:
    data, execution, context = settings
    turn = Turn.of(options)
    own = replace(data, **vars(turn))
    with open_scan(path, options) as opened:
        scan = with_start_probe(opened, (own, execution, context))
        assert isinstance(scan, Scan)
        assert scan.probe is not None
        probe = torch.from_numpy(np.asarray(scan.probe, np.complex64))
        modes = select_modes(probe, data.n_modes or len(probe)).numpy()
        rows = compact_rows(scan, _PATTERNS)
        found, errors = refine_and_judge(scan, rows, modes, _PASSES, (own, execution, context), counts_per_photon)
    return Trial(turn, errors, found.object_)


def draw(orientation: Orientation, path: Path, name: str) -> None:
    """Draw the phase that each orientation gives, the best first."""
    shown = {_caption(one): one.object_ for one in orientation.trials}
    draw_phases(path, f"{name}: {orientation.verdict()}", shown)


def _caption(trial: Trial) -> str:
    turned = ", ".join(name for name, said in vars(trial.turn).items() if said) or "as in the file"
    return f"{turned} ({trial.above_noise:.4f})"


def write_map(scan_map: Path, target: Path, turn: Turn) -> None:
    """Write a scan map again, with patterns turned once more; its comments are lost.

    Parameters
    ----------
    scan_map, target
        Map to read, and file to write.
    turn
        What is done after what the map does.
    """
    both = composed(Turn.of(load_map(scan_map).transform), turn)
    values = yaml.safe_load(scan_map.read_text(encoding="utf-8"))
    values["transform"] = (values.get("transform") or {}) | vars(both)
    with atomic_path(target) as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def composed(first: Turn, then: Turn) -> Turn:
    """Find the turn that does what two do one after the other."""
    image = np.arange(9).reshape(3, 3)
    wanted = then(first(image))
    return next(one for one in TURNS if np.array_equal(one(image), wanted))
