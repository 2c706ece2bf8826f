"""What a device can do at most: matrix products, copies, batched Fourier transforms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

_WARMUPS = 3
_FFT_FLOPS = 5.0
"""Operations of a complex FFT of n values, divided by n log2(n): the usual count of radix 2 (Cooley and Tukey)."""


@dataclass(frozen=True)
class Sizes:
    """How large the measured operations are.

    Parameters
    ----------
    matrix
        Side of the matrices.
    copy_bytes
        Bytes that are copied at once.
    transforms, N
        Fourier transforms at once, and their side.
    """

    matrix: int
    copy_bytes: int
    transforms: int
    N: int


@dataclass(frozen=True)
class Limits:
    """Measured limits of a device.

    Parameters
    ----------
    matmul_flops
        FLOP/s of a matrix product, by the name of its type.
    copy_bytes_per_s
        Bytes read and written per second while copying.
    fft_flops
        FLOP/s of batched two-dimensional complex64 transforms.
    """

    matmul_flops: dict[str, float]
    copy_bytes_per_s: float
    fft_flops: float


def measure_limits(device: torch.device, sizes: Sizes, repeats: int) -> Limits:
    """Measure what the device can do; float32 products use the precision that torch is set to."""
    dtypes = (torch.float32, torch.bfloat16)
    matmul = {str(dtype).removeprefix("torch."): _matmul_flops(device, dtype, sizes, repeats) for dtype in dtypes}
    source = torch.ones(sizes.copy_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copied = seconds(lambda: target.copy_(source), device, repeats)
    waves = torch.randn(sizes.transforms, sizes.N, sizes.N, dtype=torch.complex64, device=device)
    transformed = seconds(lambda: torch.fft.fft2(waves), device, repeats)
    return Limits(matmul, 2 * sizes.copy_bytes / copied, fft_flops(waves.numel(), sizes.N**2) / transformed)


def fft_flops(numel: int, n: int) -> float:
    """Operations of complex transforms of ``n`` values each over ``numel`` values in all."""
    return _FFT_FLOPS * numel * math.log2(n)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median duration of a piece of work on a device, in seconds; the first few do not count."""
    for _ in range(_WARMUPS):
        work()
    times = []
    for _ in range(repeats):
        wait_for(device)
        started = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return median(times)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _matmul_flops(device: torch.device, dtype: torch.dtype, sizes: Sizes, repeats: int) -> float:
    one = torch.randn(sizes.matrix, sizes.matrix, device=device).to(dtype)
    other = torch.randn(sizes.matrix, sizes.matrix, device=device).to(dtype)
    return 2.0 * sizes.matrix**3 / seconds(lambda: one @ other, device, repeats)
