"""How a scan shows itself in a notebook."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho_dist import notebook_html
from ptycho_dist.data.formats.base import ComplexArray
from ptycho_dist.data.formats.intensity import sample_index
from ptycho_dist.types import FloatArray, IntArray

_PATTERNS, _FAINT = 16, 0.1
"""Patterns whose mean is shown, and counts that are added for its logarithm."""


class _Scan(Protocol):
    @property
    def positions_px(self) -> FloatArray: ...

    @property
    def probe(self) -> ComplexArray | None: ...

    def read_patterns(self, index: IntArray) -> NDArray[np.float32]: ...

    def __len__(self) -> int: ...


class ShownInNotebooks:
    """A scan that shows itself in a notebook: a mean of some patterns, the positions, the probe."""

    def _repr_html_(self: _Scan) -> str:
        chosen = sample_index(len(self))
        some = chosen[:: max(1, len(chosen) // _PATTERNS)]
        mean = np.log10(self.read_patterns(some).mean(axis=0) + _FAINT)
        figures = [
            notebook_html.thumbnail(mean, f"mean of {len(some)} patterns, log10 of counts"),
            notebook_html.points(self.positions_px, f"{len(self)} positions"),
        ]
        figures += [] if self.probe is None else notebook_html.wave(self.probe[0], "probe, first mode")
        return notebook_html.page(repr(self), notebook_html.row(figures))
