"""The probe of a scan is found before a network predicts it: a network knows no probe but the one it is given.

A supplied probe is seldom the true one. A short refinement of a sample of the patterns finds one that is closer; it is
used if the network then predicts other patterns of the scan better.
"""

from __future__ import annotations

import logging

import numpy as np

from ptycho_dist.data.grouping import compact_groups, members
from ptycho_dist.data.scan import Scan
from ptycho_dist.distributed.collectives import from_rank_0
from ptycho_dist.evaluate.group_error import group_error, spread, spread_groups
from ptycho_dist.factory.payload import InferencePayload
from ptycho_dist.inference.found_probe import FoundProbe, give_probe, load_found_probe
from ptycho_dist.inference.patch_store import place_model
from ptycho_dist.inference.run import load_model
from ptycho_dist.launching.environment import RankContext
from ptycho_dist.refine.sample import refine_sample
from ptycho_dist.types import FloatArray, IntArray

logger = logging.getLogger(__name__)

_IN_ONE_PLACE = 64
"""Patterns that are refined in one place; they have to overlap."""
_HELD_BACK = 128
_CLEARLY = 0.95
"""Factor on the error from which on a found probe is used: a little of the noise is fitted by any refinement."""
_LEAST = 16
"""Patterns of a scan from which on a part can be held back."""


def find_probe(
    payload: InferencePayload, context: RankContext, scan: Scan, *, resume: bool = False
) -> FoundProbe | None:
    """Find the probe to predict a scan with, on rank 0 for all ranks; None where none is to be looked for.

    Parameters
    ----------
    payload, context, scan
        Settings, place of this rank, and the open scan.
    resume
        Take the probe that an unfinished run of the same prediction has found.
    """
    if payload.inference_config.probe_search != "always":
        return None
    if len(scan) < _LEAST:
        logger.info("the scan has %d patterns, too few to find its probe; it is used as supplied", len(scan))
        return None
    with context.progress.stage("probe search"):
        return from_rank_0(lambda: _find(payload, context, scan, resume=resume))


def _find(payload: InferencePayload, context: RankContext, scan: Scan, *, resume: bool) -> FoundProbe:
    folder, fingerprint = payload.output_dir, payload.result_fingerprint()
    found = load_found_probe(folder, fingerprint) if resume else None
    if found is None:
        found = _search(payload, context, scan)
        found.save(folder, fingerprint)
    _tell(found)
    return found


def _search(payload: InferencePayload, context: RankContext, scan: Scan) -> FoundProbe:
    inference, data = payload.inference_config, payload.data_config
    sample = sample_of(scan.positions_px, inference.probe_patterns)
    rest = np.setdiff1d(np.arange(len(scan)), sample)
    held_back = spread_groups(scan, rest, data, _HELD_BACK)
    model = place_model(load_model(payload, scan)[0], payload.execution_config, context.local_rank)
    supplied = model.optics.probe.cpu().numpy().astype(np.complex64)
    supplied_error = group_error(model, scan, held_back, payload.count_factor)
    settings = (data, payload.execution_config, context)
    probe = refine_sample(scan, sample, supplied, inference.probe_iterations, settings).probe
    give_probe(model, probe)
    found_error = group_error(model, scan, held_back, payload.count_factor)
    is_better = found_error < _CLEARLY * supplied_error
    return FoundProbe(probe if is_better else supplied, is_better, supplied_error, found_error, len(sample))


def sample_of(positions_px: FloatArray, wanted: int) -> IntArray:
    """Choose about so many patterns, at most half of them, in compact places spread over a scan; ascending.

    Parameters
    ----------
    positions_px
        float64, shape (B, 2).
    wanted
        Patterns to choose.
    """
    most = min(wanted, len(positions_px) // 2)
    places = max(1, round(most / _IN_ONE_PLACE))
    groups = compact_groups(positions_px, most // places)
    chosen = spread(len(groups), places + 2)[1:-1] if len(groups) >= places + 2 else spread(len(groups), places)
    return np.sort(np.concatenate([members(groups, int(row)) for row in chosen]))


def _tell(found: FoundProbe) -> None:
    both = (found.n_patterns, found.found_error, found.supplied_error)
    if found.is_new:
        logger.info(
            "the probe was refined with %d patterns: the network's Fourier error on others is %.4f with it, %.4f with "
            "the supplied one; predicting with the refined one", *both,
        )  # fmt: skip
    else:
        logger.info(
            "a probe refined with %d patterns gives the network a Fourier error of %.4f on others, the supplied one "
            "%.4f; predicting with the supplied one", *both,
        )  # fmt: skip
