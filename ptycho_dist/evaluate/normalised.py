"""The normalised error: misfit over what photon noise alone would leave of it, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product as all_pairs

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.data.survey.statistics import middle_and_spread
from ptycho_dist.evaluate.fourier import FourierErrors
from ptycho_dist.physics.sampling import participation, sampling_of
from ptycho_dist.types import FloatArray, IntArray

_AT_NOISE, _BELOW_NOISE = 1.2, 0.8
_TOO_FEW_DATA, _UNTOLD = 0.4, (0.6, 1.6)
"""Unknowns for each datum from which on errors between these say nothing."""
_LEAST_LEFT = 0.5
"""Share of the data that is taken to be left over by the unknowns at least."""
_LIT_SHARE = 1e-3
_WAYS = (
    "try more iterations, another defocus of the start probe, more modes, refined positions, or turned axes "
    "(ptycho-dist orient finds them; --swap_positions, --negate_y, --negate_x)"
)
_REFINE = "refine it (ptycho-dist refine SCAN --start PRODUCT)"
_SIGMAS, _FACTOR = 6.0, 1.5
_LISTED = 8
_LITTLE_OVERLAP = 0.3
_BLOCK_PX = 2048
"""Side of the parts in which the light on an object is added up."""


@dataclass(frozen=True)
class Normalised:
    """How far a reconstruction is from what photon noise allows.

    Parameters
    ----------
    error
        Of all patterns that count: 1 where noise alone is left, NaN where none counts.
    frames
        float64, shape (B,): the same of each pattern; NaN of those that do not count.
    standing_out
        Numbers in the scan file of patterns far above the others, the worst first.
    unknowns, data
        Numbers that the reconstruction determines, and that the patterns give.
    overlap
        Linear overlap of neighbouring probes, 0 to 1; NaN of a single pattern.
    is_refined
        Whether it comes from a refinement, not from a network alone.
    """

    error: float
    frames: FloatArray
    standing_out: IntArray
    unknowns: float
    data: float
    overlap: float
    is_refined: bool = True

    @property
    def is_told(self) -> bool:
        """Whether there are data enough to tell a right model from a wrong one."""
        is_between = _UNTOLD[0] < self.error < _UNTOLD[1]
        return not (is_between and self.unknowns > _TOO_FEW_DATA * self.data)

    @property
    def is_good(self) -> bool:
        """Whether the patterns are explained, by a model that they constrain."""
        return _BELOW_NOISE <= self.error <= _AT_NOISE

    @property
    def verdict(self) -> str:
        """Say it in words."""
        overlap = "" if math.isnan(self.overlap) else f"overlap {self.overlap:.0%}, "
        loose = self.overlap < _LITTLE_OVERLAP
        if math.isnan(self.error):
            return "no pattern with photons lies whole on the object"
        if not self.is_told:
            share = f"{self.unknowns / self.data:.2f} unknowns for each datum"
            return f"too few photons to tell right from wrong ({self.error:.2f} times photon noise, {share})"
        if self.error < _BELOW_NOISE:
            end = "the frames do not constrain each other" if loose else "the model has more freedom than the data"
            return f"better than noise allows ({self.error:.2f} times photon noise): {overlap}{end}"
        if self.error <= _AT_NOISE:
            doubt = f"; but {overlap}the frames hardly constrain each other" if loose else ""
            return f"explains the frames to photon noise ({self.error:.2f} times){doubt}{self._outstanding('; but ')}"
        text = f"{self.error:.2g} times photon noise{self._outstanding(': ')}"
        return f"{text}; {_WAYS if self.is_refined else _REFINE}"

    def _outstanding(self, before: str) -> str:
        """Name the frames that stand out; nothing where none do."""
        if not len(self.standing_out):
            return ""
        shown = ", ".join(str(number) for number in self.standing_out[:_LISTED])
        more = ", ..." if len(self.standing_out) > _LISTED else ""
        return f"{before}{len(self.standing_out)} frames stand out, see {shown}{more}"


def normalise(errors: FourierErrors, product: Product, scan: Scan, counts_per_photon: float = 1.0) -> Normalised:
    r"""Divide the misfit of a reconstruction by what noise alone would leave.

    :math:`R = \sqrt{ \sum (\sqrt{I} - \sqrt{n})^2 \,/\, (f \sum E) }`, where E is the mean misfit of Poisson counts
    (:func:`~ptycho_dist.physics.photon_noise.expected_misfit`), and :math:`f = 1 - p/m` allows for the p unknowns that
    are fitted to m data, as in a reduced chi-squared; a datum counts 4 E in photons, which is 1 at many. Pixels of the
    object that one pattern alone sees are no common unknowns and are not counted: what they absorb of the noise shows
    as a value below 1.

    Parameters
    ----------
    errors
        Misfits of the product's patterns.
    product, scan
        The reconstruction, and the scan that it was made from.
    counts_per_photon
        That the expected misfits were made with.
    """
    counted = (errors.counts > 0) | (errors.expected > 0)  # dark patterns count where the model has light
    data = 4 * float(errors.expected[counted].sum()) / counts_per_photon
    unknowns = count_unknowns(product, scan, counted)
    left = max(_LEAST_LEFT, 1 - unknowns / data) if data > 0 else 1.0
    frames = np.full(len(counted), np.nan)
    allowed = left * errors.expected[counted]
    frames[counted] = np.sqrt(errors.misfit[counted] / np.maximum(allowed, 1e-30))
    total = float(errors.misfit[counted].sum() / allowed.sum()) ** 0.5 if counted.any() else float("nan")
    return Normalised(
        error=total,
        frames=frames,
        standing_out=scan.file_numbers[product.indexes[_standing_out(frames, 4 * errors.expected / counts_per_photon)]],
        unknowns=unknowns,
        data=data,
        overlap=sampling_of(product.positions_px, product.probe).overlap,
        is_refined="refine" in product.metadata.provenance.get("payload", {}),
    )


def count_unknowns(product: Product, scan: Scan, counted: NDArray[np.bool_]) -> float:
    """Count the real numbers that are fitted to all patterns together: object, and what differs from the scan's.

    A pixel of object or probe counts as far as it is lit: as many as their participation number,
    (sum L)^2 / sum L^2 of the light L, for what is hardly lit is hardly fitted.
    """
    intensity = (np.abs(product.probe) ** 2).sum(axis=0).astype(np.float64)
    unknowns = 2 * _participation(_shared_light(product, intensity, counted))
    if not _same_probe(product, scan):
        unknowns += 2 * len(product.probe) * _participation([intensity])
    flux, background = product.extras.get(FLUX), product.extras.get(BACKGROUND)
    if flux is not None and np.ptp(flux) > 0:
        unknowns += len(flux)
    if background is not None:
        unknowns += background.size if np.ptp(background) > 0 else 1
    moved = np.abs(product.positions_px - scan.positions_px[product.indexes])
    if moved.max(initial=0) > 1e-3:
        unknowns += moved.size
    return unknowns


def _participation(parts: Iterable[FloatArray]) -> float:
    """Count the pixels that share the light evenly, which is given by parts."""
    total = squares = 0.0
    for light in parts:
        total += float(light.sum())
        squares += float((light**2).sum())
    return participation(total, squares)


def _same_probe(product: Product, scan: Scan) -> bool:
    """Tell whether the probe is the supplied one, up to its scale."""
    if scan.probe is None or scan.probe.shape != product.probe.shape:
        return False
    scale = np.vdot(scan.probe, product.probe) / max(float(np.vdot(scan.probe, scan.probe).real), 1e-30)
    difference = float(np.linalg.norm(product.probe - scale * scan.probe))
    return difference < 1e-4 * float(np.linalg.norm(product.probe))


def _shared_light(product: Product, intensity: FloatArray, counted: NDArray[np.bool_]) -> Iterator[FloatArray]:
    """Yield the light on the object of all patterns that count, at pixels that two or more of them light; else 0.

    It comes in blocks (h, w) that cover the object once, so that a large one takes no more memory than a block.
    """
    corners = np.rint(product.positions_px[counted] - np.asarray(product.geometry.object_origin_px)).astype(np.int64)
    if not len(corners):
        return
    corners -= corners.min(axis=0)
    side, (rows, columns) = len(intensity), corners.max(axis=0) + len(intensity)
    for corner in all_pairs(range(0, rows, _BLOCK_PX), range(0, columns, _BLOCK_PX)):
        first = np.array(corner)
        near = corners[((corners > first - side) & (corners < first + _BLOCK_PX)).all(axis=1)]
        if len(near):
            low = near.min(axis=0)
            begin, end = np.maximum(first - low, 0), first + _BLOCK_PX - low
            yield _light_of(near - low, intensity)[begin[0] : end[0], begin[1] : end[1]]


def _light_of(corners: IntArray, intensity: FloatArray) -> FloatArray:
    """Light of patterns at corners from (0, 0) on, where two or more share it; else 0."""
    visits = np.zeros(corners.max(axis=0) + 1)
    np.add.at(visits, tuple(corners.T), 1.0)
    lit = (intensity > _LIT_SHARE * intensity.max()).astype(np.float64)
    is_shared = fftconvolve(visits, lit, mode="full") > 1.5
    light = np.maximum(fftconvolve(visits, intensity, mode="full"), 0.0)
    return np.where(is_shared, light, 0.0)


def _standing_out(frames: FloatArray, data: FloatArray) -> IntArray:
    """Patterns far above the median, beyond what their own statistics allow; the worst first."""
    known = np.isfinite(frames) & (data > 0)
    if known.sum() < 4:
        return np.empty(0, np.int64)
    middle, spread = middle_and_spread(frames[known])
    chance = _SIGMAS / np.sqrt(2 * np.maximum(data, 1.0))
    high = known & (frames > np.maximum(_FACTOR * middle, middle + _SIGMAS * spread)) & (frames > 1 + chance)
    rows = np.flatnonzero(high)
    return rows[np.argsort(-frames[rows], kind="stable")]
