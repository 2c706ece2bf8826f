"""The pictures of a job, and one of them as characters of a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

_PATTERNS = ("preview.png", "previews/*.png", "network_overview.png", "overview.png")
_UPPER_HALF = "\u2580"


@dataclass(frozen=True)
class Picture:
    """A picture of a job.

    Parameters
    ----------
    path
        The file.
    name
        Its path within the folder of the job.
    changed_ns
        When it was changed last.
    """

    path: Path
    name: str
    changed_ns: int


def pictures_of(output_dir: Path) -> list[Picture]:
    """Find the pictures of a job, the newest first."""
    return sorted(_found(output_dir), key=lambda one: one.changed_ns, reverse=True)


def _found(output_dir: Path) -> Iterator[Picture]:
    for pattern in _PATTERNS:
        for path in output_dir.glob(pattern):
            try:
                yield Picture(path, path.relative_to(output_dir).as_posix(), path.stat().st_mtime_ns)
            except FileNotFoundError:  # replaced in this moment; the next look finds it
                continue


def half_blocks(path: Path, columns: int, rows: int) -> Text | None:
    """Draw a picture in so many columns and rows at most, two pixels to a character; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            width, height = _fitted(image.size, columns, 2 * rows)
            pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX))
    except OSError:
        return None
    lines = [_line(pixels[row], pixels[row + 1]) for row in range(0, height, 2)]
    return Text("\n", no_wrap=True).join(lines)


def _fitted(size: tuple[int, int], columns: int, rows: int) -> tuple[int, int]:
    """Give the largest size of the same shape within a box; an even number of rows."""
    scale = min(columns / size[0], rows / size[1])
    return max(1, round(size[0] * scale)), max(2, round(size[1] * scale) // 2 * 2)


def _line(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> Text:
    """Draw two rows (columns, 3) of pixels as one line."""
    line = Text(no_wrap=True)
    for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
        line.append(_UPPER_HALF, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
    return line
