r"""A probe for a scan that holds none, or another one than it holds.

Light in the plane of the detector is known, from the mean pattern or from numbers of the optics; its phase is not. It
is taken as a curvature, tried from -1 to 1 times that which fills the frame: a wrong one, and a wrong sign above all,
leaves a much larger Fourier error after three passes over a hundred patterns.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.probe_choice import AUTO, FILE, MEAN_PATTERN, parse_probe
from ptycho_dist.config.schema import DataConfig
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.probe_file import read_probe
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.scan_set import Source
from ptycho_dist.distributed.collectives import from_rank_0
from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate.group_error import spread
from ptycho_dist.evaluate.whole_scan import compact_rows
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.physics.start_probes.frame import ProbeFrame, StartProbe, build
from ptycho_dist.refine.sample import RefinedSample, refine_sample
from ptycho_dist.types import FAR_FIELD, FloatArray, IntArray

logger = logging.getLogger(__name__)

_PATTERNS, _PASSES, _LAST_PASSES = 96, 3, 20
_LEAST = 8
_EIGHTHS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 8, -8)
_HALVINGS = (1 / 16, 1 / 32)
_MEAN_OF, _READ_AT_ONCE = 512, 32
_EDGE = 1.4
"""Radius of a disc over the root mean square of its points."""

Settings = tuple[DataConfig, PyTorchExecutionConfig, RankContext]


def with_start_probe(source: Source, settings: Settings) -> Source:
    """Give a scan the probe that the settings ask for; it is made on rank 0 for all ranks.

    Parameters
    ----------
    source
        What was opened; sets keep the probes of their scans.
    settings
        How it is read and its waves travel, whose device works, and the place of this rank.

    Raises
    ------
    ConfigError
        If the probe cannot be made.
    """
    if not isinstance(source, Scan) or not _needs_probe(source, settings):
        return source
    return _with(source, *from_rank_0(lambda: _made(source, settings)))


def with_own_start_probe(scan: Scan, settings: Settings) -> Scan:
    """Give a scan such a probe in this process, for which no other rank waits; see :func:`with_start_probe`."""
    return _with(scan, *_made(scan, settings)) if _needs_probe(scan, settings) else scan


def _needs_probe(scan: Scan, settings: Settings) -> bool:
    return scan.probe is None or parse_probe(settings[0].probe).kind != AUTO


def _with(scan: Scan, probe: ComplexArray, told: str) -> Scan:
    header = replace(scan.header, n_modes=len(probe), conversions=(*scan.header.conversions, told))
    return Scan(header, replace(scan.raw, probe=probe), scan.options, scan.state, scan.survey)


def _made(scan: Scan, settings: Settings) -> tuple[ComplexArray, str]:
    choice = parse_probe(settings[0].probe)
    if choice.kind == FILE:
        return read_probe(Path(choice.path), scan.header.N), f"probe: from {choice.path}"
    data = settings[0]
    if data.propagation != FAR_FIELD.kind:
        msg = (
            f"{scan.header.path} has no probe, and data.propagation = {data.propagation}; expected a probe, for in the "
            "near field the patterns do not tell it. Give --probe FILE."
        )
        raise ConfigError(msg)
    if len(scan) < _LEAST:
        msg = f"{scan.header.path} has {len(scan)} patterns; expected {_LEAST} to find a probe. Give --probe FILE."
        raise ConfigError(msg)
    kind = MEAN_PATTERN if choice.kind == AUTO else choice.kind
    header = scan.header
    frame = ProbeFrame(header.N, header.pixel_size_m, header.energy_eV, _mean_pattern(scan))
    start = build(kind, frame, choice.numbers)
    search = _Search(scan, start, compact_rows(scan, _PATTERNS), settings)
    known = start.curvature
    curvature = search.best() if known is None else known
    found = search.refined(curvature, _LAST_PASSES)
    told = f"probe: from {_words(kind)}, {_defocus(start, curvature, is_given=known is not None)}"
    many = len(search.rows)
    error = found.fourier_error
    logger.info("%s; Fourier error %.4f after %d passes over %d patterns", told, error, _LAST_PASSES, many)
    return found.probe, told


def _words(kind: str) -> str:
    return {MEAN_PATTERN: "the root of the mean pattern"}.get(kind, f"a {kind.replace('_', ' ')}")


def _defocus(start: StartProbe, curvature: float, *, is_given: bool) -> str:
    how = "as given" if is_given else "found"
    if math.isfinite(start.wavelength_px):
        return f"{-curvature / start.wavelength_px * 1e6:.4g} um out of focus ({how})"
    return f"with a curvature of {curvature:.4g} square pixels ({how})"


def _mean_pattern(scan: Scan) -> FloatArray:
    rows = spread(len(scan), _MEAN_OF)
    total = np.zeros((scan.header.N, scan.header.N))
    for start in range(0, len(rows), _READ_AT_ONCE):
        total += scan.read_patterns(rows[start : start + _READ_AT_ONCE]).sum(axis=0, dtype=np.float64)
    return total / len(rows)


@dataclass(frozen=True)
class _Search:
    """Tries curvatures of a probe on some patterns.

    Parameters
    ----------
    scan, start, rows, settings
        Open scan, the probe but for its curvature, the patterns, and settings.
    """

    scan: Scan
    start: StartProbe
    rows: IntArray
    settings: Settings

    def best(self) -> float:
        """Find the curvature with the smallest error: on a grid, then halfway to its neighbours, and again."""
        power = np.abs(self.start.spectrum_NN) ** 2
        square = np.fft.fftfreq(self.scan.header.N) ** 2
        spread = math.sqrt(float(((square[:, None] + square) * power).sum() / power.sum()))
        largest = self.scan.header.N / (2 * _EDGE * spread)
        errors = {share: self._error(share * largest) for share in (eighth / 8 for eighth in _EIGHTHS)}
        for step in _HALVINGS:
            middle = min(errors, key=_finite(errors))
            errors |= {share: self._error(share * largest) for share in (middle - step, middle + step)}
        return min(errors, key=_finite(errors)) * largest

    def refined(self, curvature: float, passes: int) -> RefinedSample:
        """Refine the probe with the patterns."""
        data, execution, context = self.settings
        wave = self.start.wave(curvature).astype(np.complex64)[None]
        return refine_sample(self.scan, self.rows, wave, passes, (data, execution, context))

    def _error(self, curvature: float) -> float:
        return self.refined(curvature, _PASSES).fourier_error


def _finite(errors: dict[float, float]) -> Callable[[float], float]:
    return lambda share: errors[share] if math.isfinite(errors[share]) else math.inf
