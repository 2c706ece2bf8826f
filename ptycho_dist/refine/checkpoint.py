"""The state of a refinement between two iterations, on disk."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ptycho_dist.data.scan import require_made_from
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.errors import RefinementError
from ptycho_dist.tensor_file import TensorFile
from ptycho_dist.types import ScanHeader

logger = logging.getLogger(__name__)

NAME, PARTS = "refinement.safetensors", "refinement.parts"
_EXPECTED = "the state of a refinement"


def _file(name: str) -> TensorFile:
    return TensorFile(name, "refinement", _EXPECTED, RefinementError)


_FILE = _file(NAME)


@dataclass(frozen=True)
class Facts:
    """What a state is of.

    Parameters
    ----------
    fingerprint
        Of the settings and data that decide the result.
    scan_checksum
        Of the scan.
    errors
        Fourier error of each iteration so far, for each start.
    """

    fingerprint: str
    scan_checksum: str
    errors: Mapping[str, Sequence[float]]

    @property
    def iterations(self) -> int:
        """Iterations that were done."""
        return max((len(errors) for errors in self.errors.values()), default=0)


@dataclass(frozen=True)
class Saved:
    """A refinement that can be resumed.

    Parameters
    ----------
    folder
        Where it was saved.
    facts
        What it is of.
    """

    folder: Path
    facts: Facts

    def tensors(self) -> dict[str, Tensor]:
        """Read what every rank has of each start that is still refined, by name."""
        return self._read(_FILE, self.folder)

    def part(self, name: str) -> dict[str, Tensor]:
        """Read what one rank has of it, by name."""
        return self._read(_file(f"{name}.safetensors"), _parts(self.folder, self.facts))

    def _read(self, file: TensorFile, folder: Path) -> dict[str, Tensor]:
        found = file.read(folder)
        if found is None:
            msg = f"{folder / file.name} is missing; expected {_EXPECTED}. Start anew with --resume false."
            raise RefinementError(msg)
        return found[0]


def save(folder: Path, facts: Facts, tensors: Mapping[str, Tensor], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write a state; it appears whole or not at all. Called on all ranks.

    Parameters
    ----------
    folder, facts
        Where, and what it is of.
    tensors
        What every rank has, by name; rank 0 writes it.
    parts
        What only this rank has, by the names of parts and tensors.
    """

    def write_parts() -> None:
        for name, held in parts.items():
            _file(f"{name}.safetensors").write(_parts(folder, facts), held, {})

    def write() -> None:
        _FILE.write(folder, tensors, asdict(facts))
        _remove_parts(folder, but=_parts(folder, facts))

    on_all_ranks(write_parts)
    from_rank_0(write)


def load(folder: Path, fingerprint: str, header: ScanHeader) -> Saved | None:
    """Find the state of an unfinished refinement of these settings; None without one.

    Raises
    ------
    RefinementError
        If the file is damaged.
    DataFormatError
        If the scan was replaced since.
    """
    path, found = folder / NAME, _FILE.read_facts(folder)
    if found is None:
        return None
    facts = _facts(found)
    require_made_from(header, str(path), facts.scan_checksum, "Put that scan back, or start anew with --resume false.")
    if facts.fingerprint != fingerprint:
        logger.warning("%s is of a refinement with other settings; the refinement starts anew", path)
        return None
    return Saved(folder, facts)


def forget(folder: Path) -> None:
    """Remove the state: there is nothing to resume."""
    _FILE.remove(folder)
    _remove_parts(folder)


def _facts(found: Mapping[str, Any]) -> Facts:
    return Facts(found["fingerprint"], found.get("scan_checksum", ""), found["errors"])


def _parts(folder: Path, facts: Facts) -> Path:
    return folder / f"{PARTS}.{facts.iterations}"


def _remove_parts(folder: Path, but: Path | None = None) -> None:
    """Remove the parts of all states but one."""
    for found in folder.glob(f"{PARTS}.*"):
        if found != but:
            shutil.rmtree(found)
