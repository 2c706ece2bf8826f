"""Tables and paragraphs of the documentation, made from ``results/network.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.network.known import ITERATIONS
from ptycho_dist.atomic import atomic_path

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": "summary", "docs/quality.md": "details"}
"""Files that hold a part, and which."""
_TITLES = ("object", "photons", "step, % of the probe", "network alone", "best iterative", "ours", "gain",
           "closest iterative", "gain over it", "correlation: closest / ours", "ones")  # fmt: skip
_BEGIN, _END = "<!-- bench-network: begin -->", "<!-- bench-network: end -->"


def parts(found: dict[str, Any]) -> dict[str, str]:
    """Give what each page holds, by name of the part."""
    return {"summary": summary(found), "details": f"{paragraph(found)}\n\n{tables(found)}"}


def write_pages(found: dict[str, Any]) -> None:
    """Put what was measured where the marks are."""
    for name, part in PAGES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        with atomic_path(path) as temporary:
            temporary.write_text(inserted(text, parts(found)[part]), encoding="utf-8")


def inserted(text: str, part: str) -> str:
    """Replace what is between the marks of a page."""
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{_BEGIN}\n{part}\n{_END}", text)


def summary(found: dict[str, Any]) -> str:
    """Say in three lines when the network pays."""
    told = found["verdict"]
    return (
        f"**When the network pays.** Against the best of several iterative methods on {told['cells']} simulated scans "
        "that\nno training saw, network and refinement have the least phase error on "
        f"{told['least_error']}. Most is gained where photons are few or steps\nare wide: "
        f"{told['poor_gain_over_closest_0.05']} of these {told['poor']} scans gain 0.05 or more in phase SSIM over the "
        f"iterative result closest to the\ntruth. Of the other {told['rest']}, "
        f"{told['rest_not_0.01_below_closest']} lose at most 0.01; there iterations alone do as well, and "
        "`reconstruct` tries both.\n"
        "[All figures](docs/quality.md#a-matrix-of-scans)."
    )


def paragraph(found: dict[str, Any]) -> str:
    """Say in plain words when the network pays."""
    told = found["verdict"]
    return (
        f"**When the network pays.** On {told['cells']} simulated scans of pictures that no training saw, the network "
        "that ships and regularised passes after it (`--refine.regularisation auto`) were compared with this package's "
        "and pty-chi's iterative methods, whose iterations were chosen with the truth in hand. Their result has the "
        f"least phase error on {told['least_error']} scans, and correlates best with the truth on "
        f"{told['correlates_best']}. In phase SSIM, of the {told['poor']} scans with 1,000 photons a frame or steps "
        f"above 30 % of the probe, {told['poor_gain_over_closest_0.05']} are at least 0.05 above the iterative result "
        f"that correlates best (median gain {told['poor_median_gain_over_closest']:+.2f}), and "
        f"{told['poor_gain_0.05']} above the one with the best SSIM (median {told['poor_median_gain']:+.2f}), which is "
        f"an empty object on some flat pictures. Of the other {told['rest']}, "
        f"{told['rest_not_0.01_below_closest']} are at most 0.01 below the former, and "
        f"{told['rest_not_0.01_below']} the latter. With 100 photons a frame and wide steps nobody recovers an object. "
        "`make bench-network` shows it."
    )


def tables(found: dict[str, Any]) -> str:
    """Matrix, table of known scans, and the star."""
    told = found["verdict"]
    lines = [
        *_table(
            _TITLES,
            [_row(one) for one in found["cells"]],
        ),
        "",
        f"Cells of 1,000 photons or steps above 30 % where the best iterative result is under 0.9: {told['poor']}, of "
        f"which {told['poor_gain_0.05']} gain at least 0.05 over it and {told['poor_gain_over_closest_0.05']} over the "
        f"closest one; of the other {told['rest']}, {told['rest_not_0.01_below']} and "
        f"{told['rest_not_0.01_below_closest']} are at most 0.01 below. Ours correlates best with the truth on "
        f"{told['correlates_best']} of {told['cells']} cells, and has the least phase error on {told['least_error']}; "
        f"an object of ones has a better SSIM on {told['ones_above_ours']}. Uncertainty, medians: rank correlation "
        f"with the true error {told['rank_correlation_local']:.2f} (rms over 2 px), "
        f"{told['rank_correlation_pixel']:.2f} by pixel; "
        f"{100 * told['coverage_90']:.0f} % of the errors within the 90 % band.",
        "",
        *_known(found["known"]),
    ]
    return "\n".join([*lines, *_star(found.get("star"))])


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    best, closest = one["best"], one["closest"]
    return (
        one["object_name"],
        f"{one['photons']:g}",
        f"{one['step_percent']:g}",
        f"{one['network']['ssim_phase']:.3f}",
        f"{best['ssim_phase']:.3f} ({best['name']})",
        f"{one['ours']['ssim_phase']:.3f}",
        f"{one['gain']:+.3f}",
        f"{closest['ssim_phase']:.3f} ({closest['name']})",
        f"{one['gain_over_closest']:+.3f}",
        f"{closest['phase_correlation']:.2f} / {one['ours_correlation']:.2f}",
        f"{one['ones_ssim_phase']:.3f}",
    )


def _known(scans: Sequence[dict[str, Any]]) -> list[str]:
    columns = ("network", *(f"ones {count}" for count in ITERATIONS), "network and ones 20")
    rows = [(one["scan"], *(_cell(one[name]) for name in columns)) for one in scans]
    titles = [name.replace("network and ones 20", "network, then 20 from the better start") for name in columns]
    return [*_table(("phase SSIM / seconds", *titles), rows), ""]


def _cell(one: dict[str, float]) -> str:
    return f"{one['ssim_phase']:.3f} / {one['seconds']:.1f}"


def _star(star: dict[str, dict[str, float]] | None) -> list[str]:
    if star is None:
        return []
    supplied, refined = star["supplied_probe"], star["refined_probe"]
    return [
        f"Siemens star, nothing trained on it: Fourier error {supplied['fourier_error']:.4f} from its supplied probe, "
        f"{refined['fourier_error']:.4f} from a refined one.",
    ]


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(one)} |" for one in (titles, ["---"] * len(titles), *rows)]
