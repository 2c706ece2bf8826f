"""Kernels that move patches between a canvas and a batch on a GPU, one launch each.

A pixel is one real number, or two beside each other, real and imaginary part: ``step`` numbers. No two programs add to
one place: of the patches that cover a pixel the first sums up what all of them bring, in their order, so the result is
the same in each run.
"""

from __future__ import annotations

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024
Corner = tuple[Tensor, Tensor]


def gather(canvas: Tensor, corner: Corner, fraction: Tensor, step: int, patches: Tensor) -> None:
    """Interpolate patches (B, n, n steps) from a canvas (H, W steps), both contiguous.

    Parameters
    ----------
    canvas, patches
        Real, of one type.
    corner
        Whole parts of the corners: int64, shape (B,), of y and of x.
    fraction
        float, shape (B, 2): sub-pixel parts.
    step
        Numbers in a pixel.
    """
    count, n, width = patches.shape
    if not count:
        return
    grid = (triton.cdiv(n * width, _BLOCK), count)
    _gather[grid](canvas, *corner, fraction, patches, n, width, canvas.shape[1], step=step, block=_BLOCK)


def add(canvas: Tensor, corner: Corner, fraction: Tensor, step: int, patches: Tensor, factor: float) -> None:
    """Add ``factor`` times patches to a canvas, each with its shares of four pixels; as :func:`gather` otherwise."""
    count, n, width = patches.shape
    if not count:
        return
    grid = (triton.cdiv((n + 1) * (width + step), _BLOCK), count)
    rows, columns = canvas.shape
    single = float(np.float32(factor))
    rest = factor - single  # numbers arrive in single precision
    sizes = (count, n, width, rows, columns)
    _add[grid](canvas, *corner, fraction, patches, single, rest, *sizes, step=step, block=_BLOCK)


@triton.jit  # type: ignore[untyped-decorator]
def _gather(canvas, top, left, fraction, patches, n, width, columns, step: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    b = tl.program_id(1)
    place = tl.program_id(0) * block + tl.arange(0, block)
    row, column = place // width, place % width
    inside = row < n
    kind = patches.dtype.element_ty
    each = fraction + 2 * b + tl.zeros([block], dtype=tl.int32)
    fy, fx = tl.load(each).to(kind), tl.load(each + 1).to(kind)
    here = canvas + (tl.load(top + b) + row) * columns + tl.load(left + b) * step + column
    right, down = inside & (fx > 0), inside & (fy > 0)
    own = tl.load(here, mask=inside, other=0.0)
    beside = tl.load(here + step, mask=right, other=0.0)
    below = tl.load(here + columns, mask=down, other=0.0)
    both = tl.load(here + columns + step, mask=right & down, other=0.0)
    found = (1 - fx) * ((1 - fy) * own + fy * below) + fx * ((1 - fy) * beside + fy * both)
    tl.store(patches + b.to(tl.int64) * n * width + place, found, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _add(  # type: ignore[no-untyped-def]
    canvas,
    top,
    left,
    fraction,
    patches,
    single,
    rest,
    count,
    n,
    width,
    rows,
    columns,
    step: tl.constexpr,
    block: tl.constexpr,
):
    b = tl.program_id(1)
    place = tl.program_id(0) * block + tl.arange(0, block)
    wide = width + step
    kind = patches.dtype.element_ty
    y, x = tl.load(top + b), tl.load(left + b)
    first, last = y + tl.program_id(0) * block // wide, y + ((tl.program_id(0) + 1) * block - 1) // wide
    row, column = y + place // wide, x * step + place % wide
    is_first = (place // wide <= n) & (row < rows) & (column < columns)
    total = tl.zeros([block], dtype=kind)
    for other in range(count):
        upper, x_other = tl.load(top + other), tl.load(left + other)
        if (upper <= last) & (upper + n >= first) & (x_other <= x + n) & (x_other + n >= x):
            i, j = row - upper, column - x_other * step
            covers = (i >= 0) & (i <= n) & (j >= 0) & (j < wide)
            if other < b:
                is_first = is_first & (covers == 0)
            else:
                fy, fx = tl.load(fraction + 2 * other).to(kind), tl.load(fraction + 2 * other + 1).to(kind)
                source = patches + tl.cast(other, tl.int64) * n * width + i * width + j
                used = covers & is_first
                has_own, has_left, has_upper = used & (i < n), j >= step, used & (i > 0)
                own = tl.load(source, mask=has_own & (j < width), other=0.0)
                beside = tl.load(source - step, mask=has_own & has_left, other=0.0)
                above = tl.load(source - width, mask=has_upper & (j < width), other=0.0)
                both = tl.load(source - width - step, mask=has_upper & has_left, other=0.0)
                total += (1 - fy) * ((1 - fx) * own + fx * beside) + fy * ((1 - fx) * above + fx * both)
    target = canvas + row * columns + column
    factor = tl.cast(single, kind) + tl.cast(rest, kind)
    tl.store(target, tl.load(target, mask=is_first) + total * factor, mask=is_first)
