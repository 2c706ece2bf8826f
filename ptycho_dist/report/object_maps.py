"""Maps of an object in one frame: amplitude and phase, the network's, those of a reference, and what tells errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import COVERAGE, DISAGREEMENT, UNCERTAINTY, Product
from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.comparison import illumination, scanned_area
from ptycho_dist.evaluate.figures import Overview
from ptycho_dist.evaluate.metrics import ReferenceMetrics
from ptycho_dist.evaluate.window import block_means, window_of
from ptycho_dist.report.images import LARGEST_SIDE_PX, Map, mask_address
from ptycho_dist.types import Canvas, FloatArray

AMPLITUDE_MAP = "gray"


@dataclass(frozen=True)
class Frame:
    """An object as shown: a mean over squares of pixels, its scanned area, and the pixels along a square's side."""

    wave: NDArray[np.complexfloating]
    area: NDArray[np.bool_]
    step_px: int


def frame_of(product: Product, largest_side_px: int = LARGEST_SIDE_PX) -> Frame:
    """Shrink an object until its longer side is small enough; tell its scanned area there."""
    step = math.ceil(max(product.object_.shape) / largest_side_px)
    wave = np.asarray(product.object_) if step == 1 else block_means(product.object_, step)
    probe = np.abs(product.probe) ** 2
    light = illumination(
        product.positions_px / step,
        np.sqrt(_binned_sums(probe, step)),
        (wave.shape[0], wave.shape[1]),
        np.asarray(product.geometry.object_origin_px) / step,
    )
    return Frame(wave, scanned_area(light), step)


def object_section(product: Product, network: Product | None, overview: Overview) -> dict[str, Any]:
    """Give the page all maps of an object, and the outline of its scanned area.

    Parameters
    ----------
    product
        What is reported.
    network
        The prediction that it was refined from; None where there is none.
    overview
        What its picture shows, with the comparison with a reference.
    """
    frame = frame_of(product)
    maps = [one.fitted().packed() for one in _maps(product, network, overview, frame)]
    size = product.geometry.pixel_size_m
    return {
        "maps": maps,
        "area": mask_address(frame.area),
        "box": box_of(frame.area, frame.step_px),
        "step": frame.step_px,
        "rows": product.object_.shape[0],
        "columns": product.object_.shape[1],
        "pixel_size_m": size if math.isfinite(size) else None,
        "shown": _shown_first(maps),
    }


def box_of(area: NDArray[np.bool_], step_px: int = 1) -> list[int]:
    """First row and column, and last ones, of the true pixels of an area, in pixels of the object."""
    box = Canvas.bounding(area)
    (top, left), (rows, columns) = box.corner, box.shape
    return [step_px * one for one in (top, left, top + rows, left + columns)]


def _shown_first(maps: list[dict[str, Any]]) -> list[str]:
    names = [one["name"] for one in maps]
    errors = [name for name in ("phase_error", UNCERTAINTY, "network_phase", DISAGREEMENT) if name in names][:1]
    beside = [name for name in ("reference_phase", COVERAGE) if name in names][:1]
    return ["amplitude", "phase", *(beside + errors if beside and errors else [])]


def _maps(product: Product, network: Product | None, overview: Overview, frame: Frame) -> Iterator[Map]:
    name = overview.reference_name
    comparison = overview.comparison
    yield from _waves("", frame)
    if network is not None:
        yield from _waves("network", frame_of(network), corner_px=_offset(network, product))
    if comparison is not None:
        yield from _compared(comparison, name, _window_corner(product))
    yield from _extras(product, frame.area)


def _waves(whose: str, frame: Frame, corner_px: tuple[float, float] = (0.0, 0.0)) -> Iterator[Map]:
    flat = figure_data.flattened(frame.wave, frame.area)
    amplitude, phase = np.abs(flat), np.angle(flat)
    before, prefix = (f"{whose}: ", f"{whose}_") if whose else ("", "")
    limits = figure_data.limits(amplitude, frame.area)
    place = (corner_px, frame.step_px)
    yield Map(f"{prefix}amplitude", f"{before}amplitude", "", amplitude, limits, AMPLITUDE_MAP, *place)
    yield phase_map(f"{prefix}phase", f"{before}phase (ramp removed)", phase, frame.area, place)


def phase_map(
    name: str,
    title: str,
    phase: FloatArray,
    area: NDArray[np.bool_],
    place: tuple[tuple[float, float], int] = ((0.0, 0.0), 1),
) -> Map:
    """Show a phase (H, W): in cyclic colours over a full turn where it needs one, else in even ones."""
    values, colours, limits = figure_data.phase_colours(phase, figure_data.limits(phase, area))
    return Map(name, title, "rad", values, limits, colours, *place)


def difference_map(
    name: str,
    title: str,
    unit: str,
    difference: FloatArray,
    area: NDArray[np.bool_],
    place: tuple[tuple[float, float], int] = ((0.0, 0.0), 1),
) -> Map:
    """Show a difference (H, W) inside an area in diverging colours, white at zero."""
    values, colours, limits = figure_data.error_colours(difference, area)
    return Map(name, title, unit, values, limits, colours, *place)


def _compared(comparison: ReferenceMetrics, name: str, corner_px: tuple[int, int]) -> Iterator[Map]:
    """Bring a reference, and the differences from it, into the frame of the object."""
    place = (tuple(np.add(comparison.corner_px, corner_px).astype(float).tolist()), 1)
    reference_phase, phase = figure_data.phases(comparison)
    reference, found = np.abs(comparison.reference), np.abs(comparison.registered.object_)
    area = comparison.area
    limits = figure_data.limits(reference, area)
    yield Map("reference_amplitude", f"{name}: amplitude", "", reference, limits, AMPLITUDE_MAP, *place)
    yield phase_map("reference_phase", f"{name}: phase", reference_phase, area, place)
    for key, title, unit, error in (
        ("amplitude_error", f"amplitude - {name}", "", found - reference),
        ("phase_error", f"phase - {name}", "rad", phase - reference_phase),
    ):
        yield difference_map(key, title, unit, error, area, place)


def _extras(product: Product, area: NDArray[np.bool_]) -> Iterator[Map]:
    told = (
        (UNCERTAINTY, "uncertainty (rms error of transmission)", "magma"),
        (DISAGREEMENT, "disagreement of patches", "magma"),
        (COVERAGE, "coverage (patches in a pixel)", "cividis"),
    )
    for name, title, colours in told:
        values = product.extras.get(name)
        if values is None or values.shape != product.object_.shape:
            continue
        step = math.ceil(max(values.shape) / LARGEST_SIDE_PX)
        shown = np.asarray(values, np.float64) if step == 1 else block_means(values, step).real.astype(np.float64)
        top = figure_data.limits(shown, area)[1]
        yield Map(name, title, "", shown, (0.0, top), colours, (0.0, 0.0), step)


def _offset(network: Product, product: Product) -> tuple[float, float]:
    """Place of the network's object in the frame of the product, in pixels."""
    y, x = np.subtract(network.geometry.object_origin_px, product.geometry.object_origin_px)
    return float(y), float(x)


def _window_corner(product: Product) -> tuple[int, int]:
    window = window_of(product)
    return (0, 0) if window is None else window.corner


def _binned_sums(images: NDArray[np.floating], step: int) -> FloatArray:
    if step == 1:
        return np.asarray(images, np.float64)
    N = images.shape[-1] // step
    cut = images[..., : N * step, : N * step].astype(np.float64)
    return np.asarray(cut.reshape(len(images), N, step, N, step).sum(axis=(2, 4)))
