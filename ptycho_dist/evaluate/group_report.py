"""Whether a network's stitched object explains the patterns as well as the groups that it was trained on."""

from __future__ import annotations

import math

from ptycho_dist.evaluate.fourier import FourierErrors

GROUPS = "training_fourier_error"
"""Metric: Fourier error of groups as in training, with the trained network, each on a canvas of its own."""
_FAR_ABOVE = 1.3
_NOISE, _LOOSE, _DENSE = 0.95, 0.3, 0.9


def loose_groups(of_groups: float, errors: FourierErrors, overlap: float) -> str:
    """Say why the stitched object is far worse than the groups of the training, and what to do; empty where it is not.

    Parameters
    ----------
    of_groups
        Fourier error of groups as in training, with the trained network.
    errors
        Misfits of the stitched object.
    overlap
        Linear overlap of neighbouring probes, 0 to 1; NaN of a single pattern.
    """
    stitched = errors.error()
    if not stitched > _FAR_ABOVE * of_groups:
        return ""
    noise = math.sqrt(float(errors.expected.sum() / errors.counts.sum()))
    told = f"the stitched object has a Fourier error of {stitched:.4f}, the groups that were trained on {of_groups:.4f}"
    return f"{told}: {_reason(of_groups, noise, overlap)}"


def _reason(of_groups: float, noise: float, overlap: float) -> str:
    if of_groups < _NOISE * noise:
        return (
            f"the groups are fitted below photon noise ({noise:.4f}), each in its own way; raise data.group_size, or "
            "train for fewer epochs"
        )
    if overlap < _LOOSE:
        return f"neighbouring patterns overlap by {overlap:.0%} and hardly constrain each other; scan in smaller steps"
    if overlap > _DENSE:
        return (
            f"neighbouring patterns overlap by {overlap:.0%}, so those of a group see the same and do not constrain "
            "each other; raise data.group_size"
        )
    return "the groups do not constrain each other; raise data.group_size or training.max_epochs, and check positions"
