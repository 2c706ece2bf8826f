"""The state of a refinement between two iterations, on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ptycho_dist.atomic import atomic_path
from ptycho_dist.errors import RefinementError

NAME = "refinement.safetensors"
_FACTS = "refinement"


@dataclass(frozen=True)
class Saved:
    """A refinement that can be gone on with.

    Parameters
    ----------
    fingerprint
        Of the settings and data that decide the result.
    errors
        Fourier error of each iteration so far.
    tensors
        Estimate, method and momentum, by name.
    """

    fingerprint: str
    errors: tuple[float, ...]
    tensors: dict[str, Tensor]


def save(folder: Path, state: Saved) -> None:
    """Write a state; it appears whole or not at all."""
    facts = {_FACTS: json.dumps({"fingerprint": state.fingerprint, "errors": state.errors})}
    with atomic_path(folder / NAME) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}, temporary, facts)


def load(folder: Path, fingerprint: str) -> Saved | None:
    """Read the state of an unfinished refinement of these settings; None without one.

    Raises
    ------
    RefinementError
        If the file is damaged.
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
    if facts["fingerprint"] != fingerprint:
        return None
    return Saved(fingerprint, tuple(facts["errors"]), tensors)


def forget(folder: Path) -> None:
    """Remove the state: there is nothing to go on with."""
    (folder / NAME).unlink(missing_ok=True)
