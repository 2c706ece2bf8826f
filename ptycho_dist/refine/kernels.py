"""Compiled loops of the refinement on a CPU: each goes over its arrays once, where operations of torch go many times.

Complex arrays come as real ones with real and imaginary parts in turn, so their last axis is twice as long. Threads
share patterns, rows of the probe, or bands of rows of the canvas; sums are taken in one order for any number of them.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from ptycho_dist.kernels.compiling import compiled
from ptycho_dist.physics.likelihood import TINY

_PARALLEL: dict[str, Any] = {"parallel": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
_LEAST = np.float32(TINY)
_ONE = np.float32(1)


def use_threads(count: int) -> None:
    """Let the kernels that this thread calls next use so many threads, as far as there are processors."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


@numba.njit(inline="always")
def _place(corner_px):  # type: ignore[no-untyped-def]
    """Whole parts (y, x) of a corner in pixels, and its sub-pixel parts."""
    y, x = math.floor(corner_px[0]), math.floor(corner_px[1])
    return y, x, np.float32(corner_px[0] - y), np.float32(corner_px[1] - x)


@compiled("void(f4[:,::1], f8[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1])", **_PARALLEL)
def illuminate(canvas, positions_px, probe, patches, waves):  # type: ignore[no-untyped-def]
    """Interpolate patches (B, N, 2 N) from a canvas (H, 2 W), and multiply them by the probe: waves (P, B, N, 2 N)."""
    side = patches.shape[2]
    for b in numba.prange(patches.shape[0]):
        y, x, fy, fx = _place(positions_px[b])
        gy, gx = _ONE - fy, _ONE - fx
        for i in range(patches.shape[1]):
            up, down = canvas[y + i, 2 * x : 2 * x + side + 2], canvas[y + i + 1, 2 * x : 2 * x + side + 2]
            patch = patches[b, i]
            for j in range(side):
                patch[j] = gx * (gy * up[j] + fy * down[j]) + fx * (gy * up[j + 2] + fy * down[j + 2])
            for p in range(probe.shape[0]):
                light, wave = probe[p, i], waves[p, b, i]
                for j in range(0, side, 2):
                    wave[j] = light[j] * patch[j] - light[j + 1] * patch[j + 1]
                    wave[j + 1] = light[j] * patch[j + 1] + light[j + 1] * patch[j]


@compiled("void(f4[:,:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f4[:,:,::1], f4[::1])", **_PARALLEL)
def compare(waves, measured, mask, background, modelled, squared):  # type: ignore[no-untyped-def]
    """Model amplitudes (B, N, N), and turn waves into the change that would explain the measured ones.

    The squared misfit (B,) is summed over valid pixels.
    """
    for b in numba.prange(modelled.shape[0]):
        total = np.float32(0)
        for i in range(modelled.shape[1]):
            model, data, valid, dark = modelled[b, i], measured[b, i], mask[i], background[i]
            for j in range(len(model)):
                model[j] = dark[j]
            for p in range(waves.shape[0]):
                wave = waves[p, b, i]
                for j in range(len(model)):
                    model[j] += wave[2 * j] * wave[2 * j] + wave[2 * j + 1] * wave[2 * j + 1]
            for j in range(len(model)):
                model[j] = math.sqrt(model[j] + _LEAST)
            for p in range(waves.shape[0]):
                wave = waves[p, b, i]
                for j in range(len(model)):
                    change = valid[j] * (data[j] - model[j]) / model[j]
                    wave[2 * j] *= change
                    wave[2 * j + 1] *= change
            for j in range(len(model)):
                difference = valid[j] * (data[j] - model[j])
                total += difference * difference
        squared[b] = total


@compiled("void(f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1])", **_PARALLEL)
def back_project(waves, guide, direction):  # type: ignore[no-untyped-def]
    """Multiply waves (P, B, N, 2 N) by the conjugate guide (P, N, 2 N), and sum over modes (B, N, 2 N)."""
    for b in numba.prange(direction.shape[0]):
        for i in range(direction.shape[1]):
            found = direction[b, i]
            for p in range(waves.shape[0]):
                wave, light = waves[p, b, i], guide[p, i]
                for j in range(0, len(found), 2):
                    real = wave[j] * light[j] + wave[j + 1] * light[j + 1]
                    imaginary = wave[j + 1] * light[j] - wave[j] * light[j + 1]
                    found[j] = real if p == 0 else found[j] + real
                    found[j + 1] = imaginary if p == 0 else found[j + 1] + imaginary


