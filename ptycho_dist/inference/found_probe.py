"""A probe that was found for a scan before its prediction, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.errors import BundleError
from ptycho_dist.model.ptycho_model import PtychoModel
from ptycho_dist.physics.probe import probe_intensity
from ptycho_dist.tensor_file import TensorFile

NAME = "probe.safetensors"
_PROBE = "probe"
_FILE = TensorFile(NAME, _PROBE, "a probe", BundleError)


@dataclass(frozen=True)
class FoundProbe:
    """The probe to predict with.

    Parameters
    ----------
    probe
        Modes, complex64, shape (P, N, N), at any scale.
    is_new
        Whether they are not those that were supplied.
    supplied_error, found_error
        Fourier error of the network's prediction of patterns that were held back: with the probe that was supplied,
        and with the one that was found.
    n_patterns
        Patterns that it was found with.
    """

    probe: ComplexArray
    is_new: bool
    supplied_error: float
    found_error: float
    n_patterns: int

    def facts(self) -> dict[str, Any]:
        """Return what product and metrics say of it."""
        return {
            "probe_used": "found" if self.is_new else "supplied",
            "probe_supplied_fourier_error": self.supplied_error,
            "probe_found_fourier_error": self.found_error,
            "probe_patterns": self.n_patterns,
        }

    def give_to(self, model: PtychoModel) -> None:
        """Let a model predict with it."""
        if self.is_new:
            give_probe(model, self.probe)

    def save(self, folder: Path, fingerprint: str) -> None:
        """Write it, for a prediction that is killed and resumed; it appears whole or not at all."""
        facts = {"fingerprint": fingerprint, "is_new": self.is_new, "n_patterns": self.n_patterns,
                 "supplied_error": self.supplied_error, "found_error": self.found_error}  # fmt: skip
        _FILE.write(folder, {_PROBE: torch.view_as_real(torch.from_numpy(self.probe))}, facts)


def give_probe(model: PtychoModel, probe: ComplexArray) -> None:
    """Give a model another probe, complex, shape (P, N, N), at any scale; the energy of its own stays."""
    parts = model.optics.probe_parts
    own, found = torch.view_as_complex(parts.detach()), torch.from_numpy(probe).to(parts.device)
    scale = (probe_intensity(own).double().sum() / probe_intensity(found).double().sum()).sqrt()
    with torch.no_grad():
        parts.copy_(torch.view_as_real(found * scale.to(own.real.dtype)))


def load_found_probe(folder: Path, fingerprint: str) -> FoundProbe | None:
    """Read what an unfinished prediction with these settings had found; None where there is none.

    Raises
    ------
    BundleError
        If the file is damaged.
    """
    found = _FILE.read(folder)
    if found is None:
        return None
    tensors, facts = found
    probe = np.asarray(torch.view_as_complex(tensors[_PROBE]).numpy(), np.complex64)
    return FoundProbe(probe, **facts) if facts.pop("fingerprint") == fingerprint else None


def forget_found_probe(folder: Path) -> None:
    """Remove it: the prediction is finished."""
    _FILE.remove(folder)
