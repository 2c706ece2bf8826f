"""Fill the templates: one HTML page with everything in it, that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ptycho_dist.atomic import atomic_path
from ptycho_dist.evaluate.figures import colour_table
from ptycho_dist.report.images import LARGEST_SIDE_PX

COLOURS = ("viridis", "twilight", "gray", "magma", "cividis", "RdBu_r")
"""Colour maps that a page offers: all of even lightness, the second cyclic, the last diverging."""
_ASSETS = ("uplot/uPlot.min.css", "uplot/uPlot.iife.min.js", "report.css", "maps.js", "viewer.js", "curves.js")


def write_page(
    path: Path, template: str, data: Mapping[str, Any], texts: Mapping[str, Any], scripts: Iterable[str]
) -> Path:
    """Write a page; the file appears under its name only when it is complete.

    Parameters
    ----------
    path
        HTML file.
    template
        Name of the template.
    data
        What the scripts of the page take; plain values.
    texts
        What the template takes.
    scripts
        Scripts to run, the last one starting the page.
    """
    colours = {name: colour_table(name) for name in COLOURS}
    names = (*_ASSETS, *scripts)
    page = _templates().get_template(template)
    rendered = page.render(
        data={**data, "colours": colours},
        assets={name: Markup(_asset(name)) for name in names},  # files of this package
        scripts=[name for name in names if name.endswith(".js")],
        largest_side_px=LARGEST_SIDE_PX,
        **texts,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(rendered, encoding="utf-8")
    return path


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("ptycho_dist.report", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _asset(name: str) -> str:
    return (resources.files("ptycho_dist.report") / "assets" / name).read_text(encoding="utf-8")