@compiled("void(f4[:,:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[::1])", **_PARALLEL)
def probe_change(waves, patches, change, light, squared):  # type: ignore[no-untyped-def]
    """Sum over patterns: change of the probe (P, N, 2 N), light of the patches (N, N), and squares in each row (N,)."""
    for i in numba.prange(light.shape[0]):
        light[i] = 0
        for p in range(waves.shape[0]):
            change[p, i] = 0
        total = np.float32(0)
        for b in range(patches.shape[0]):
            patch = patches[b, i]
            for j in range(light.shape[1]):
                light[i, j] += patch[2 * j] * patch[2 * j] + patch[2 * j + 1] * patch[2 * j + 1]
            for p in range(waves.shape[0]):
                wave, found = waves[p, b, i], change[p, i]
                for j in range(0, len(patch), 2):
                    real = wave[j] * patch[j] + wave[j + 1] * patch[j + 1]
                    imaginary = wave[j + 1] * patch[j] - wave[j] * patch[j + 1]
                    found[j] += real
                    found[j + 1] += imaginary
                    total += real * real + imaginary * imaginary
        squared[i] = total


@compiled("void(f4[:,::1], f8[:,::1], f4[:,:,::1], f4, i8)", **_PARALLEL)
def add(canvas, positions_px, steps, factor, bands):  # type: ignore[no-untyped-def]
    """Add ``factor`` times the adjoint of the interpolation of steps (B, N, 2 N) to bands of rows of a canvas."""
    n, side = steps.shape[1], steps.shape[2]
    for band in numba.prange(bands):
        first, last = band * canvas.shape[0] // bands, (band + 1) * canvas.shape[0] // bands
        row = np.empty(side + 2, np.float32)
        for b in range(steps.shape[0]):
            y, x, fy, fx = _place(positions_px[b])
            upper, lower, gx = (_ONE - fy) * factor, fy * factor, _ONE - fx
            for i in range(max(0, first - y - 1), min(n, last - y)):
                step = steps[b, i]
                row[0], row[1] = gx * step[0], gx * step[1]
                for j in range(2, side):
                    row[j] = gx * step[j] + fx * step[j - 2]
                row[side], row[side + 1] = fx * step[side - 2], fx * step[side - 1]
                if y + i >= first:
                    here = canvas[y + i, 2 * x : 2 * x + side + 2]
                    for j in range(side + 2):
                        here[j] += upper * row[j]
                if y + i + 1 < last:
                    below = canvas[y + i + 1, 2 * x : 2 * x + side + 2]
                    for j in range(side + 2):
                        below[j] += lower * row[j]


@compiled("void(f4[:,::1], f8[:,::1], f4[:,:,::1], f4[:,::1])", **_PARALLEL)
def agreement(canvas, positions_px, steps, found):  # type: ignore[no-untyped-def]
    """Sum of squares of each step (B, N, 2 N), and its product with the canvas in its window: (B, 2)."""
    side = steps.shape[2]
    for b in numba.prange(steps.shape[0]):
        y, x, fy, fx = _place(positions_px[b])
        gy, gx = _ONE - fy, _ONE - fx
        own, along = np.float32(0), np.float32(0)
        for i in range(steps.shape[1]):
            up, down = canvas[y + i, 2 * x : 2 * x + side + 2], canvas[y + i + 1, 2 * x : 2 * x + side + 2]
            step = steps[b, i]
            for j in range(side):
                there = gx * (gy * up[j] + fy * down[j]) + fx * (gy * up[j + 2] + fy * down[j + 2])
                own += step[j] * step[j]
                along += step[j] * there
        found[b, 0], found[b, 1] = own, along


@compiled("void(f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,:,:,::1], f4[:,::1])", **_PARALLEL)
def step_products(direction, probe, patches, probe_step, waves, found):  # type: ignore[no-untyped-def]
    """Real inner products of what a step of the object and one of the probe do to the exit waves, and of the waves.

    Found (B, 5): object by object, probe by probe, object by probe, object by waves, probe by waves; summed over modes.
    """
    for b in numba.prange(direction.shape[0]):
        oo, pp, op, ow, pw = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for i in range(direction.shape[1]):
            patch, along = patches[b, i], direction[b, i]
            for p in range(waves.shape[0]):
                light, step, wave = probe[p, i], probe_step[p, i], waves[p, b, i]
                for j in range(0, len(patch), 2):
                    o_real = along[j] * light[j] - along[j + 1] * light[j + 1]
                    o_imaginary = along[j] * light[j + 1] + along[j + 1] * light[j]
                    p_real = patch[j] * step[j] - patch[j + 1] * step[j + 1]
                    p_imaginary = patch[j] * step[j + 1] + patch[j + 1] * step[j]
                    oo += o_real * o_real + o_imaginary * o_imaginary
                    pp += p_real * p_real + p_imaginary * p_imaginary
                    op += o_real * p_real + o_imaginary * p_imaginary
                    ow += o_real * wave[j] + o_imaginary * wave[j + 1]
                    pw += p_real * wave[j] + p_imaginary * wave[j + 1]
        found[b, 0], found[b, 1], found[b, 2], found[b, 3], found[b, 4] = oo, pp, op, ow, pw
