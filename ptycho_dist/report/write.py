"""Write the report of a run: gather what its folder holds, say it in words, fill the page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_dist.data.formats.product_h5 import Product
from ptycho_dist.data.scan import Scan
from ptycho_dist.evaluate.comparison import overview_of
from ptycho_dist.evaluate.figure_data import length_text
from ptycho_dist.evaluate.figures import Overview
from ptycho_dist.report.convergence import FOURIER_ERROR, convergence, ring_curve
from ptycho_dist.report.object_maps import object_section
from ptycho_dist.report.page import write_page
from ptycho_dist.report.probe_section import probe_section
from ptycho_dist.report.scan_section import scan_section
from ptycho_dist.report.settings import command_line, stage_settings
from ptycho_dist.report.source import Source, read_source
from ptycho_dist.report.timing import timing_of
from ptycho_dist.report.verdict import verdict_of
from ptycho_dist.version import package_version

logger = logging.getLogger(__name__)

NAME = "report.html"
_SCRIPTS = ("page.js",)
_SECTIONS = {
    "object": "Object",
    "probe": "Probe",
    "scan": "Scan",
    "convergence": "Convergence",
    "rings": "Resolution",
}


def write_report(
    place: Path,
    *,
    scan: Scan | None = None,
    reference: Path | None = None,
    overview: Overview | None = None,
    output: Path | None = None,
    why_no_scan: str = "the scan is not at hand",
) -> Path:
    """Write ``report.html`` beside the results of a run; for one process.

    Parameters
    ----------
    place
        Folder of results, or a product.
    scan
        Scan that they were made from, for patterns and shifts of positions.
    reference
        File with a reference object; without it the scan's own object, if any.
    overview
        What the picture of the product shows, where it is known already.
    output
        Page to write; that in the folder where not given.
    why_no_scan
        What the page says where there is no scan.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    DataFormatError
        If the folder holds no results, or damaged ones.
    """
    source = read_source(place)
    data = _data(source, scan, reference, overview)
    path = write_page(
        output or source.folder / NAME, "report.html", data, _texts(source, data, why_no_scan), _SCRIPTS
    )
    logger.info("report: %s (%.1f MB)", path, path.stat().st_size / 1e6)
    return path


def _data(source: Source, scan: Scan | None, reference: Path | None, overview: Overview | None) -> dict[str, Any]:
    curves = convergence(source)
    has_curve = curves["training"] is not None or curves["refinement"] is not None
    found: dict[str, Any] = {"convergence": curves if has_curve else None}
    product = source.product
    if product is None:
        return found | dict.fromkeys(("object", "probe", "scan", "rings"))
    shown = overview or overview_of(product, scan, reference)
    frc = None if shown.comparison is None else shown.comparison.frc
    return found | {
        "object": object_section(product, source.network, shown),
        "probe": probe_section(product),
        "scan": scan_section(source, product, scan),
        "rings": ring_curve(frc, product.geometry.pixel_size_m),
    }


def _texts(source: Source, data: Mapping[str, Any], why_no_scan: str) -> dict[str, Any]:
    shown = [(name, label) for name, label in _SECTIONS.items() if data[name]]
    timing = timing_of(source)
    tables = (("metrics", "Numbers", source.metrics), ("timing", "Time", timing))
    more = [(name, label) for name, label, content in tables if content]
    exact = "the files beside this page" if source.product_path is None else source.product_path.name
    return {
        "title": source.name,
        "subtitle": f"ptycho_dist {package_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {source.folder}",
        "contents": [("verdict", "Verdict"), *shown, *more, ("settings", "Settings"), ("again", "Again")],
        "verdict": verdict_of(source),
        "probe_text": _probe_text(data["probe"]),
        "focus": _focus_text(data["probe"]),
        "scan_text": _scan_text(data["scan"]),
        "why_no_patterns": why_no_scan,
        "convergence_text": _convergence_text(data["convergence"]),
        "rings_text": _rings_text(data["rings"]),
        "metrics": list(_listed(source.metrics)),
        "timing": timing,
        "stages": stage_settings(source),
        "command": command_line(source),
        "origins": list(_origins(source)),
        "exact": exact,
    }


def _probe_text(probe: Mapping[str, Any] | None) -> str:
    if probe is None:
        return ""
    diameter, size = probe["diameter_px"], probe["pixel_size_m"]
    known = f" ({length_text(diameter * size)})" if size else ""
    frame = f", {length_text(probe['N'] * size)}" if size else ""
    return f"Diameter with 90 % of the power: {diameter:.1f} px{known}. Frame: {probe['N']} px{frame}."


def _focus_text(probe: Mapping[str, Any] | None) -> dict[str, str]:
    focus = None if probe is None else probe["focus"]
    if probe is None or focus is None:
        return {}
    first, last, best, width = (focus[name] for name in ("first_m", "last_m", "best_m", "width_m"))
    where = "at the object" if abs(best) < (last - first) / 100 else f"at {length_text(best)} along the beam"
    return {
        "first": length_text(first),
        "last": f"+{length_text(last)}",
        "width_text": length_text(probe["N"] * probe["pixel_size_m"]),
        "text": f"It is narrowest {where}, {length_text(width)} wide there (full width at half maximum).",
    }


def _scan_text(scan: Mapping[str, Any] | None) -> str:
    if scan is None:
        return ""
    fewer = f" {scan['n_shown']:,} of them are drawn." if scan["n_shown"] < scan["n_patterns"] else ""
    text = f"{scan['n_patterns']:,} patterns over the amplitude of the object.{fewer}"
    if scan["patterns"]:
        text += " Circles: patterns that can be seen beside; click near one."
    shifts = scan["shifts"]
    if shifts:
        sizes = ("", "") if "rms_m" not in shifts else tuple(f" ({length_text(shifts[n])})" for n in ("rms_m", "largest_m"))
        text += (
            f" Positions were refined: by {shifts['rms_px']:.2f} px{sizes[0]} rms, by {shifts['largest_px']:.2f} px"
            f"{sizes[1]} at most, beside a common shift; arrows are longer than they are."
        )
    return text


def _convergence_text(curves: Mapping[str, Any] | None) -> str:
    if curves is None:
        return ""
    said = ["Refinement: Fourier error of all patterns in each iteration."] if curves["refinement"] else []
    if curves["training"] and curves["training_unit"] == FOURIER_ERROR:
        said.insert(0, "Network: root of the training loss, the Fourier error of groups, each on an object of its own.")
    elif curves["training"]:
        said.insert(0, "Network: training loss, on the right.")
    if curves["starts"]:
        said.append(f"Several starts were refined and compared; that from {curves['chosen']} was kept.")
    return " ".join(said)


def _rings_text(rings: Mapping[str, Any] | None) -> str:
    if rings is None:
        return ""
    told = []
    for name, threshold in (("half_bit_px", "1/2-bit"), ("one_seventh_px", "1/7")):
        pixels, size = rings[name], rings["pixel_size_m"]
        length = f" ({length_text(pixels * size)})" if pixels and size else ""
        told.append(f"{threshold}: {pixels:.2f} px{length}" if pixels else f"{threshold}: not resolved")
    return (
        f"Fourier ring correlation with the reference; full-period resolution at the threshold {'; '.join(told)}. "
        "The ring at zero says nothing, for the mean is taken off, and is left out."
    )


def _listed(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    reasons = metrics.get("null_reasons", {})
    for name, value in metrics.items():
        if name in ("null_reasons", "scan_findings"):
            continue
        if value is None:
            yield name, f"not known: {reasons.get(name, 'no reason recorded')}"
        elif isinstance(value, float):
            yield name, f"{value:.6g}"
        elif isinstance(value, list):
            yield name, ", ".join(f"{one:.4g}" if isinstance(one, float) else str(one) for one in value) or "none"
        else:
            yield name, str(value)


def _origins(source: Source) -> Iterator[tuple[str, str]]:
    record = source.record
    if source.scan_path is not None:
        yield "scan", str(source.scan_path)
    checksum = _checksum(source.product, record)
    if checksum:
        yield "checksum of the scan (SHA-256)", checksum
    for stage in stage_settings(source):
        if stage.fingerprint:
            yield f"fingerprint of the {stage.stage}", f"{stage.fingerprint} (of what changes numbers: {stage.result_fingerprint})"
    if record.get("begun"):
        yield "begun", f"{record['begun']} on {record.get('host', '?')}"
    for name, version in record.get("versions", {}).items():
        yield name, str(version)


def _checksum(product: Product | None, record: Mapping[str, Any]) -> str:
    stated = "" if product is None else product.scan_checksum
    return stated or str(record.get("scan", {}).get("checksum", ""))
