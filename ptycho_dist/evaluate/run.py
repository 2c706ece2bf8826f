"""Evaluate a product: Fourier error on all ranks; metrics and picture on rank 0, which alone loads what draws."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ptycho_dist.data.formats.product_h5 import Product, read_product
from ptycho_dist.data.formats.product_notes import note_evaluation
from ptycho_dist.data.sampler import rows_between
from ptycho_dist.data.scan import Scan, require_made_from
from ptycho_dist.data.survey.gain import Gain
from ptycho_dist.distributed.collectives import from_rank_0, on_all_ranks
from ptycho_dist.evaluate.fourier import FourierErrors, fourier_errors
from ptycho_dist.evaluate.group_report import GROUPS, loose_groups
from ptycho_dist.evaluate.metrics_file import NotMeasured, write_metrics
from ptycho_dist.evaluate.noise_report import noise_summary, with_verdict, write_frames
from ptycho_dist.evaluate.normalised import Normalised, normalise
from ptycho_dist.evaluate.shifts import shift_facts, shifts_of
from ptycho_dist.launching.environment import RankContext, single_rank
from ptycho_dist.physics.probe import mode_powers
from ptycho_dist.physics.sampling import sampling_of
from ptycho_dist.run_folder import REFERENCE, SCAN
from ptycho_dist.run_record import read_record

if TYPE_CHECKING:
    from ptycho_dist.evaluate.figures import Overview

logger = logging.getLogger(__name__)
_FIX = "Give the scan that the product was made from, or evaluate without a scan."


def evaluate_product(
    path: Path,
    scan: Scan | None,
    output_dir: Path,
    *,
    reference: Path | None = None,
    context: RankContext | None = None,
    facts: dict[str, Any] | None = None,
    prefix: str = "",
    is_own: bool = False,
    keep: Callable[[Overview], None] = lambda _: None,
) -> dict[str, Any]:
    """Write ``metrics.json``, ``frames.csv`` and ``overview.png`` of a product; all ranks get the metrics.

    Parameters
    ----------
    path
        Product file.
    scan
        Scan it was made from, for the Fourier error.
    output_dir
        Folder of metrics and picture.
    reference
        File with a reference object; without it the scan's own object, if any.
    context
        Place of this rank; one rank alone where not given.
    facts
        Further entries of the metrics.
    prefix, is_own
        What the names of these files begin with; whether the product is of this job, and is to hold its verdict.
    keep
        Takes what the picture shows, on rank 0.
    """
    product = on_all_ranks(lambda: read_product(path))
    metrics = _described(product, path, facts or {}) | _compared_with(scan, reference)
    gain, errors = Gain(None, "no scan"), None
    if scan is not None:
        gain, errors = _misfit(path, product, scan, context)
        metrics |= _fourier_summary(product, scan, errors)

    def report() -> dict[str, Any]:
        from ptycho_dist.evaluate.comparison import compare_and_draw

        (context or single_rank()).progress.expect(None, "", note="comparing and drawing")
        judged, told, normalised = product, dict(metrics), None
        if scan is not None and errors is not None:
            normalised = _normalised(errors, product, scan, gain)
            told |= noise_summary(normalised, gain) | _findings(scan)
            write_frames(output_dir / f"{prefix}frames.csv", product, scan.file_numbers, errors, normalised)
            judged = product if normalised is None else with_verdict(product, normalised)
        compared, overview = compare_and_draw(judged, scan, output_dir / f"{prefix}overview.png", reference)
        everything = told | compared
        write_metrics(output_dir / f"{prefix}metrics.json", everything)
        if is_own:
            _note(path, everything, normalised)
        _say(everything, is_final=not prefix)
        _warn_of_groups(everything, errors, product)
        keep(overview)
        return everything

    return from_rank_0(report)


def _note(path: Path, metrics: dict[str, Any], normalised: Normalised | None) -> None:
    """Note in a product of this job how good it is, and by which command it was made."""
    frames = None if normalised is None else normalised.frames
    note_evaluation(path, metrics, frames, read_record(path.parent).get("command", ()))


def _misfit(path: Path, product: Product, scan: Scan, context: RankContext | None) -> tuple[Gain, FourierErrors]:
    """Hold a product against the patterns of its scan, on all ranks."""
    require_made_from(scan.header, str(path), product.scan_checksum, _FIX)
    gain = on_all_ranks(scan.gain)
    return gain, fourier_errors(product, scan, context, gain.counts_per_photon or 1.0)


def _described(product: Product, path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    powers = mode_powers(torch.from_numpy(product.probe))
    return {"product": path.name, "n_patterns": len(product.positions_px), **_measured(facts), "mode_powers": powers}


def _compared_with(scan: Scan | None, reference: Path | None) -> dict[str, Path]:
    """Name the files that the product is compared with, by which they are found again."""
    files = {SCAN: None if scan is None else scan.header.path, REFERENCE: reference}
    return {name: path.resolve() for name, path in files.items() if path is not None}


def _fourier_summary(product: Product, scan: Scan, errors: FourierErrors) -> dict[str, Any]:
    summary: dict[str, Any] = {"fourier_error": _told(errors.error())}
    if errors.compared < len(product.positions_px):
        summary["fourier_error_patterns"] = errors.compared
    rows = product.metadata.provenance.get("training", {}).get("train_rows", (0.0, 1.0))
    trained = rows_between(scan.positions_px, (float(rows[0]), float(rows[1])))[product.indexes]
    if not trained.all():
        summary["fourier_error_trained_rows"] = _told(errors.error(trained))
        summary["fourier_error_unseen_rows"] = _told(errors.error(~trained))
    return summary | shift_facts(shifts_of(product, scan), product.geometry.pixel_size_m)


def _measured(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: NotMeasured("not measured in this run") if value is None else value for name, value in facts.items()}


def _told(error: float) -> float | NotMeasured:
    return error if math.isfinite(error) else NotMeasured("no pattern with photons lies whole on the object")


def _normalised(errors: FourierErrors, product: Product, scan: Scan, gain: Gain) -> Normalised | None:
    """Normalised error; None where the counts per photon are unknown."""
    if gain.counts_per_photon is None:
        return None
    return normalise(errors, product, scan, gain.counts_per_photon)


def _findings(scan: Scan) -> dict[str, Any]:
    """Give what was odd in the scan, where it was looked at."""
    found = [{"kind": one.kind, "severity": one.severity, "text": str(one)} for one in scan.findings]
    return {"scan_findings": found} if scan.survey is not None else {}


def _warn_of_groups(metrics: dict[str, Any], errors: FourierErrors | None, product: Product) -> None:
    """Warn where a network's object is far worse than the groups that it was trained on."""
    of_groups = metrics.get(GROUPS)
    if errors is None or not isinstance(of_groups, float):
        return
    warning = loose_groups(of_groups, errors, sampling_of(product.positions_px, product.probe).overlap)
    if warning:
        logger.warning("%s: %s", product.metadata.name, warning)


def _say(metrics: dict[str, Any], *, is_final: bool) -> None:
    """Log the metrics and the verdict, which warns where a final result is not to be believed."""
    shown = (
        "fourier_error",
        "normalised_error",
        "fourier_error_unseen_rows",
        "position_shift_rms_px",
        "position_shift_largest_px",
        "ssim_phase",
        "frc_resolution_half_bit_px",
    )
    text = ", ".join(f"{name} {metrics[name]:.4f}" for name in shown if isinstance(metrics.get(name), float))
    logger.info("%s", text or "no scan and no reference: nothing to compare with")
    if "verdict" in metrics:
        is_fine = metrics["explains_patterns"] is not False and not metrics["n_frames_standing_out"]
        level = logging.WARNING if is_final and not is_fine else logging.INFO
        logger.log(level, "%s: %s", metrics["product"], metrics["verdict"])
