"""Sphinx configuration of the API reference; docs/site_pages.py adds the pages to the site."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.ext.intersphinx import missing_reference

import pairsim

project = "pairsim"
author = "The pairsim developers"
version = release = pairsim.__version__
project_copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest", "sphinx.ext.intersphinx"]
html_theme = "furo"
html_title = f"pairsim {release}: API reference"
html_theme_options = {
    **{"source_view_link": "", "top_of_page_buttons": []},
    "announcement": '<a href="../index.html">pairsim: guide, tutorials, how-tos</a>',  # link back to the site
}
html_show_sourcelink = False
html_static_path = ["../theme"]
html_js_files = ["accessible.js"]
html_favicon = "../images/favicon.svg"
html_copy_source = False

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autoclass_content = "class"
add_module_names = False
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
default_role = "code"

# Show the names of these unions instead of their members.
_ALIASES = ("IdName", "Ids", "ImageTensorLike", "Images", "PictureLike", "Values")
autodoc_type_aliases = {name: name for name in _ALIASES}

# Every name in a signature must resolve to a link, aliases to types.rst. Exceptions: names imported for type checking
# only, and names that are in no inventory here.
nitpicky = True
nitpick_ignore = [("py:class", name) for name in ("Axes", "Figure", "Styler", "npt.NDArray", "pd.DataFrame")]
nitpick_ignore_regex = [
    (r"py:class", r"numpy\.(u?int\d*|integer|float\d+|floating|bool|number|str_)"),
    (r"py:class", r"numpy\._typing\..*"),
]

# Local copies of the inventories, so that the build needs no network.
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable/", "inventories/numpy.inv"),
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
    "torch": ("https://pytorch.org/docs/stable/", "inventories/torch.inv"),
}


def _plain_backticks(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Render single backticks in docstrings as code."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(r"(?<!`)`([^`]+)`(?![`_])", r"``\1``", line)


_SHORT_NAMES = {"Tensor": "torch.Tensor", "nn.Module": "torch.nn.Module"}


def _aliases_by_name(
    _app: object, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show the name of a type alias instead of its internal representation in Sphinx."""
    found = [
        None if text is None else re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)
        for text in (signature, returns)
    ]
    return found[0], found[1]


def _spelled_out(app: object, env: object, node: object, contnode: object) -> object:
    """Resolve names in signatures that the source imports under a short name."""
    target = node.get("reftarget")  # type: ignore[attr-defined]
    if target not in _SHORT_NAMES:
        return None
    node["reftarget"] = _SHORT_NAMES[target]  # type: ignore[index]
    return missing_reference(app, env, node, contnode)


def _without_object(_app: object, doctree: object) -> None:
    """Remove the line "Bases: object"."""
    for paragraph in list(doctree.findall(nodes.paragraph)):  # type: ignore[attr-defined]
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)


def setup(app: object) -> None:
    """Register the hooks; called by Sphinx."""
    app.connect("autodoc-process-docstring", _plain_backticks)  # type: ignore[attr-defined]
    app.connect("autodoc-process-signature", _aliases_by_name)  # type: ignore[attr-defined]
    app.connect("doctree-read", _without_object)  # type: ignore[attr-defined]
    app.connect("missing-reference", _spelled_out)  # type: ignore[attr-defined]
