"""The site: `make docs` builds it from the pages of this folder and the docstrings, into build/docs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

from release.paths import version as version_of  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "roialign"
author = "The roialign developers"
copyright = author  # noqa: A001  # Sphinx's name
version = release = version_of()

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_copybutton",
    "references",
]
templates_path = ["_templates"]
nitpicky = True  # a name that leads nowhere is a warning

# Headings have the names in links that GitHub gives them.
myst_heading_anchors = 6

# The reference. In our docstrings single backquotes hold the name of a parameter.
default_role = "code"
autodoc_inherit_docstrings = False  # those of torch.nn.Module say nothing of ours
python_maximum_signature_line_length = 88
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

# Names of other projects. Their own inventories are large, and the build would fail whenever one cannot be reached, so
# those that we name are in files of Sphinx's first format, which is text: name, kind, page.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.txt"),
    "numpy": ("https://numpy.org/doc/stable", "inventories/numpy.txt"),
    "torch": ("https://docs.pytorch.org/docs/stable", "inventories/torch.txt"),
}

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "roialign"
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"

# The playground is not made by Sphinx. If it has been built, it becomes the folder playground of the site.
PLAYGROUND = ROOT / "build" / "playground"


def copy_playground(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and PLAYGROUND.exists():
        shutil.copytree(PLAYGROUND, Path(app.outdir) / "playground", dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    if PLAYGROUND.exists():
        app.tags.add("playground")  # for the directive `only`
    app.connect("build-finished", copy_playground)
