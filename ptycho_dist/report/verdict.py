"""A result in words: what it is, how good it is, and what to watch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.formats.product_h5 import DISAGREEMENT, UNCERTAINTY, Product
from ptycho_dist.evaluate.figure_data import length_text
from ptycho_dist.report.source import Source
from ptycho_dist.run_record import REFINEMENT

GOOD, WATCH, BAD, NOTE = "good", "watch", "bad", "note"
_MOST_MESSAGES = 12
_LISTED, _WORST = 10, 5
_SECONDS = len("2026-01-01T00:00:00")
_SEVERITIES = {"wrong": BAD, "odd": WATCH}
_LOW_OVERLAP = 0.3


@dataclass(frozen=True)
class Remark:
    """A sentence of a verdict, and how it is meant: good, watch, bad or note."""

    level: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What a result is, how good it is, and what to watch."""

    what: str
    quality: tuple[Remark, ...]
    watch: tuple[Remark, ...]

    @property
    def level(self) -> str:
        """The worst of what is said of the quality."""
        said = [one.level for one in self.quality]
        return next((level for level in (BAD, WATCH, GOOD) if level in said), NOTE)


def verdict_of(source: Source) -> Verdict:
    """Say it in words."""
    begun = str(source.record.get("begun", ""))
    watch = (*_of_scan(source.metrics), *_of_result(source), *_of_logs(source.folder, begun))
    return Verdict(_what(source), tuple(_quality(source)), watch)


def _what(source: Source) -> str:
    if source.product is None:
        history = source.bundle.get("history", {})
        scan = source.bundle.get("scan", {})
        return f"A network trained on {scan.get('n_patterns', '?')} patterns in {history.get('steps', '?')} steps."
    product, N = source.product, source.product.geometry.N
    rows, columns = product.object_.shape
    size = product.geometry.pixel_size_m
    extent, pixel = "", ""
    if math.isfinite(size):
        extent = f" ({length_text(rows * size)} by {length_text(columns * size)})"
        pixel = f" of {length_text(size)}"
    modes = f", {len(product.probe)} probe modes" if len(product.probe) > 1 else ""
    return (
        f"An object of {rows} by {columns} pixels{pixel}{extent} from {len(product.positions_px):,} patterns of "
        f"{N} by {N} pixels{modes}. {_made(source, product)}"
    )


def _made(source: Source, product: Product) -> str:
    provenance = product.metadata.provenance
    if "refined_from" in provenance:
        settings = source.settings(REFINEMENT).get("refine", {})
        how = f"{settings.get('iterations', '?')} iterations of {settings.get('method', '?')}"
        start = {"network": "the prediction of the network", "ones": "an empty object"}.get(
            provenance["refined_from"], str(provenance["refined_from"])
        )
        return f"Refined by {how}, from {start}."
    if source.settings("prediction"):
        return "Predicted by a network and stitched; not refined."
    return product.metadata.comments


def _quality(source: Source) -> Iterator[Remark]:
    metrics = source.metrics
    if source.product is None:
        yield from _of_training(source.bundle.get("history", {}))
        return
    if metrics.get("verdict"):
        explained = metrics.get("explains_patterns")
        level = NOTE if explained is None else GOOD if explained else BAD
        if explained and metrics.get("n_frames_standing_out"):
            level = WATCH
        yield Remark(level, _sentence(str(metrics["verdict"])))
    elif source.product.verdict:
        yield Remark(NOTE, _sentence(source.product.verdict))
    if _is_number(metrics.get("fourier_error")):
        yield Remark(NOTE, f"Fourier error {metrics['fourier_error']:.4f} over all patterns{_unseen(metrics)}.")
    if _is_number(metrics.get("ssim_phase")):
        yield Remark(NOTE, _against_reference(metrics, source.pixel_size_m))
    halves = metrics.get("halves_resolution_half_bit_px")
    if _is_number(halves):
        found = _resolution(halves, source.pixel_size_m)
        yield Remark(NOTE, f"Two halves of the photons agree down to {found} (1/2-bit threshold).")
    yield from _network_against_none(metrics)
    yield from _of_maps(source.product)


def _of_maps(product: Product) -> Iterator[Remark]:
    """Say what patches, and halves of the photons, tell of the error."""
    uncertainty, disagreement = product.extras.get(UNCERTAINTY), product.extras.get(DISAGREEMENT)
    if uncertainty is not None:
        yield Remark(NOTE, f"The transmission is uncertain by {_median(uncertainty):.2g} (median).")
    if disagreement is not None:
        yield Remark(
            NOTE, f"Patches of neighbouring patterns differ by {_median(disagreement):.2g} (median) where they meet."
        )


def _median(values: NDArray[np.floating]) -> float:
    known = values[np.isfinite(values) & (values > 0)]
    return float(np.median(known)) if known.size else float("nan")


