"""What a survey means: what is certainly wrong with a scan, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.config.scan_options import AUTO, NONE, ScanOptions
from ptycho_dist.data.formats.base import BoolArray, ComplexArray
from ptycho_dist.data.survey.collect import Survey
from ptycho_dist.data.survey.faults import (
    HOT_RATIO,
    copies,
    dark_lines,
    dark_pixels,
    empty_by_chance,
    has_light_in_corners,
    hot_pixels,
    is_sudden,
    often_met,
)
from ptycho_dist.data.survey.statistics import middle_and_spread
from ptycho_dist.errors import DataFormatError
from ptycho_dist.physics.sampling import border_share, nearest_distances, sampling_of
from ptycho_dist.types import FloatArray, IntArray

WRONG, ODD, NOTE = "wrong", "odd", "note"
"""How sure a finding is: refused, warned of, or told to those who ask."""

_OF_FRAMES = {"unwritten", "lost", "empty", "outlying", "unlike", "copied"}
_OF_PIXELS = {"no_number", "stuck", "saturated"}
_LISTED = 8
_LEAST_FRAMES = 4
"""Fewer patterns have no statistics."""
_SPREAD, _RATIO = 12.0, 4.0
_UNLIKE_SPREAD, _UNLIKE_RATIO = 12.0, 2.0
_TYPE_MAXIMA = (255.0, 65535.0, 2.0**31 - 1, 2.0**31, 2.0**32 - 3, 2.0**32 - 2, 2.0**32 - 1, 2.0**32)
_ABOVE_OTHERS = 5.0
_CLIPPED_FRAMES, _CLIPPED_FROM = 3, 200.0
_FAR_RATIO = 10.0
_SAME_PLACE_PX = 1e-3
_SMALL_STEP_PX = 0.25
_LITTLE_OVERLAP = 0.3
_NOISE_FACTOR = 1.5
_BORDER_SHARE, _FILLED_SHARE = 0.05, 0.4
"""Shares of the power in the outer eighth of a frame on each side; evenly filled it has 0.44."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a scan, or odd.

    Parameters
    ----------
    kind
        Short name of what was found.
    severity
        ``"wrong"``, ``"odd"`` or ``"note"``.
    text
        What was found, with numbers, and what is expected.
    fix
        The option that settles it, or what to do.
    frames
        Patterns that are concerned, by their numbers in the file.
    """

    kind: str
    severity: str
    text: str
    fix: str
    frames: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.text}. {self.fix}"


@dataclass(frozen=True)
class Place:
    """What besides the patterns is looked at.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2).
    probe
        Complex, shape (P, N, N); None where the scan has none.
    mask
        bool, shape (N, N), True = valid; None where all are.
    numbers
        int64, shape (B,): number of each pattern in the file, for messages.
    """

    positions_px: FloatArray
    probe: ComplexArray | None
    mask: BoolArray | None
    numbers: IntArray


def find(survey: Survey, place: Place) -> tuple[Finding, ...]:
    """List what is wrong with a scan, or odd; the worst first."""
    found = [*_frames(survey, place), *_pixels(survey, place), *_noise(survey), *_positions(place)]
    found += _optics(survey, place)
    order = (WRONG, ODD, NOTE)
    return tuple(sorted(found, key=lambda one: order.index(one.severity)))


def settled(findings: Sequence[Finding], options: ScanOptions) -> tuple[Finding, ...]:
    """Take as known what the user has decided about, such as to keep some patterns or pixels.

    Who names patterns to leave out has not decided about others that are bad: they are warned of, no longer refused.
    """
    given = options.drop_frames
    decided = _OF_FRAMES if given == NONE else _OF_FRAMES - {"copied"} if given == AUTO else set()
    if options.mask_saturated is False:
        decided = decided | _OF_PIXELS
    eased = _OF_FRAMES if options.frames_to_drop() else set()

    def severity(one: Finding) -> str:
        if one.kind in decided:
            return NOTE
        return ODD if one.kind in eased and one.severity == WRONG else one.severity

    return tuple(replace(one, severity=severity(one)) for one in findings)


def bad_frames(survey: Survey) -> IntArray:
    """Numbers of the patterns that are empty, unwritten or outlying: what ``drop_frames = auto`` leaves out."""
    empty = _empty(survey)
    if empty_by_chance(survey, empty):
        empty &= False
    bad = survey.unwritten | survey.lost | empty | _outlying(survey) | _unlike(survey)
    return np.flatnonzero(bad)


def bad_pixels(survey: Survey) -> BoolArray:
    """Pixels (N, N) that are saturated, stuck or hold no count: what ``mask_saturated`` leaves out."""
    frames = survey.n_counted
    none = (survey.unusable > 0) | ((survey.negative == frames) & (frames > 0)) | (survey.lowest < 0)
    return np.asarray(none | (survey.saturated > 0) | _stuck(survey) | _clipped(survey))


def _frames(survey: Survey, place: Place) -> Iterator[Finding]:
    drop = "Say --drop_frames auto to leave them out, or --drop_frames none to keep them"
    if survey.unwritten.any():
        text = (
            f"{_named(survey.unwritten, place)} were never written (the file holds fill values); expected a whole scan"
        )
        yield Finding("unwritten", WRONG, text, drop, _numbers(survey.unwritten, place))
    lost = survey.lost & ~survey.unwritten
    if lost.any():
        text = (
            f"{_named(lost, place)} hold no count in more than half of their pixels (no number, negative or saturated)"
        )
        yield Finding("lost", WRONG, text, drop, _numbers(lost, place))
    empty = _empty(survey) & ~survey.unwritten & ~lost
    if empty.any() and not empty_by_chance(survey, empty):
        lit = float(np.median(survey.totals[survey.totals > 0]))
        severity = WRONG if is_sudden(survey, empty, place.positions_px) else ODD
        text = f"{_named(empty, place)} hold no count, the others {lit:.4g} (median); expected light in each"
        yield Finding("empty", severity, text, drop, _numbers(empty, place))
    outlying = _outlying(survey)
    if outlying.any():
        worst = survey.totals[outlying]
        text = (
            f"{_named(outlying, place)} have sums from {worst.min():.4g} to {worst.max():.4g}, the median is "
            f"{np.median(survey.totals):.4g}; expected alike exposures"
        )
        yield Finding("outlying", ODD, text, drop, _numbers(outlying, place))
    unlike = _unlike(survey) & ~outlying & ~empty & ~survey.unwritten
    if unlike.any():
        text = (
            f"{_named(unlike, place)} look unlike the others (likeness to the mean pattern "
            f"{survey.likeness[unlike].min():.2f}, median {np.median(survey.likeness):.2f})"
        )
        yield Finding("unlike", ODD, text, drop, _numbers(unlike, place))
    copied = copies(survey, place.positions_px) & ~survey.unwritten & ~outlying & ~unlike
    if copied.any():
        text = (
            f"{_named(copied, place)} are the same as an earlier one, pixel by pixel, at another place; expected noise"
        )
        fix = "Leave them out with --drop_frames and their numbers, or say --drop_frames none to keep them"
        yield Finding("copied", ODD, text, fix, _numbers(copied, place))


def _pixels(survey: Survey, place: Place) -> Iterator[Finding]:
    valid = np.ones(survey.sums.shape, np.bool_) if place.mask is None else place.mask
    frames = survey.n_counted
    settle = "Say --mask_saturated true to leave them out, or give a mask with --mask FILE"
    none = valid & ((survey.unusable == frames) | (survey.negative == frames)) & (frames > 0)
    if none.any():
        yield Finding("no_number", WRONG, f"{_count(none)} hold no count in any pattern (NaN or negative)", settle)
    partly = valid & ~none & ((survey.unusable > 0) | (survey.lowest < 0)) & (frames > 0)
    if partly.any():
        text = f"{_count(partly)} hold no count in some patterns (NaN or negative)"
        yield Finding("no_number", WRONG, text, settle)
    stuck = valid & _stuck(survey)
    if stuck.any():
        value = float(np.median(survey.highest[stuck]))
        text = f"{_count(stuck)} hold {value:.10g} in every pattern, which marks a gap or a dead pixel; expected counts"
        yield Finding("stuck", WRONG, text, settle)
    sometimes = valid & ~stuck & ((survey.saturated > 0) | _clipped(survey))
    if sometimes.any():
        most = int(max(survey.saturated[sometimes].max(), 1))
        text = (
            f"{_count(sometimes)} are saturated ({survey.highest[sometimes].max():.10g}, the most that is recorded), "
            f"one of them in {most} of {frames} patterns"
        )
        yield Finding("saturated", ODD, text, settle)
    lines = ~none & dark_lines(survey, valid)
    if lines.any():
        text = f"{_count(lines)} make rows or columns that hold no count amid lit ones; expected light, or a mask"
        yield Finding("gap", ODD, text, "If they are a gap or dead, give a mask with --mask FILE")
    hot = valid & ~stuck & ~sometimes & ~none & hot_pixels(survey, valid & ~lines)
    if hot.any():
        share = float(survey.sums[hot].sum() / max(float(survey.sums[valid & ~stuck].sum()), 1e-30))
        yield Finding(
            "hot",
            ODD,
            f"{_count(hot)} are brighter than all around them by {HOT_RATIO:g} or more ({share:.1%} of all counts)",
            "If they are hot pixels, give a mask with --mask FILE",
        )
    if has_light_in_corners(survey, valid):
        text = "the light is in the corners of the detector and the middle is dark; expected its zero frequency there"
        yield Finding("corners", ODD, text, "Shift the patterns (fftshift), or say --file_format if another one fits")
    dark = valid & ~none & ~lines & dark_pixels(survey, valid)
    if dark.any():
        text = f"{_count(dark)} hold hardly a count amid bright ones"
        yield Finding("dark", ODD, text, "If they are dead or a gap, give a mask with --mask FILE")
    still = valid & ~stuck & ~none & (survey.lowest == survey.highest) & (survey.highest > 0)
    if frames >= _LEAST_FRAMES and still.any() and survey.noise_gain is not None:
        yield Finding(
            "constant", ODD, f"{_count(still)} never change", "If they are stuck, give a mask with --mask FILE"
        )


def _noise(survey: Survey) -> Iterator[Finding]:
    gain, step = survey.noise_gain, survey.step or 1.0
    if survey.whole == 1.0 and gain is not None and not 1 / _NOISE_FACTOR < gain / step < _NOISE_FACTOR:
        text = f"the noise of the patterns is that of {gain:.3g} counts per photon, not of {step:.3g}"
        yield Finding("noise", ODD, text, "If they are detector units, say --counts_per_photon")


def _positions(place: Place) -> Iterator[Finding]:
    positions = place.positions_px
    if len(positions) < _LEAST_FRAMES:
        return
    same = len(positions) - len(np.unique(np.round(positions / _SAME_PLACE_PX), axis=0))
    if same:
        text = f"{same} of {len(positions)} positions were met before"
        often = often_met(positions)
        if often.any():
            text += f"; {int(often.sum())} patterns share a place far more often than usual"
        yield Finding("doubled", ODD if often.any() else NOTE, text, "Check that each pattern has its own")
    distances = nearest_distances(positions)
    if distances.size:
        far = distances > _FAR_RATIO * max(float(np.median(distances)), _SAME_PLACE_PX)
        if far.any():
            text = f"{int(far.sum())} position(s) lie {distances[far].max():.4g} px from their nearest, the median is "
            text += f"{np.median(distances):.3g} px"
            yield Finding("far", ODD, text, "Leave such patterns out with --drop_frames, or correct the positions")


def _optics(survey: Survey, place: Place) -> Iterator[Finding]:
    if place.probe is None:
        return
    found, N = sampling_of(place.positions_px, place.probe), place.probe.shape[-1]
    counts_at_border = border_share(survey.sums)
    if len(place.positions_px) >= _LEAST_FRAMES and found.overlap < _LITTLE_OVERLAP:
        frames = "; not even the frames overlap" if found.step_px >= N else ""
        text = (
            f"neighbouring probes overlap by {found.overlap:.0%} (step {found.step_px:.4g} px, probe "
            f"{found.probe_diameter_px:.4g} px wide{frames}); expected 60 % or more"
        )
        fix = "Check the unit (--position_unit) and the axes of the positions; without overlap a result proves nothing"
        yield Finding("overlap", ODD, text, fix)
    if len(place.positions_px) >= _LEAST_FRAMES and found.step_px < _SMALL_STEP_PX:
        text = (
            f"neighbouring scan points are {found.step_px:.2g} px apart (probe {found.probe_diameter_px:.3g} px wide)"
        )
        yield Finding("step", ODD, f"{text}; expected pixels", "Check the unit (--position_unit)")
    if found.probe_at_border > _BORDER_SHARE:
        text = f"{found.probe_at_border:.0%} of the probe's power lie at the border of its frame of {N} px"
        fills = found.probe_at_border > _FILLED_SHARE and counts_at_border < _FILLED_SHARE / 2
        severity = ODD if fills else NOTE  # in the near field light fills detector and frame
        yield Finding(
            "probe_frame", severity, text, "Use more detector pixels (smaller object pixels need a larger frame)"
        )
    if found.probe_bandwidth > _BORDER_SHARE and counts_at_border <= _BORDER_SHARE / 5:
        text = (
            f"{found.probe_bandwidth:.0%} of the probe's far field lie at the border of the detector, but "
            f"{counts_at_border:.1%} of the counts"
        )
        yield Finding("bandwidth", ODD, text, "Check the probe, and the size of its pixels")


def _empty(survey: Survey) -> BoolArray:
    return np.asarray((survey.totals == 0) & (len(survey) >= _LEAST_FRAMES) & (survey.totals.max(initial=0) > 0))


def _outlying(survey: Survey) -> BoolArray:
    """Patterns whose sum lies far outside those of the others, by median and median deviation of the logarithms."""
    lit = survey.totals > 0
    if lit.sum() < 2 * _LEAST_FRAMES:
        return np.zeros(len(survey), np.bool_)
    logs = np.log(np.where(lit, survey.totals, 1.0))
    middle, spread = middle_and_spread(logs[lit])
    return np.asarray(lit & (np.abs(logs - middle) > max(np.log(_RATIO), _SPREAD * spread)))


def _unlike(survey: Survey) -> BoolArray:
    lit = survey.totals > 0
    if lit.sum() < 2 * _LEAST_FRAMES:
        return np.zeros(len(survey), np.bool_)
    distance = np.arccos(np.clip(survey.likeness, 0.0, 1.0))
    middle, spread = middle_and_spread(distance[lit])
    return np.asarray(lit & (distance > max(_UNLIKE_RATIO * middle, middle + _UNLIKE_SPREAD * spread)))


def _stuck(survey: Survey) -> BoolArray:
    """Pixels that hold one value in every pattern, the maximum of a type or far above all that changes."""
    still = (survey.lowest == survey.highest) & (survey.highest > 0)
    if len(survey) < 2 or not still.any() or still.all():
        return np.zeros(still.shape, np.bool_)
    others = float(survey.highest[~still].max())
    if others <= 0:  # nothing changes anywhere
        return np.zeros(still.shape, np.bool_)
    at_limit = np.isin(survey.highest, _TYPE_MAXIMA) | (survey.saturated == survey.n_counted)
    return np.asarray(still & (survey.highest >= others) & (at_limit | (survey.highest > _ABOVE_OTHERS * others)))


def _clipped(survey: Survey) -> BoolArray:
    """Pixels at a maximum that several patterns share: a counter that stops below the maximum of its type."""
    peak = float(survey.peaks.max(initial=0))
    at_peak = int((survey.peaks == peak).sum())
    near = int(((survey.peaks < peak) & (survey.peaks > 0.97 * peak)).sum())
    clips = peak >= _CLIPPED_FROM and at_peak >= _CLIPPED_FRAMES and at_peak > 2 * near
    return (
        np.asarray((survey.highest == peak) & (survey.lowest < peak))
        if clips
        else np.zeros(survey.highest.shape, np.bool_)
    )


def _numbers(which: BoolArray, place: Place) -> tuple[int, ...]:
    return tuple(int(number) for number in place.numbers[which])


def _named(which: BoolArray, place: Place) -> str:
    numbers = _numbers(which, place)
    shown = ", ".join(str(number) for number in numbers[:_LISTED])
    return f"{len(numbers)} of {len(which)} patterns ({shown}{', ...' if len(numbers) > _LISTED else ''})"


def _count(which: NDArray[np.bool_]) -> str:
    where = np.argwhere(which)
    (y, x), more = where[0], len(where) - 1
    return f"{len(where)} pixel(s), at ({y}, {x}){' and elsewhere' if more else ''},"


def require_sound(path: Path, findings: Sequence[Finding]) -> None:
    """Refuse a scan with which something is certainly wrong.

    Raises
    ------
    DataFormatError
        With each such finding and the option that settles it.
    """
    wrong = [str(one) for one in findings if one.severity == WRONG]
    if wrong:
        raise DataFormatError(f"{path}: {'; '.join(wrong)}.")
