"""How the API reference is built: Sphinx reads the docstrings; see docs/site_pages.py for how it joins the guide."""

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
    "announcement": '<a href="../index.html">pairsim: guide, tutorials, how-tos</a>',  # the way back, from every page
}
html_show_sourcelink = False
html_static_path = ["../theme"]
html_js_files = ["accessible.js"]
html_favicon = "../images/favicon.svg"
html_copy_source = False

autodoc_member_order = "alphabetical"
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

# Long unions are shown by their names, as in the source.
_ALIASES = ("IdName", "Ids", "ImageTensorLike", "Images", "PictureLike", "Values")
autodoc_type_aliases = {name: name for name in _ALIASES}

# Every name in a signature must lead somewhere (aliases to the page of types), but for those of packages that are
# imported for type checking only, or of which no inventory here tells.
nitpicky = True
nitpick_ignore = [("py:class", name) for name in ("Axes", "Figure", "Styler", "npt.NDArray", "pd.DataFrame")]
nitpick_ignore_regex = [
    (r"py:class", r"numpy\.(u?int\d*|integer|float\d+|floating|bool|number|str_)"),
    (r"py:class", r"numpy\._typing\..*"),
]

# Copies of the projects' own inventories, so that the build needs no network.
intersphinx_mapping = {
    "numpy": ("https://numpy.org/doc/stable/", "inventories/numpy.inv"),
    "python": ("https://docs.python.org/3/", "inventories/python.inv"),
    "torch": ("https://pytorch.org/docs/stable/", "inventories/torch.inv"),
}


def _plain_backticks(_app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Docstrings are written with single backticks, which mean code here as everywhere else."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(r"(?<!`)`([^`]+)`(?![`_])", r"``\1``", line)


_SHORT_NAMES = {"Tensor": "torch.Tensor", "nn.Module": "torch.nn.Module"}


def _aliases_by_name(
    _app: object, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Unions that name an alias show its name, not how Sphinx holds it."""
    found = [
        None if text is None else re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)
        for text in (signature, returns)
    ]
    return found[0], found[1]


def _spelled_out(app: object, env: object, node: object, contnode: object) -> object:
    """Find names that a signature has as the source imports them."""
    target = node.get("reftarget")  # type: ignore[attr-defined]
    if target not in _SHORT_NAMES:
        return None
    node["reftarget"] = _SHORT_NAMES[target]  # type: ignore[index]
    return missing_reference(app, env, node, contnode)


def _without_object(_app: object, doctree: object) -> None:
    """That a class is an object needs no line."""
    for paragraph in list(doctree.findall(nodes.paragraph)):  # type: ignore[attr-defined]
        if paragraph.astext() == "Bases: object":
            paragraph.parent.remove(paragraph)


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _plain_backticks)  # type: ignore[attr-defined]
    app.connect("autodoc-process-signature", _aliases_by_name)  # type: ignore[attr-defined]
    app.connect("doctree-read", _without_object)  # type: ignore[attr-defined]
    app.connect("missing-reference", _spelled_out)  # type: ignore[attr-defined]
