"""Where names in docstrings and links in pages lead on the site, and how defaults are shown in signatures."""

from __future__ import annotations

import builtins
import os
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from release.links import CODE

DOCS = Path(__file__).parent
ROOT = DOCS.parent

#: Pages outside docs, by their path in the repository, and the pages of the site that show them.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
#: A link of Markdown, a picture too: [text](target).
LINK_PARTS = r"(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)"

#: Names by which Python knows classes of torch and NumPy, and those by which their documentation does.
PUBLIC = {
    "Tensor": "torch.Tensor",
    "numpy.random._generator.Generator": "numpy.random.Generator",
    "torch._C.Generator": "torch.Generator",
    "torch.export.exported_program.ExportedProgram": "torch.export.ExportedProgram",
    "torch.nn.modules.container.ModuleList": "torch.nn.ModuleList",
    "torch.nn.modules.module.Module": "torch.nn.Module",
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this, since conf.py names this file as an extension."""
    app.connect("source-read", read_page)
    app.connect("include-read", read_included)
    app.connect("missing-reference", find_name, priority=400)  # before intersphinx, which has 500
    app.connect("autodoc-process-signature", shorten_defaults)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page of this folder links to pages outside as GitHub shows them."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = relink(source[0], path, path)


def read_included(app: Sphinx, relative_path: Path, parent_docname: str, content: list[str]) -> None:
    """What a page includes links as from its own place."""
    del parent_docname  # MyST gives its last part only
    here = Path(app.env.doc2path(app.env.docname))
    content[0] = relink(content[0], (DOCS / relative_path).resolve(), here)


def relink(text: str, written_in: Path, shown_in: Path) -> str:
    """The text of one page with its links as another page has to write them.

    Of a link to a page that the site does not show, only its text is left.
    """

    def replace(found: re.Match[str]) -> str:
        target = found["target"]
        if target is None or re.match(r"[a-z]+:", target):
            return found[0]  # code, or another site
        name, sign, heading = target.partition("#")
        if not name and written_in == shown_in:
            return found[0]
        file = (written_in.parent / name).resolve() if name else written_in
        if file.is_relative_to(ROOT) and (page := OUTSIDE.get(str(file.relative_to(ROOT)))):
            file = DOCS / page
            if page == "index.md":
                sign = heading = ""  # it shows parts of README.md
        elif file.suffix == ".md" and file.is_file() and not file.is_relative_to(DOCS):
            return found["text"][1:-1]
        return f"{found['text']}({os.path.relpath(file, shown_in.parent)}{sign}{heading})"

    return re.sub(f"{CODE.pattern}|{LINK_PARTS}", replace, text, flags=CODE.flags)


def find_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, contnode: nodes.Element
) -> nodes.Element | None:
    """A name of ours that is not documented under the name that a docstring or a signature has for it.

    It is a class by the module that defines it, or a bare name of that module. What exists but has no place in the
    reference is shown without a link. What does not exist stays missing, which is an error.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"] = PUBLIC.get(node["reftarget"], node["reftarget"])
    if "." in target and not target.startswith("roialign."):
        return None
    objects = env.domains["py"].objects
    last = target.rpartition(".")[2]
    documented = meant(target, node, [name for name in objects if name.rpartition(".")[2] == last])
    if documented is None:
        return contnode if exists(target, node) else None
    uri = app.builder.get_relative_uri(node["refdoc"], objects[documented].docname)
    return nodes.reference("", "", contnode, internal=True, refuri=f"{uri}#{objects[documented].node_id}")


def meant(target: str, node: addnodes.pending_xref, names: list[str]) -> str | None:
    """Of documented names that end alike, the one that is meant.

    A path means the same object. A bare name means the attribute of the class around it; else one of the package around
    it; else the one that is nearest to the top.
    """
    if "." in target:
        names = [name for name in names if exists(target, node) and resolve_name(name) is resolve_name(target)]
    elif target in attributes_around(node):
        names = [name for name in names if name == f"{node['py:module']}.{node['py:class']}.{target}"]
    package = f"{node.get('py:module')}."
    return min(names, key=lambda name: (not name.startswith(package), name.count("."), name), default=None)


def attributes_around(node: addnodes.pending_xref) -> set[str]:
    """The attributes of the class in whose docstring a name stands, those too that are only annotated."""
    if not node.get("py:class"):
        return set()
    around: Any = resolve_name(f"{node['py:module']}:{node['py:class']}")
    return {*dir(around), *(key for base in around.__mro__ for key in getattr(base, "__annotations__", {}))}


def shorten_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A dataclass shows a default that it makes anew for each object as <factory>, which Sphinx cannot parse."""
    del app, what, name, obj, options
    return signature and signature.replace("<factory>", "..."), returns


def exists(name: str, node: addnodes.pending_xref) -> bool:
    """Whether Python finds a name: a whole path, an attribute of the class around it, or a name in a module of ours."""
    if name.startswith("roialign."):
        try:
            resolve_name(name)
        except (AttributeError, ImportError):
            return False
        return True
    name = name.partition("[")[0]
    modules = [module for key, module in list(sys.modules.items()) if key.startswith("roialign.")]
    return name in attributes_around(node) or any(hasattr(place, name) for place in [builtins, *modules])
