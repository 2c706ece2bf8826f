"""How loops are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(*signatures: str, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """Compile a function for some types once for a machine; where no folder can keep it, once for a process.

    Parameters
    ----------
    signatures
        Types of its arguments.
    options
        More options of ``numba.njit``.
    """

    def compile_it(function: Callable[..., None]) -> Any:
        common: dict[str, Any] = {"nogil": True, "error_model": "numpy", **options}
        try:
            return numba.njit(list(signatures), cache=True, **common)(function)
        except RuntimeError:
            return numba.njit(list(signatures), **common)(function)

    return compile_it
