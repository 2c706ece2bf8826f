"""Give all patches one global phase: angular synchronisation over their overlaps.

A single pattern does not tell the global phase of its patch, so neighbouring
predictions may differ by a phase, which blurs their average and lets slow
phase errors drift across the object. Where two patches overlap their relative
phase can be read off; phases that explain all relative phases are found by
weighted least squares on the graph of overlaps (Gauss-Newton on the angular
synchronisation problem: Singer, Appl. Comput. Harmon. Anal. 30, 20 (2011),
DOI 10.1016/j.acha.2010.02.001; for ptychography: Iwen, Preskitt, Saab,
Viswanathan, Appl. Comput. Harmon. Anal. 48, 415 (2020),
DOI 10.1016/j.acha.2018.06.004). The matrix is the same in all rounds, so it is
factorised once; of very large scans, whose factors would not fit into memory,
the phases are found by conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, diags_array
from scipy.sparse.linalg import cg, splu
from scipy.spatial import cKDTree

from ptycho_dist.types import FloatArray, IntArray

_NEIGHBOURS = 8
_ROUNDS = 6
_PRIOR = 1e-5
_TOLERANCE = 1e-10
_MOST_FACTORISED = 1_000_000
_PIXELS_AT_ONCE = 1 << 16


def overlap_pairs(positions_px: FloatArray, side: int) -> IntArray:
    """Pairs of patterns whose patches overlap, each with its nearest neighbours.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2).
    side
        Side of a patch in pixels.

    Returns
    -------
    ndarray, int64, shape (E, 2)
        Pairs (i, j) with i < j, sorted, each once.
    """
    count = len(positions_px)
    asked = min(count, _NEIGHBOURS + 1)
    if asked < 2:
        return np.empty((0, 2), np.int64)
    _, near = cKDTree(positions_px).query(positions_px, k=asked)
    first, second = np.repeat(np.arange(count), asked), np.asarray(near, np.int64).reshape(-1)
    reach = np.maximum(*(np.abs(axis[first] - axis[second]) for axis in np.ascontiguousarray(positions_px.T)))
    kept = (first != second) & (reach < side - 1)
    first, second = first[kept], second[kept]
    keys = np.sort(np.minimum(first, second) * count + np.maximum(first, second))
    return np.column_stack(np.divmod(keys[np.diff(keys, prepend=-1) > 0], count))


def pair_products(
    patches: NDArray[np.complex64], pairs: IntArray, offsets_px: IntArray, weight: FloatArray
) -> NDArray[np.complex128]:
    """Weighted inner products of patches where they overlap.

    Parameters
    ----------
    patches
        complex64, shape (B, n, n).
    pairs
        int64, shape (E, 2): numbers of the first and the second patch.
    offsets_px
        int64, shape (E, 2): whole pixels (y, x) from the corner of the first patch to that of the second.
    weight
        float64, shape (n, n): weight of a patch pixel.

    Returns
    -------
    ndarray, complex128, shape (E,)
        Their arguments are the phases of the first patches relative to the second. Each depends on its own pair alone.
    """
    products = np.empty(len(pairs), np.complex128)
    for offset, some in _by_offset(offsets_px, max(1, _PIXELS_AT_ONCE // weight.size)):
        here, there = _common(offset, len(weight)), _common(-offset, len(weight))
        product = patches[(pairs[some, 0], *here)].astype(np.complex128)
        product *= patches[(pairs[some, 1], *there)].conj()
        product *= weight[here] * weight[there]
        products[some] = product.reshape(len(some), -1).sum(axis=1)
    return products


def _by_offset(offsets_px: IntArray, most: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield offsets (2,), each with the numbers of at most so many pairs that have it."""
    order = np.lexsort(offsets_px.T)
    changes = np.flatnonzero(np.diff(offsets_px[order], axis=0).any(axis=1)) + 1
    for part in np.split(order, changes):
        for start in range(0, len(part), most):
            yield offsets_px[part[0]], part[start : start + most]


def _common(offset: IntArray, side: int) -> tuple[slice, slice]:
    """Rows and columns of a patch that one at an offset shares with it."""
    rows, columns = (slice(max(0, d), side + min(0, d)) for d in offset.tolist())
    return rows, columns


def solve_phases(
    count: int, pairs: IntArray, products: NDArray[np.complex128], most_factorised: int = _MOST_FACTORISED
) -> FloatArray:
    """Phases to multiply onto patches so that overlapping ones agree.

    Parameters
    ----------
    count
        Number of patches B.
    pairs
        int64, shape (E, 2), as :func:`overlap_pairs`.
    products
        complex128, shape (E,), as :func:`pair_products`.
    most_factorised
        Patches up to which a direct solver is used; its memory is about 4 kB a patch.

    Returns
    -------
    ndarray, float64, shape (B,)
        Phases in radians; 0 for a patch that overlaps none.
    """
    phases = np.zeros(count)
    if len(pairs) == 0:
        return phases
    strength = np.abs(products) / max(float(np.abs(products).mean()), np.finfo(float).tiny)
    edges = np.arange(len(pairs))
    signs = np.tile([1.0, -1.0], (len(pairs), 1)).reshape(-1)
    incidence = csr_array((signs, (np.repeat(edges, 2), pairs.reshape(-1))), shape=(len(pairs), count))
    normal = (incidence.T @ diags_array(strength) @ incidence + _PRIOR * diags_array(np.ones(count))).tocsc()
    solve = _factorised(normal) if count <= most_factorised else _iterative(normal)
    for _ in range(_ROUNDS):
        residual = np.angle(products * np.exp(1j * (incidence @ phases)))
        phases = phases - solve(incidence.T @ (strength * residual))
    return phases


def _factorised(normal: csc_array) -> Callable[[FloatArray], FloatArray]:
    """Factorise a symmetric, positive definite matrix; the ordering is the one with the least fill-in on scans."""
    factors = splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return lambda values: np.asarray(factors.solve(values))


def _iterative(normal: csc_array) -> Callable[[FloatArray], FloatArray]:
    precondition = diags_array(1.0 / normal.diagonal())
    return lambda values: np.asarray(cg(normal, values, rtol=_TOLERANCE, M=precondition)[0])
