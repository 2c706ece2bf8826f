"""What was found in a scan, or in a set of scans of which each rank looks at its share."""

from __future__ import annotations

import logging

from ptycho_dist.data.scan import Scan, select_rows, survey_of
from ptycho_dist.data.scan_set import ScanSet, Source
from ptycho_dist.data.survey.findings import ODD, require_sound
from ptycho_dist.distributed.collectives import all_gather_object, on_all_ranks
from ptycho_dist.distributed.sharding import shard
from ptycho_dist.launching.environment import RankContext

logger = logging.getLogger(__name__)
_MOST_TOLD = 10


def require_sound_source(source: Source, context: RankContext) -> None:
    """Refuse scans with which something is certainly wrong; rank 0 warns of what is odd. All ranks call this.

    Parameters
    ----------
    source
        A scan that was looked at, or a set of scans.
    context
        Place of this rank.

    Raises
    ------
    DataFormatError
        Naming the scan, what was found and the option that settles it.
    """
    told = all_gather_object(on_all_ranks(lambda: _odd_things(source, context)))
    lines = [line for part in told for line in part]
    if context.rank == 0:
        for line in lines[:_MOST_TOLD]:
            logger.warning("%s", line)
        if len(lines) > _MOST_TOLD:
            logger.warning("%d more things are odd in this set; inspect its scans", len(lines) - _MOST_TOLD)


def _odd_things(source: Source, context: RankContext) -> list[str]:
    """List what is odd in this rank's share of a set; in a scan, which all ranks judge, rank 0 alone tells it."""
    if isinstance(source, Scan):
        odd = _odd(source)
        return odd if context.rank == 0 else []
    share = shard(len(source), context.rank, context.world)
    return [line for number in range(share.start, share.stop) for line in _odd(_looked_at(source, number))]


def _looked_at(scans: ScanSet, number: int) -> Scan:
    scan = scans.scan(number)
    return select_rows(scan, survey_of(scan))


def _odd(scan: Scan) -> list[str]:
    require_sound(scan.header.path, scan.findings)
    return [f"{scan.header.path}: {one}" for one in scan.findings if one.severity == ODD]
