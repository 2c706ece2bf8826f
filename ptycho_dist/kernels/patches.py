"""Loops that move patches between a canvas and a batch, on a CPU; see :mod:`ptycho_dist.physics.compiled`.

A pixel is one real number, or two beside each other, real and imaginary part: ``step`` numbers. One thread does it all,
pattern by pattern, so the sums do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np

from ptycho_dist.kernels.compiling import compiled

_PLACES = "i8[:,::1], f8[:,::1], i8"
_TYPES = (f"void(f4[:,::1], {_PLACES}, f4[:,:,::1])", f"void(f8[:,::1], {_PLACES}, f8[:,:,::1])")
_EXACT = {"contract", "nsz"}


@compiled(*_TYPES, fastmath=_EXACT)
def gather(canvas, corner, fraction, step, patches):  # type: ignore[no-untyped-def]
    """Interpolate patches (B, n, n steps) from a canvas (H, W steps)."""
    width = patches.shape[2]
    kind = patches.dtype.type
    for b in range(patches.shape[0]):
        y, x = corner[b, 0], corner[b, 1] * step
        fy, fx = kind(fraction[b, 0]), kind(fraction[b, 1])
        gy, gx = kind(1) - fy, kind(1) - fx
        below, beside = 1 if fy > 0 else 0, step if fx > 0 else 0
        for i in range(patches.shape[1]):
            patch = patches[b, i]
            up, down = canvas[y + i, x : x + width], canvas[y + i + below, x : x + width]
            up_beside = canvas[y + i, x + beside : x + beside + width]
            down_beside = canvas[y + i + below, x + beside : x + beside + width]
            for j in range(width):
                patch[j] = gx * (gy * up[j] + fy * down[j]) + fx * (gy * up_beside[j] + fy * down_beside[j])


@compiled(*_TYPES, fastmath=_EXACT)
def scatter(canvas, corner, fraction, step, patches):  # type: ignore[no-untyped-def]
    """Add patches (B, n, n steps) to a canvas (H, W steps), each with its shares of up to four pixels."""
    width = patches.shape[2]
    kind = patches.dtype.type
    row = np.empty(width + step, patches.dtype)
    for b in range(patches.shape[0]):
        y, x = corner[b, 0], corner[b, 1] * step
        fy, fx = kind(fraction[b, 0]), kind(fraction[b, 1])
        gy, gx = kind(1) - fy, kind(1) - fx
        reach = width + (step if fx > 0 else 0)
        for i in range(patches.shape[1]):
            patch, beside = patches[b, i], row[step:]
            row[width:] = 0
            for j in range(width):
                row[j] = gx * patch[j]
            for j in range(width):
                beside[j] += fx * patch[j]
            here = canvas[y + i, x : x + reach]
            for j in range(reach):
                here[j] += gy * row[j]
            if fy > 0:
                below = canvas[y + i + 1, x : x + reach]
                for j in range(reach):
                    below[j] += fy * row[j]
