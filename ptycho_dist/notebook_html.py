"""Small HTML for notebooks: tables and thumbnails in one piece, readable on light and dark pages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE_PX = 192
"""Pixels along the longer side of a thumbnail at most."""
_MOST_POINTS = 1200
_CUT = (0.5, 99.5)
"""Percentiles of black and white."""
_FRAME = "font-family: sans-serif; font-size: 13px; line-height: 1.4; max-width: 60em"
_CELL = "text-align: left; padding: 0.1em 1em 0.1em 0"


def page(title: str, *blocks: str) -> str:
    """Put blocks of HTML below a headline (plain text); colours are those of the page around it."""
    return f'<div style="{_FRAME}"><p><b>{escape(title)}</b></p>{"".join(blocks)}</div>'


def table(rows: Mapping[str, Any]) -> str:
    """Make a table of names and values (plain text); numbers have four digits."""
    cells = (
        f'<tr><td style="{_CELL}">{escape(name)}</td><td style="{_CELL}">{escape(_text(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table style="color: inherit; font-size: inherit">{"".join(cells)}</table>'


def folded(summary: str, block: str) -> str:
    """Fold a block of HTML under a line of plain text."""
    return f"<details><summary>{escape(summary)}</summary>{block}</details>"


def row(figures: Iterable[str]) -> str:
    """Put figures beside each other."""
    return f'<div style="display: flex; flex-wrap: wrap; gap: 12px">{"".join(figures)}</div>'


def thumbnail(values: NDArray[Any], caption: str, unit: str = "") -> str:
    """Draw a map in grey, with the values of black and white.

    Parameters
    ----------
    values
        real, shape (H, W), not all NaN; every so many pixels of a large one are taken.
    caption, unit
        Plain text.
    """
    shown = small(values)
    low, high = (float(end) for end in np.nanpercentile(shown, _CUT))
    share = np.clip((np.nan_to_num(shown, nan=low) - low) / (high - low or 1.0), 0, 1)
    return _figure(np.rint(share * 255).astype(np.uint8), f"{caption}, {low:.3g} to {high:.3g} {unit}".strip())


def wave(values: NDArray[Any], caption: str) -> list[str]:
    """Draw amplitude and phase of a complex map (H, W); phases count from their mean direction, weighted."""
    shown = small(values)
    mean = complex((shown * np.abs(shown)).sum())
    turned = np.angle(shown * np.conj(mean)) if mean else np.angle(shown)
    return [thumbnail(np.abs(shown), f"{caption}, amplitude"), thumbnail(turned, f"{caption}, phase", "rad")]


def points(places: NDArray[Any], caption: str) -> str:
    """Draw places (y, x), shape (B, 2), as dots in the colour of the text; of many, evenly chosen ones."""
    chosen = places[:: max(1, -(-len(places) // _MOST_POINTS))]
    low = places.min(axis=0)
    extent = np.maximum(places.max(axis=0) - low, 1e-9)
    height, width = extent / extent.max() * SIDE_PX
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.5"/>' for y, x in (chosen - low) / extent.max() * SIDE_PX)
    size = f'width="{width + 4:.0f}" height="{height + 4:.0f}" viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}"'
    drawn = f'<svg {size} fill="currentColor" role="img" aria-label="{escape(caption)}">{dots}</svg>'
    return _captioned(drawn, caption)


def curve(values: NDArray[Any], caption: str) -> str:
    """Draw positive numbers, shape (n,), from left to right on a logarithmic scale, in the colour of the text."""
    logs = np.log10(np.maximum(values, np.finfo(np.float64).tiny))
    low, extent = logs.min(), np.ptp(logs) or 1.0
    x = np.linspace(0, SIDE_PX, max(len(logs), 2))
    joined = " ".join(
        f"{right:.1f},{down:.1f}" for right, down in zip(x, (1 - (logs - low) / extent) * SIDE_PX / 2, strict=False)
    )
    size = f'width="{SIDE_PX}" height="{SIDE_PX // 2 + 4}" viewBox="0 -2 {SIDE_PX} {SIDE_PX // 2 + 4}"'
    line = f'<polyline points="{joined}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    return _captioned(f'<svg {size} role="img" aria-label="{escape(caption)}">{line}</svg>', caption)


def small(values: NDArray[Any]) -> NDArray[Any]:
    """Take every so many pixels of a map (H, W), so that it fits a thumbnail; only these are read."""
    step = max(1, -(-max(values.shape) // SIDE_PX))
    return np.array(values[::step, ::step])


def png_address(png: bytes) -> str:
    """Write a PNG file as a data address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _figure(grey: NDArray[np.uint8], caption: str) -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(grey).save(buffer, "png", optimize=True)
    source = png_address(buffer.getvalue())
    height, width = (max(1, round(side * SIDE_PX / max(grey.shape))) for side in grey.shape)
    style = "image-rendering: pixelated"
    return _captioned(
        f'<img src="{source}" width="{width}" height="{height}" style="{style}" alt="{escape(caption)}">', caption
    )


def _captioned(drawn: str, caption: str) -> str:
    return (
        f'<figure style="margin: 0; width: {SIDE_PX + 8}px">{drawn}<figcaption>{escape(caption)}</figcaption></figure>'
    )


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
