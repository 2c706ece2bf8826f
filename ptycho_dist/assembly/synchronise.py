"""Give all patches one global phase: angular synchronisation over their overlaps.

A single pattern does not tell the global phase of its patch, so neighbouring
predictions may differ by a phase, which blurs their average and lets slow
phase errors drift across the object. Where two patches overlap their relative
phase can be read off; phases that explain all relative phases are found by
weighted least squares on the graph of overlaps (Gauss-Newton on the angular
synchronisation problem: Singer, Appl. Comput. Harmon. Anal. 30, 20 (2011),
DOI 10.1016/j.acha.2010.02.001; for ptychography: Iwen, Preskitt, Saab,
Viswanathan, Appl. Comput. Harmon. Anal. 48, 415 (2020),
DOI 10.1016/j.acha.2018.06.004).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from ptycho_dist.types import FloatArray, IntArray

_NEIGHBOURS = 8
_ROUNDS = 6
_PRIOR = 1e-5
_TOLERANCE = 1e-10


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
    pairs = np.stack([np.repeat(np.arange(count), asked), np.asarray(near).reshape(-1)], axis=1)
    reach = np.abs(positions_px[pairs[:, 0]] - positions_px[pairs[:, 1]]).max(axis=1)
    kept = pairs[(pairs[:, 0] != pairs[:, 1]) & (reach < side - 1)]
    return np.unique(np.sort(kept, axis=1), axis=0).astype(np.int64)


def pair_product(
    first: NDArray[np.complex64], second: NDArray[np.complex64], weight: FloatArray, offset: tuple[int, int]
) -> complex:
    """Weighted inner product of two patches where they overlap.

    Parameters
    ----------
    first, second
        Patches (n, n).
    weight
        Weight of a patch pixel (n, n).
    offset
        Whole pixels (y, x) from the corner of the first patch to that of the second.

    Returns
    -------
    complex
        Its argument is the phase of the first patch relative to the second.
    """
    n = len(weight)
    here = tuple(slice(max(0, d), n + min(0, d)) for d in offset)
    there = tuple(slice(max(0, -d), n + min(0, -d)) for d in offset)
    both = weight[here] * weight[there]
    return complex((first[here].astype(np.complex128) * second[there].conj() * both).sum())


def solve_phases(count: int, pairs: IntArray, products: NDArray[np.complex128]) -> FloatArray:
    """Phases to multiply onto patches so that overlapping ones agree.

    Parameters
    ----------
    count
        Number of patches B.
    pairs
        int64, shape (E, 2), as :func:`overlap_pairs`.
    products
        complex128, shape (E,), as :func:`pair_product`.

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
    normal = (incidence.T @ diags_array(strength) @ incidence + _PRIOR * diags_array(np.ones(count))).tocsr()
    precondition = diags_array(1.0 / normal.diagonal())
    for _ in range(_ROUNDS):
        residual = np.angle(products * np.exp(1j * (incidence @ phases)))
        change, _ = cg(normal, -(incidence.T @ (strength * residual)), rtol=_TOLERANCE, M=precondition)
        phases = phases + change
    return phases
