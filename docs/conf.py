"""Sphinx's configuration; ``make docs`` builds the pages."""

from __future__ import annotations

from typing import Any

from airflow_dicom import __version__

project = "airflow-dicom"
author = "the airflow-dicom authors"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"airflow-dicom {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
# The docstrings say what a caller needs; what is imported for type checkers only cannot be resolved here.
autodoc_typehints = "none"


def add_template_fields(app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
    """Add to the description of an operator which of its arguments are templated."""
    if what == "class" and (fields := getattr(documented, "template_fields", None)):
        lines += ["", "**Templated:** " + ", ".join(f"``{field}``" for field in sorted(fields)), ""]


def setup(app: Any) -> None:
    """Connect the function above."""
    app.connect("autodoc-process-docstring", add_template_fields)


# Airflow's decorators around a constructor hide its arguments; its docstring has them all.
autodoc_preserve_defaults = True
