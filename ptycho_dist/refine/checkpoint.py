"""The state of a refinement between two iterations, on disk."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from ptycho_dist.atomic import atomic_path
from ptycho_dist.data.scan import require_made_from
from ptycho_dist.errors import RefinementError
from ptycho_dist.types import ScanHeader

logger = logging.getLogger(__name__)

NAME = "refinement.safetensors"
_FACTS = "refinement"


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
    told = {"fingerprint": state.fingerprint, "scan_checksum": state.scan_checksum, "errors": dict(state.errors)}
    facts = {_FACTS: json.dumps(told)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    with atomic_path(folder / NAME) as temporary:
        temporary.write_bytes(serialise(tensors, facts))


def load(folder: Path, fingerprint: str, header: ScanHeader) -> Saved | None:
    """Read the state of an unfinished refinement of these settings; None without one.

    Raises
    ------
    RefinementError
        If the file is damaged.
    DataFormatError
        If the scan was replaced since.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[_FACTS])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error}); expected the state of a refinement. Start anew with --resume false."
        raise RefinementError(msg) from error
    made_from = facts.get("scan_checksum", "")
    require_made_from(header, str(path), made_from, "Put that scan back, or start anew with --resume false.")
    if facts["fingerprint"] != fingerprint:
        logger.warning("%s is of a refinement with other settings; the refinement starts anew", path)
        return None
    return Saved(fingerprint, made_from, facts["errors"], tensors)


def forget(folder: Path) -> None:
    """Remove the state: there is nothing to resume."""
    (folder / NAME).unlink(missing_ok=True)
