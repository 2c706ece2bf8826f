"""The Fourier error of a global object, computed by all ranks together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import BACKGROUND, FLUX, Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import all_reduce_sum, on_all_ranks
from ptycho_dist.distributed.sharding import local_slice, shard
from ptycho_dist.errors import ConfigError
from ptycho_dist.launching.environment import RankContext, single_rank
from ptycho_dist.physics.intensity import ForwardModel
from ptycho_dist.physics.likelihood import Patterns
from ptycho_dist.physics.misfit import fourier_misfits
from ptycho_dist.physics.patches import extract
from ptycho_dist.physics.propagators import make_propagator
from ptycho_dist.types import FloatArray

_BATCH = 32
_SPREAD = 4
"""Object pixels, over those of the patches, from which patches that are far apart are cut out by parts."""
_DIGITS = 6


@dataclass(frozen=True)
class FourierErrors:
    """Misfit and photons of every pattern.

    Parameters
    ----------
    misfit
        float64, shape (B,): sum over valid pixels of the squared amplitude difference.
    counts
        float64, shape (B,): photons in valid pixels.
    expected
        float64, shape (B,): what photon noise alone leaves of the misfit, on average.
    """

    misfit: NDArray[np.float64]
    counts: NDArray[np.float64]
    expected: NDArray[np.float64]

    @property
    def compared(self) -> int:
        """Patterns that count."""
        return int((self.counts > 0).sum())

    def error(self, chosen: NDArray[np.bool_] | None = None) -> float:
        """Fourier error sqrt(sum misfit / sum counts) of all, or of some, patterns; NaN of none."""
        inside = np.ones(len(self.misfit), np.bool_) if chosen is None else chosen
        photons = self.counts[inside].sum()
        return float(np.sqrt(self.misfit[inside].sum() / photons)) if photons > 0 else float("nan")


def fourier_errors(
    product: Product, scan: Scan, context: RankContext | None = None, counts_per_photon: float = 1.0
) -> FourierErrors:
    """How well one global object explains all patterns of a scan.

    All that the product says of the measurement is used: probe modes, propagation, flux and background. Each rank
    reads its share of the patterns; the result is the same on all. Patterns whose frame leaves the object, as at the
    edges of a predicted region, count nothing.

    Parameters
    ----------
    product
        Object, positions, and the probe whose propagated waves square to counts.
    scan
        The scan it was made from.
    context
        Place of this rank; one rank alone where not given.
    counts_per_photon
        Of the scan's patterns, for what noise leaves.

    Raises
    ------
    ConfigError
        If product and scan do not belong together.
    """
    place = context or single_rank()
    sums = all_reduce_sum(on_all_ranks(lambda: _share_of_sums(product, scan, place, counts_per_photon)))
    return FourierErrors(*sums.numpy().T)


def _share_of_sums(product: Product, scan: Scan, context: RankContext, counts_per_photon: float) -> torch.Tensor:
    """Misfit, counts and expected misfit (B, 3) of this rank's patterns; zero for those of the others."""
    _require_related(product, scan)
    count, model = len(product.positions_px), forward_model(product)
    mine = np.arange(count)[local_slice(shard(count, context.rank, context.world))]
    mine = mine[whole_patterns(product)[mine]]
    sums = torch.zeros(count, 3, dtype=torch.float64)
    context.progress.expect(len(mine), "patterns")
    for start in range(0, len(mine), _BATCH):
        rows = mine[start : start + _BATCH]
        sums[rows] = _sums(product, model, scan, rows, counts_per_photon)
        context.progress.advance(len(rows))
    return sums


def modelled_counts(product: Product, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Model the counts that a product expects of some patterns, float32, shape (b, N, N), in the order of scans."""
    model, flux = forward_model(product), product.extras.get(FLUX)
    objects = _patches(product, torch.from_numpy(_corners(product)[rows]))
    brightness = None if flux is None else torch.from_numpy(flux[rows]).to(model.probe_PNN.real.dtype)
    return np.asarray(model.propagator.rearrange(model.counts(objects, brightness)), np.float32)


def forward_model(product: Product) -> ForwardModel:
    """Forward model of a product: its probe, propagation and background."""
    probe, background = torch.from_numpy(product.probe), product.extras.get(BACKGROUND)
    propagator = make_propagator(product.metadata.propagation, product.geometry.N, probe)
    return ForwardModel(probe, propagator, None if background is None else torch.from_numpy(background).to(probe.real))


def _sums(
    product: Product, model: ForwardModel, scan: Scan, rows: NDArray[np.int64], counts_per_photon: float
) -> torch.Tensor:
    counts = torch.from_numpy(scan.read_patterns(product.indexes[rows]))
    mask = None if scan.mask is None else torch.from_numpy(scan.mask)
    objects = _patches(product, torch.from_numpy(_corners(product)[rows]))
    flux = product.extras.get(FLUX)
    brightness = None if flux is None else torch.from_numpy(flux[rows]).to(counts)
    patterns = Patterns.of(counts, model.propagator, mask)
    return fourier_misfits(objects, model, patterns, brightness, counts_per_photon)


def _patches(product: Product, corners: torch.Tensor) -> torch.Tensor:
    """Cut patches (b, N, N) at corners (b, 2) out of an object that may lie in a mapped file."""
    N, object_ = product.geometry.N, product.object_
    low = torch.floor(corners.min(dim=0).values).long()
    high = torch.floor(corners.max(dim=0).values).long() + N + 1
    if int((high - low).prod()) > _SPREAD * len(corners) * N**2:
        return torch.cat([_patches(product, one) for one in torch.tensor_split(corners, 2)])
    near = torch.from_numpy(np.array(object_[low[0] : high[0], low[1] : high[1]]))
    return extract(near, corners - low, N)


def whole_patterns(product: Product) -> NDArray[np.bool_]:
    """Which patterns (B,) have their whole frame, with its sub-pixel reach, on the object."""
    first = np.floor(_corners(product))
    return np.asarray(((first >= 0) & (first + product.geometry.N + 1 <= product.object_.shape)).all(axis=1))


def _corners(product: Product) -> FloatArray:
    """Patch corners (B, 2) as object indices; metres there and back leave whole pixels a hair off, which is undone."""
    corners = product.positions_px - np.array(product.geometry.object_origin_px)
    return np.asarray(np.round(corners, _DIGITS), np.float64)


def _require_related(product: Product, scan: Scan) -> None:
    N, held = product.geometry.N, scan.header.n_patterns
    if scan.header.N != N or (len(product.indexes) and int(product.indexes.max()) >= held):
        msg = (
            f"{scan.header.path} has {held} patterns of {scan.header.N} pixels; the product was made from patterns of "
            f"{N} pixels numbered up to {int(product.indexes.max())}. Give the scan that the product was made from."
        )
        raise ConfigError(msg)
