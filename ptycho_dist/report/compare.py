"""Compare results: the difference of registered objects, their ring correlation, numbers and settings that differ."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_dist.errors import ConfigError
from ptycho_dist.evaluate import figure_data
from ptycho_dist.evaluate.comparison import overview_of
from ptycho_dist.evaluate.metrics import ReferenceMetrics
from ptycho_dist.report.convergence import ring_curve
from ptycho_dist.report.images import Map, mask_address
from ptycho_dist.report.object_maps import AMPLITUDE_MAP, box_of, difference_map, phase_map
from ptycho_dist.report.page import write_page
from ptycho_dist.report.settings import stage_settings, value_text
from ptycho_dist.report.source import Source, read_source
from ptycho_dist.report.texts import rings_text
from ptycho_dist.version import package_version

logger = logging.getLogger(__name__)

NAME = "comparison.html"
_SCRIPTS = ("object.js", "comparison.js")
_TABLED = (
    "n_patterns",
    "ranks",
    "verdict",
    "fourier_error",
    "normalised_error",
    "normalised_error_p95",
    "n_frames_standing_out",
    "ssim_phase",
    "ssim_amplitude",
    "frc_resolution_half_bit_px",
    "halves_resolution_half_bit_px",
    "uncertainty_median",
    "training_s",
    "prediction_s",
    "refine_s",
)
_PATHS = ("output_dir", "train_data_file", "test_data_file", "scan", "start", "model_path")


def write_comparison(places: Sequence[Path], output: Path) -> Path:
    """Write a page that compares the first of some results with each of the others; for one process.

    Parameters
    ----------
    places
        Folders of results, or products; two at least.
    output
        Page to write; it appears under its name only when it is complete.

    Raises
    ------
    ConfigError
        If objects cannot be laid on each other, or a folder holds none.
    DataFormatError
        If one holds no results.
    """
    sources = [read_source(place) for place in places]
    names = _names(places)
    pairs = [_pair(sources[0], other, (names[0], name)) for other, name in zip(sources[1:], names[1:], strict=True)]
    texts = {
        "title": f"{names[0]} and {', '.join(names[1:])}",
        "subtitle": f"ptycho_dist {package_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "contents": [
            *((f"pair-{place}", f"{names[0]} and {name}") for place, name in enumerate(names[1:])),
            ("metrics", "Numbers"),
            ("settings", "Settings that differ"),
        ],
        "names": names,
        "pairs": [{"names": (names[0], name), **said} for name, (_, said) in zip(names[1:], pairs, strict=True)],
        "metrics": list(_numbers(sources)),
        "settings": list(_differing(sources)),
        "exact": "the products",
    }
    path = write_page(output, "comparison.html", {"pairs": [data for data, _ in pairs]}, texts, _SCRIPTS)
    logger.info("comparison: %s (%.1f MB)", path, path.stat().st_size / 1e6)
    return path


def _names(places: Sequence[Path]) -> list[str]:
    """Name results as short as they differ."""
    full = [place if place.is_dir() else place.parent for place in (one.resolve() for one in places)]
    if len(set(full)) < len(full):
        return [str(place) for place in places]
    for parts in range(1, max(len(one.parts) for one in full) + 1):
        names = ["/".join(one.parts[-parts:]) for one in full]
        if len(set(names)) == len(names):
            return names
    return [str(one) for one in full]


def _pair(first: Source, other: Source, names: tuple[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Give the page two objects laid on each other, and say how alike they are."""
    compared = _compared(first, other)
    maps = [one.fitted() for one in _maps(compared, names)]
    size = first.pixel_size_m
    rows, columns = compared.area.shape
    data = {
        "maps": [one.packed() for one in maps],
        "area": mask_address(compared.area),
        "box": box_of(compared.area),
        "step": 1,
        "rows": rows,
        "columns": columns,
        "pixel_size_m": size if math.isfinite(size) else None,
        "shown": ["first_phase", "other_phase", "phase_difference", "amplitude_difference"],
        "rings": ring_curve(compared.frc, size),
    }
    return data, {"text": _alike(compared), "rings_text": rings_text(data["rings"])}


def _compared(first: Source, other: Source) -> ReferenceMetrics:
    if first.product is None or other.product is None or first.product_path is None:
        missing = first if first.product is None else other
        msg = f"{missing.folder} holds no object; expected results of infer, refine or reconstruct. Leave it out."
        raise ConfigError(msg)
    sizes = (first.pixel_size_m, other.pixel_size_m)
    if all(map(math.isfinite, sizes)) and not math.isclose(*sizes, rel_tol=0.02):
        msg = (
            f"{first.folder} has pixels of {sizes[0]:.4g} m, {other.folder} of {sizes[1]:.4g} m; expected equal ones. "
            "Compare results of one pixel size (--binning and --crop_px change it)."
        )
        raise ConfigError(msg)
    compared = overview_of(other.product, None, first.product_path).comparison
    if compared is None:
        msg = f"the object of {other.folder} was not found in that of {first.folder}; expected results of one sample."
        raise ConfigError(msg)
    return compared


def _maps(compared: ReferenceMetrics, names: tuple[str, str]) -> Iterator[Map]:
    first, other = names
    area = compared.area
    phases = figure_data.phases(compared)
    amplitudes = np.abs(compared.reference), np.abs(compared.registered.object_)
    limits = figure_data.limits(amplitudes[0], area)
    for key, name, phase, amplitude in zip(("first", "other"), names, phases, amplitudes, strict=True):
        yield phase_map(f"{key}_phase", f"{name}: phase", phase, area)
        yield Map(f"{key}_amplitude", f"{name}: amplitude", "", amplitude, limits, AMPLITUDE_MAP)
    for key, unit, (one, two) in (("phase", "rad", phases), ("amplitude", "", amplitudes)):
        yield difference_map(f"{key}_difference", f"{key}: {other} - {first}", unit, two - one, area)


def _alike(compared: ReferenceMetrics) -> str:
    y, x = compared.registered.shift_px
    return (
        f"Registered by a shift of ({y:.2f}, {x:.2f}) px, a phase, a phase ramp and a scale. The phases differ by "
        f"{compared.phase_rmse_rad:.3g} rad rms over a range of {compared.phase_range_rad:.3g} rad; structural "
        f"similarity of the phase {compared.ssim_phase:.3f}, of the amplitude {compared.ssim_amplitude:.3f}."
    )


def _numbers(sources: Sequence[Source]) -> Iterator[tuple[str, list[str]]]:
    for name in _TABLED:
        values = [source.metrics.get(name) for source in sources]
        if any(value is not None for value in values):
            yield name, ["" if value is None else value_text(value) for value in values]


def _differing(sources: Sequence[Source]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield settings that are not alike in all results: stage, name, values."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for place, source in enumerate(sources):
        for stage in stage_settings(source):
            for one in stage.settings:
                found.setdefault((stage.stage, one.name), {})[place] = one.value
    for (of_stage, name), values in found.items():
        if len(set(values.values())) > 1 and name.partition(".")[2] not in _PATHS:
            yield of_stage, name, [values.get(place, "") for place in range(len(sources))]
