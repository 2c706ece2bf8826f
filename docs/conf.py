"""Sphinx settings; ``make docs`` builds with warnings as errors."""

from importlib.metadata import version as package_version

project = "ptycho_dist"
author = "The ptycho_dist authors"
release = package_version("ptycho-dist")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ptycho_dist {release}"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False

# Shape letters in annotations, such as Float[Tensor, "N N"], look like references to fields named N.
suppress_warnings = ["ref.python", "ref.footnote"]
