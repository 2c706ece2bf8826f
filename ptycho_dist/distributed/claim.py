"""The output folder of a job on several ranks, held by rank 0 for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptycho_dist.distributed.collectives import from_rank_0
from ptycho_dist.errors import FolderInUseError
from ptycho_dist.folder_claim import FolderClaim, this_process


@contextmanager
def claimed_by_rank_0(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder while the block runs; a collective of all ranks.

    Raises
    ------
    FolderInUseError
        On every rank, if another job holds it.
    """
    claim = FolderClaim(folder, this_process(command, os.environ))
    refusal = from_rank_0(lambda: _refusal(claim))
    if refusal:
        raise FolderInUseError(refusal)
    try:
        yield
    finally:
        claim.release()


def _refusal(claim: FolderClaim) -> str:
    """Take a claim; say why that is refused, so that all ranks can."""
    try:
        claim.take()
    except FolderInUseError as error:
        return str(error)
    return ""
