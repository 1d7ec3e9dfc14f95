"""Sphinx configuration."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import geomm

project = "geomm"
author = "The geomm developers"
copyright = "2026, the geomm developers"
release = version = geomm.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
# The tests run the notebooks.
nb_execution_mode = "off"
exclude_patterns = ["_build", "plugin_example", "plugin_packages"]
html_theme = "furo"
html_title = "geomm"
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "description"
