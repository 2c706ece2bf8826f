"""Tensors and plain values in one safetensors file, for what a job that is killed goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ptycho_dist.atomic import atomic_path
from ptycho_dist.errors import PtychoDistError


@dataclass(frozen=True)
class TensorFile:
    """A kind of such files.

    Parameters
    ----------
    name
        Of the file, in whatever folder it lies.
    key
        Of the plain values, among the metadata of safetensors.
    expected, error
        What it should hold, in words, and what is raised if it is damaged.
    """

    name: str
    key: str
    expected: str
    error: type[PtychoDistError]

    def write(self, folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write real tensors and JSON values; the file appears whole or not at all."""
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with atomic_path(folder / self.name) as temporary:
            temporary.write_bytes(save(held, {self.key: json.dumps(facts)}))

    def read(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read what :meth:`write` wrote; None where there is no such file.

        Raises
        ------
        PtychoDistError
            Of the class ``error``, if the file is damaged.
        """
        return self._read(folder, lambda file: {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping

    def read_facts(self, folder: Path) -> dict[str, Any] | None:
        """Read its plain values only, as :meth:`read` does."""
        found = self._read(folder, lambda _: {})
        return None if found is None else found[1]

    def _read(
        self, folder: Path, tensors_of: Callable[[Any], dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        path = folder / self.name
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()[self.key])
                return tensors_of(file), facts
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as cause:
            msg = f"{path} is damaged ({cause}); expected {self.expected}. Start anew with --resume false."
            raise self.error(msg) from cause

    def remove(self, folder: Path) -> None:
        """Remove the file, if it is there."""
        (folder / self.name).unlink(missing_ok=True)
