"""Two reconstructions of one simulated scan side by side with its truth, as ``make demo`` shows them.

Run ``python -m benchmarks.network.side_by_side SCAN PICTURE.png NAME=PRODUCT NAME=PRODUCT``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.network.judge import Truth, placed_product
from benchmarks.network.pictures import Row, draw_rows


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path, help="simulated scan, which holds its object")
    parser.add_argument("picture", type=Path, help="PNG to draw")
    parser.add_argument("products", nargs=2, metavar="NAME=PRODUCT")
    given = parser.parse_args()
    (first, one), (second, other) = (text.split("=", 1) for text in given.products)
    found = (("phase SSIM", placed_product(Path(one))), ("phase SSIM", placed_product(Path(other))))
    draw_rows(given.picture, (first, second), [Row(given.scan.name, Truth.of(given.scan), found)], dpi=150)


if __name__ == "__main__":
    main()
