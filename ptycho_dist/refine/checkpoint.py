"""The state of a refinement between two iterations, on disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ptycho_dist.data.scan import require_made_from
from ptycho_dist.errors import RefinementError
from ptycho_dist.tensor_file import TensorFile
from ptycho_dist.types import ScanHeader

logger = logging.getLogger(__name__)

NAME = "refinement.safetensors"
_FILE = TensorFile(NAME, "refinement", "the state of a refinement", RefinementError)


@dataclass(frozen=True)
class Saved:
    """A refinement that can be resumed.

    Parameters
    ----------
    fingerprint
        Of the settings and data that decide the result.
    scan_checksum
        Of the scan.
    errors
        Fourier error of each iteration so far, for each start.
    tensors
        Estimate, method and momentum of each start that is still refined, by name.
    """

    fingerprint: str
    scan_checksum: str
    errors: Mapping[str, Sequence[float]]
    tensors: dict[str, Tensor]


def save(folder: Path, state: Saved) -> None:
    """Write a state; it appears whole or not at all."""
    facts = {"fingerprint": state.fingerprint, "scan_checksum": state.scan_checksum, "errors": dict(state.errors)}
    _FILE.write(folder, state.tensors, facts)


def load(folder: Path, fingerprint: str, header: ScanHeader) -> Saved | None:
    """Read the state of an unfinished refinement of these settings; None without one.

    Raises
    ------
    RefinementError
        If the file is damaged.
    DataFormatError
        If the scan was replaced since.
    """
    path, found = folder / NAME, _FILE.read(folder)
    if found is None:
        return None
    tensors, facts = found
    made_from = facts.get("scan_checksum", "")
    require_made_from(header, str(path), made_from, "Put that scan back, or start anew with --resume false.")
    if facts["fingerprint"] != fingerprint:
        logger.warning("%s is of a refinement with other settings; the refinement starts anew", path)
        return None
    return Saved(fingerprint, made_from, facts["errors"], tensors)


def forget(folder: Path) -> None:
    """Remove the state: there is nothing to resume."""
    _FILE.remove(folder)
