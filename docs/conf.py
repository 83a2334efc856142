"""How the documentation becomes a site: `make docs`."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import chanlink  # noqa: E402

project = "chanlink"
author = "The chanlink authors"
copyright = author
version = release = chanlink.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "extensions.breaking",
    "extensions.drawings",
    "extensions.names",
    "extensions.navigation",
    "extensions.sources",
]
root_doc = "README"
exclude_patterns = ["changelog.d", "drawings", "extensions"]

# As forges make them, so that a link to a part of a page works there and here.
myst_heading_anchors = 4
# Each name that a docstring refers to has a page.
nitpicky = True

# `name` between single backticks is one of ours, or a parameter: extensions/names.py.
default_role = "py:obj"
autodoc_default_options = {"members": True, "inherited-members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
viewcode_follow_imported_members = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "chanlink"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
# Prompts are not what one copies.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"
