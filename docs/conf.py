"""Settings of the documentation site: `make docs`. docs/architecture.md says why these tools were chosen."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import equiprop

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_site"), str(DOCS.parent / "tests")]

project = "equiprop"
author = "The equiprop developers"
project_copyright = author
version = release = equiprop.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "docstrings",
    "reference_pages",
    "repository_links",
]
exclude_patterns = ["_site", "pictures"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"
# Single backticks in docstrings also mark parameters and expressions, which are no links.
nitpick_ignore_regex = [("py:obj", r".*")]
autodoc_mock_imports = [name for name in ("torch", "jax", "sklearn") if find_spec(name) is None]
autodoc_typehints = "none"  # the docstrings state types and shapes
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_context = {"package": project}
numpydoc_show_class_members = False  # the template of a class lists them
templates_path = ["_site/templates"]

html_theme = "furo"
html_title = f"equiprop {version}"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-dark"

sphinx_gallery_conf = {
    "examples_dirs": str(DOCS.parent / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "reset_modules": ("matplotlib",),
}
