"""Count the operations and the memory traffic of a piece of work."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limits import fft_flops


@dataclass(frozen=True)
class Amount:
    """What a piece of work takes.

    Parameters
    ----------
    flops
        Operations of matrix products, convolutions and Fourier transforms; element-wise ones are left out.
    fft_flops
        Those of the Fourier transforms among them.
    bytes_moved
        Bytes of the inputs and outputs of all operations, as if nothing stayed in a cache between two.
    """

    flops: float
    fft_flops: float
    bytes_moved: float


def count(work: Callable[[], object]) -> Amount:
    """Do the work once and count."""
    transforms = torch.ops.aten._fft_c2c
    counter = FlopCounterMode(display=False, custom_mapping={transforms: _transform_flops})
    traffic = _Traffic()
    with counter, traffic:
        work()
    by_operation = counter.get_flop_counts().get("Global", {})
    return Amount(float(counter.get_total_flops()), float(by_operation.get(transforms, 0)), float(traffic.bytes_moved))


def _transform_flops(shape: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return round(fft_flops(math.prod(shape), math.prod(shape[dim] for dim in dims)))


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes_moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes_moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


@dataclass(frozen=True)
class Operations:
    """Operations that a piece of work hands to a device; views and bare allocations, which launch nothing, left out.

    Parameters
    ----------
    names
        How often each was called.
    made_bytes
        Bytes of all tensors that were made.
    """

    names: Counter[str]
    made_bytes: int

    @property
    def total(self) -> int:
        """How many in all."""
        return self.names.total()


def operations(work: Callable[[], object]) -> Operations:
    """Do the work once and count its operations."""
    tally = Tally()
    with tally:
        work()
    return Operations(tally.names, tally.made_bytes)


_BARE = ("aten.empty", "aten.new_empty", "aten.detach")


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations by name, and the bytes of what they make."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()
        self.made_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.is_view:
            return result
        if not str(func).startswith(_BARE):
            self.names[str(func)] += 1
        given = {_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = {_storage(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)} - given
        self.made_bytes += sum(size for _, size in made)
        return result


def _storage(tensor: Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()
