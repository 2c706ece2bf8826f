"""Captions of a report, from what its sections hold; empty where there is no such section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_dist.evaluate.figure_data import length_text
from ptycho_dist.report.convergence import FOURIER_ERROR


def probe_text(probe: Mapping[str, Any] | None) -> str:
    """Say how wide a probe is."""
    if probe is None:
        return ""
    diameter, size = probe["diameter_px"], probe["pixel_size_m"]
    known = f" ({length_text(diameter * size)})" if size else ""
    frame = f", {length_text(probe['N'] * size)}" if size else ""
    return f"Diameter with 90 % of the power: {diameter:.1f} px{known}. Frame: {probe['N']} px{frame}."


def focus_text(probe: Mapping[str, Any] | None) -> dict[str, str]:
    """Say where a probe is narrowest, and what the picture along the beam spans."""
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


def scan_text(scan: Mapping[str, Any] | None) -> str:
    """Say what is drawn of a scan, and how far positions were moved."""
    if scan is None:
        return ""
    fewer = f" {scan['n_shown']:,} of them are drawn." if scan["n_shown"] < scan["n_patterns"] else ""
    text = f"{scan['n_patterns']:,} patterns over the amplitude of the object.{fewer}"
    if scan["patterns"]:
        text += " Circles: patterns that can be seen beside; click near one."
    if scan["shifts"]:
        text += f" {_shifts_text(scan['shifts'])}"
    return text


def _shifts_text(shifts: Mapping[str, Any]) -> str:
    def told(name: str) -> str:
        metres = shifts.get(f"position_shift_{name}_m")
        length = "" if metres is None else f" ({length_text(metres)})"
        return f"{shifts[f'position_shift_{name}_px']:.2f} px{length}"

    return (
        f"Positions were refined: by {told('rms')} rms, by {told('largest')} at most, beside a common shift; arrows "
        "are longer than the shifts."
    )


def convergence_text(curves: Mapping[str, Any] | None) -> str:
    """Say what the curves of convergence are."""
    if curves is None:
        return ""
    said = ["Refinement: Fourier error of all patterns in each iteration."] if curves["refinement"] else []
    if curves["training"] and curves["training_unit"] == FOURIER_ERROR:
        said.insert(0, "Network: root of the training loss, the Fourier error of groups, each on an object of its own.")
    elif curves["training"]:
        said.insert(0, f"Network: training loss{', on the right' if curves['refinement'] else ''}.")
    if curves["starts"]:
        said.append(f"Several starts were refined and compared; that from {curves['chosen']} was kept.")
    return " ".join(said)


def rings_text(rings: Mapping[str, Any] | None) -> str:
    """Say what resolution a ring correlation gives."""
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
