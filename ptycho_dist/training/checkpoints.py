"""Checkpoint files that appear whole, carry their checksum, and can be resumed from."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from ptycho_dist.atomic import atomic_path
from ptycho_dist.errors import TrainingError

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
STATE_KEY = "ptycho_dist"
"""Where our part of the training's state is in a checkpoint."""
_PATTERN = "step-*.ckpt"


@dataclass(frozen=True)
class ResumePoint:
    """A whole checkpoint, and where in the order of training it lies.

    Parameters
    ----------
    path
        The file.
    epoch, batch
        Epoch (from 0), and batches of it that are done.
    step
        Batches done in all.
    """

    path: Path
    epoch: int
    batch: int
    step: int


class VerifiedCheckpointIO(CheckpointIO):
    """Writes a checkpoint under a temporary name, renames it, and puts ``NAME.sha256`` beside it.

    A failure to write is kept in ``failure`` and raised by :meth:`raise_failure`, since
    only rank 0 writes, and the others would wait for it.
    """

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint and its checksum."""
        try:
            _write(checkpoint, Path(path))
        except OSError as error:
            self.failure = error

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint to the CPU; nothing in it is executed."""
        return load(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its checksum."""
        _checksum_path(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)

    def raise_failure(self) -> None:
        """Raise what a write failed with.

        Raises
        ------
        OSError
            If a checkpoint could not be written; those from before are whole.
        """
        if self.failure is not None:
            raise self.failure


def step_path(folder: Path, step: int) -> Path:
    """Name of the checkpoint after so many steps."""
    return folder / f"step-{step:010d}.ckpt"


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; nothing in it is executed."""
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return checkpoint


def newest_whole(folder: Path, fingerprint: str, scan_checksum: str) -> ResumePoint | None:
    """Find the newest whole checkpoint; a damaged one is skipped, with a warning.

    Parameters
    ----------
    folder
        Folder of the checkpoints.
    fingerprint
        Result fingerprint of the payload; a checkpoint of another run is an error.
    scan_checksum
        That of the payload, to name both where the scan was replaced.

    Raises
    ------
    TrainingError
        If there are checkpoints, but all are damaged, or of another run.
    """
    paths = sorted(folder.glob(_PATTERN), reverse=True)
    for path in paths:
        damage = _damage(path)
        if not damage:
            return _resume_point(path, fingerprint, scan_checksum)
        logger.warning("checkpoint %s is skipped: %s; trying the one before", path, damage)
    if paths:
        msg = (
            f"all {len(paths)} checkpoints in {folder} are damaged; expected a whole one to resume from. Start anew "
            "with --resume false."
        )
        raise TrainingError(msg)
    return None


def forget(folder: Path, keep: int = 0) -> None:
    """Remove all but the newest ``keep`` checkpoints."""
    writer = VerifiedCheckpointIO()
    for path in sorted(folder.glob(_PATTERN), reverse=True)[keep:]:
        writer.remove_checkpoint(path)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    """Write by way of memory: where torch writes to a full disk itself, its error does not tell what is wrong."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    checksum = hashlib.sha256(content.getbuffer()).hexdigest()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    with atomic_path(_checksum_path(path)) as temporary:
        temporary.write_text(f"{checksum}  {path.name}\n", encoding="ascii")


def _damage(path: Path) -> str:
    """Say what is wrong with a checkpoint; empty if it is whole."""
    beside = _checksum_path(path)
    if not beside.is_file():
        return f"{beside.name} is missing, so it was not finished"
    stated = beside.read_text(encoding="ascii", errors="replace").partition(" ")[0]
    found = _sha256(path)
    return "" if stated == found else f"its SHA-256 is {found[:12]}, not {stated[:12]} as stated"


def _resume_point(path: Path, fingerprint: str, scan_checksum: str) -> ResumePoint:
    try:
        state = load(path)[STATE_KEY]
    except (KeyError, RuntimeError, pickle.UnpicklingError) as error:
        msg = f"{path} is no checkpoint of this program ({error}); expected one. Start anew with --resume false."
        raise TrainingError(msg) from error
    before = state.get("scan_checksum", scan_checksum)
    if before != scan_checksum:
        msg = (
            f"{path} is of a training on a scan of SHA-256 {before}, but the scan now has {scan_checksum}; expected "
            "the same scan. Put that one back, or start anew with --resume false."
        )
        raise TrainingError(msg)
    if state["fingerprint"] != fingerprint:
        msg = (
            f"{path} is of another training (fingerprint {state['fingerprint'][:12]}, expected {fingerprint[:12]}). "
            "Give the same settings, or start anew with --resume false."
        )
        raise TrainingError(msg)
    return ResumePoint(path, int(state["epoch"]), int(state["batch"]), int(state["step"]))


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
