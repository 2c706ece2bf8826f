"""Sphinx settings; ``make docs`` builds with warnings as errors."""

import os
from importlib.metadata import version as package_version
from pathlib import Path

project = "ptycho_dist"
author = "The ptycho_dist authors"
copyright = author
release = package_version("ptycho-dist")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery", "auto_gallery/*.ipynb", "auto_gallery/*.py", "auto_gallery/*.md5"]

html_theme = "furo"
html_title = f"ptycho_dist {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Pages of the API rank below all others in a search.
html_search_scorer = str(Path(__file__).with_name("search_scorer.js"))

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
# Notebooks come with their outputs; tests execute them.
nb_execution_mode = "off"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False
autosummary_ignore_module_all = False

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "unsrt"

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["auto_gallery"],
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,
    "write_computation_times": False,
    "matplotlib_animations": False,
}

if os.environ.get("DOCS_ONLINE"):  # links into other projects need their inventories from the network
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

# Shape letters in annotations, such as Float[Tensor, "N N"], look like references to fields named N.
suppress_warnings = ["ref.python", "ref.footnote"]
