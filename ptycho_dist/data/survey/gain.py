"""Counts per photon, from the noise of patterns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import chi2

from ptycho_dist.config.scan_options import ScanOptions
from ptycho_dist.data.formats.intensity import WHOLE_SHARE
from ptycho_dist.types import FloatArray

_LAGS = (0.25, 0.32, 0.42, 0.51)
"""Borders of three regions of lags, as shares of N; the longest ones tell the noise."""
_SAME, _NEARLY = 0.15, 1e-3
_LEAST_COEFFICIENTS = 200
_ABOVE_BOUND, _PERCENTILE, _LEAST_COUNTS, _LEAST_PIXELS = 1.5, 0.1, 20.0, 20


@dataclass(frozen=True)
class Gain:
    """Counts per photon, after all conversions.

    Parameters
    ----------
    counts_per_photon
        None where they cannot be told.
    source
        How they are known, in words.
    is_counted
        Whether photons were counted: all values are whole multiples of the counts per photon.
    """

    counts_per_photon: float | None
    source: str
    is_counted: bool = False

    @property
    def against_halves(self) -> str:
        """Why photons cannot be split into halves; empty where they can."""
        if self.is_counted and self.counts_per_photon is not None:
            return ""
        return f"photons were not counted, so they cannot be split into halves ({self.source})"


def gain_of(options: ScanOptions, whole: float, step: float | None, noise_gain: float | None) -> Gain:
    """Settle the counts per photon of a scan.

    Parameters
    ----------
    options
        What the user says of it.
    whole, step, noise_gain
        What its patterns say; see :class:`~ptycho_dist.data.survey.collect.Survey`.
    """
    if options.counts_per_photon is not None:
        source = f"{options.counts_per_photon:.4g} counts per photon, as counts_per_photon says"
        return Gain(1.0, source, is_counted=step is not None and _is_whole(step / options.counts_per_photon))
    if whole >= WHOLE_SHARE and (step or 1.0) <= 1.0:
        return Gain(1.0, "whole numbers, taken as photon counts", is_counted=True)
    if step is not None:
        return Gain(step, f"all values are multiples of {step:.4g}", is_counted=True)
    if noise_gain is not None:
        return Gain(noise_gain, f"from the noise of the patterns: {noise_gain:.4g} counts per photon")
    if options.intensity_kind == "counts":
        return Gain(1.0, "photon counts, as intensity_kind says")
    return Gain(None, "the patterns are no photon counts, and their noise does not tell the counts per photon")


def _is_whole(ratio: float) -> bool:
    return round(ratio) >= 1 and abs(ratio - round(ratio)) < _NEARLY * ratio


def gain_of_noise(patterns: FloatArray) -> float | None:
    """Tell the counts per photon of far-field patterns, where their noise can be told from their signal.

    The Fourier transform of a pattern is the autocorrelation of the exit wave, which is zero at lags longer than the
    probe is wide; noise that is independent from pixel to pixel is white. So the mean power at long lags, over the
    sum of the pattern, is the variance over the mean: 1 for photon counts. Where the power still changes between
    regions of long lags, or is more than pixels vary by from pattern to pattern, it holds signal, and nothing is told.

    Parameters
    ----------
    patterns
        float64, shape (n, N, N): values without masked or missing pixels.

    Returns
    -------
    float or None
        Variance over mean of the values; None where it cannot be told.
    """
    N = patterns.shape[-1]
    total = float(patterns.sum())
    lag = np.abs(np.fft.fftfreq(N))
    shortest = np.minimum(lag[:, None], lag[None, :])
    regions = [(shortest >= low) & (shortest < high) for low, high in pairwise(_LAGS)]
    if total <= 0 or min(region.sum() for region in regions) * len(patterns) < _LEAST_COEFFICIENTS:
        return None
    power = np.zeros((N, N))
    for pattern in patterns:
        power += np.abs(np.fft.fft2(pattern)) ** 2
    *others, noise = (float(power[region].mean()) / total for region in regions)
    is_flat = noise > 0 and all(abs(other / noise - 1) < _SAME for other in others)
    return noise if is_flat and noise < _ABOVE_BOUND * _most_gain(patterns) else None


def _most_gain(patterns: FloatArray) -> float:
    """Bound the gain from above: over the patterns a pixel varies by its noise at least, so variance over mean tells.

    The tenth percentile over all lit pixels, relative to that of a chi-squared of n - 1; infinite where too few tell.
    """
    n = len(patterns)
    mean = patterns.mean(axis=0)
    lit = n * mean >= _LEAST_COUNTS
    if n < 2 or lit.sum() < _LEAST_PIXELS:
        return float("inf")
    ratio = patterns.var(axis=0, ddof=1)[lit] / mean[lit]
    return float(np.percentile(ratio, 100 * _PERCENTILE) / (chi2.ppf(_PERCENTILE, n - 1) / (n - 1)))