def _of_training(history: Mapping[str, Any]) -> Iterator[Remark]:
    if _is_number(history.get("fourier_error")):
        yield Remark(NOTE, f"Fourier error of groups as in training: {history['fourier_error']:.4f}.")
    if _is_number(history.get("init_fourier_error")):
        yield Remark(NOTE, f"Before the training it was {history['init_fourier_error']:.4f}.")
    if history.get("kept"):
        yield Remark(NOTE, f"Kept: the {history['kept']} network.")


def _unseen(metrics: Mapping[str, Any]) -> str:
    unseen = metrics.get("fourier_error_unseen_rows")
    return f", {unseen:.4f} where the network has not been trained" if _is_number(unseen) else ""


def _against_reference(metrics: Mapping[str, Any], pixel_size_m: float) -> str:
    half = metrics.get("frc_resolution_half_bit_px")
    ring = f"; FRC resolution {_resolution(half, pixel_size_m)} (1/2-bit)" if _is_number(half) else ""
    amplitude = metrics.get("ssim_amplitude")
    beside = f", amplitude {amplitude:.3f}" if _is_number(amplitude) else ""
    return f"Against the reference: SSIM of the phase {metrics['ssim_phase']:.3f}{beside}{ring}."


def _resolution(pixels: float, pixel_size_m: float) -> str:
    known = f" ({length_text(pixels * pixel_size_m)})" if math.isfinite(pixel_size_m) else ""
    return f"{pixels:.2f} px{known}"


def _network_against_none(metrics: Mapping[str, Any]) -> Iterator[Remark]:
    """Say whether the network was worth its time."""
    network, ones = metrics.get("fourier_error_from_network"), metrics.get("fourier_error_from_ones")
    if not (_is_number(network) and _is_number(ones)):
        return
    iterations = metrics.get("starts_compared_iterations", "?")
    better = "the network's prediction" if network < ones else "an empty object"
    yield Remark(
        NOTE,
        f"After {iterations} iterations the refinement had a Fourier error of {network:.4f} from the network's "
        f"prediction and {ones:.4f} from an empty object; the start that was better is {better}.",
    )


def _of_scan(metrics: Mapping[str, Any]) -> Iterator[Remark]:
    for finding in metrics.get("scan_findings", []):
        yield Remark(_SEVERITIES.get(str(finding.get("severity")), NOTE), _sentence(str(finding.get("text", ""))))


def _of_result(source: Source) -> Iterator[Remark]:
    metrics = source.metrics
    standing = metrics.get("frames_standing_out") or []
    if standing:
        shown = ", ".join(map(str, standing[:_LISTED])) + (", ..." if len(standing) > _LISTED else "")
        yield Remark(
            WATCH,
            f"Explained far worse than the others ({metrics.get('n_frames_standing_out', len(standing))} patterns): "
            f"{shown}. --drop_frames leaves them out.",
        )
    yield from _worst(source)
    overlap = metrics.get("overlap")
    if _is_number(overlap) and overlap < _LOW_OVERLAP:
        yield Remark(
            WATCH, f"Neighbouring probes overlap by {overlap:.0%} only; the patterns constrain each other little."
        )
    if metrics.get("reference_refused"):
        yield Remark(WATCH, _sentence(f"Not compared with the reference: {metrics['reference_refused']}"))


def _worst(source: Source) -> Iterator[Remark]:
    """Name the patterns that are explained worst."""
    name = next((one for one in ("normalised_error", "fourier_error") if one in source.frames), None)
    if name is None or "pattern" not in source.frames:
        return
    errors = np.nan_to_num(source.frames[name], nan=-1.0)
    rows = np.argsort(-errors, kind="stable")[:_WORST]
    named = ", ".join(f"{source.frames['pattern'][row]:.0f} ({errors[row]:.3g})" for row in rows if errors[row] >= 0)
    if named:
        yield Remark(NOTE, f"The worst explained patterns, with their {name.replace('_', ' ')}: {named}.")


def _of_logs(folder: Path, begun: str) -> Iterator[Remark]:
    """Repeat warnings and errors that the ranks have logged since the run began, each once."""
    told: dict[str, str] = {}
    for path in sorted((folder / "logs").glob("rank-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            record = _record(line)
            time = str(record.get("time", ""))[:_SECONDS]
            if record.get("level") in ("WARNING", "ERROR", "CRITICAL") and time >= begun[:_SECONDS]:
                told.setdefault(str(record.get("message")), time)
    for message, time in list(told.items())[-_MOST_MESSAGES:]:
        yield Remark(WATCH, f"{time.replace('T', ' ')}: {message}")


def _record(line: str) -> dict[str, Any]:
    """Read a line of a log; one that a killed rank has left incomplete is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
