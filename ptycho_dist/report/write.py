"""Write the report of a run: gather what its folder holds, say it in words, fill the page."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ptycho_dist.data.scan import Scan
from ptycho_dist.evaluate.comparison import overview_of
from ptycho_dist.evaluate.figures import Overview
from ptycho_dist.report.convergence import convergence, ring_curve
from ptycho_dist.report.object_maps import object_section
from ptycho_dist.report.page import write_page
from ptycho_dist.report.probe_section import probe_section
from ptycho_dist.report.scan_section import scan_section
from ptycho_dist.report.settings import StageSettings, command_line, stage_settings, value_text
from ptycho_dist.report.source import Source
from ptycho_dist.report.texts import convergence_text, focus_text, probe_text, rings_text, scan_text
from ptycho_dist.report.timing import timing_of
from ptycho_dist.report.verdict import verdict_of
from ptycho_dist.version import package_version

logger = logging.getLogger(__name__)

NAME = "report.html"
_SCRIPTS = ("object.js", "scan.js", "page.js")
_SECTIONS = {
    "object": "Object",
    "probe": "Probe",
    "scan": "Scan",
    "convergence": "Convergence",
    "rings": "Resolution",
}


def write_report(
    source: Source,
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
    source
        Results as read.
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
    """
    data = _data(source, scan, reference, overview)
    path = write_page(output or source.folder / NAME, "report.html", data, _texts(source, data, why_no_scan), _SCRIPTS)
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
    timing, settings = timing_of(source), stage_settings(source)
    tables = (("metrics", "Numbers", source.metrics), ("timing", "Time", timing))
    more = [(name, label) for name, label, content in tables if content]
    exact = "the files beside this page" if source.product_path is None else source.product_path.name
    return {
        "title": source.name,
        "subtitle": f"ptycho_dist {package_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {source.folder}",
        "contents": [("verdict", "Verdict"), *shown, *more, ("settings", "Settings"), ("again", "Again")],
        "verdict": verdict_of(source),
        "probe_text": probe_text(data["probe"]),
        "focus": focus_text(data["probe"]),
        "scan_text": scan_text(data["scan"]),
        "why_no_patterns": why_no_scan,
        "convergence_text": convergence_text(data["convergence"]),
        "rings_text": rings_text(data["rings"]),
        "metrics": list(_listed(source.metrics)),
        "timing": timing,
        "stages": settings,
        "command": command_line(source),
        "origins": list(_origins(source, settings)),
        "exact": exact,
    }


def _listed(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    reasons = metrics.get("null_reasons", {})
    for name, value in metrics.items():
        if name in ("null_reasons", "scan_findings"):
            continue
        if value is None:
            yield name, f"not known: {reasons.get(name, 'no reason recorded')}"
        else:
            yield name, value_text(value) or "none"


def _origins(source: Source, settings: Iterable[StageSettings]) -> Iterator[tuple[str, str]]:
    record = source.record
    if source.scan_path is not None:
        yield "scan", str(source.scan_path)
    checksum = source.product_checksum or str(record.get("scan", {}).get("checksum", ""))
    if checksum:
        yield "checksum of the scan (SHA-256)", checksum
    for stage in settings:
        if stage.fingerprint:
            told = f"{stage.fingerprint} (of what changes numbers: {stage.result_fingerprint})"
            yield f"fingerprint of the {stage.stage}", told
    if record.get("begun"):
        yield "begun", f"{record['begun']} on {record.get('host', '?')}"
    for name, version in record.get("versions", {}).items():
        yield name, str(version)
