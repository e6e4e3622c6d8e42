"""What MkDocs adds to the pages in this folder: the API reference, the command line's own help, and the changelog.

A link to `api:pairsim.Trainer` leads to that name in the API reference, as its `objects.inv` has it; a name that is not
there fails the build.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel
from sphinx.util.inventory import InventoryFile

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
API = Path(os.environ.get("PAIRSIM_API_PAGES", ROOT / "build" / "api"))
"""Where Sphinx has put the API reference."""

_API_LINK = re.compile(r"\]\(api:([\w.]+)\)")
_places: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, not written."""
    if not (API / "objects.inv").is_file():
        raise PluginError(f"Expected the API reference in {API}, found none. Build it first: make docs")
    for path in sorted(API.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(API).parts):
            name = f"api/{path.relative_to(API).as_posix()}"
            # included although api/, where its sources are, is excluded
            files.append(File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.INCLUDED))
    files.append(File.generated(config, "reference/command-line.md", content=command_line_page()))
    for name, source in (("changelog.md", "CHANGELOG.md"), ("contributing.md", "CONTRIBUTING.md")):
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    _places.clear()
    _places.update(api_places())
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Resolve links to names of the API."""

    def resolved(match: re.Match[str]) -> str:
        place = _places.get(match[1])
        if place is None:
            raise PluginError(f"{page.file.src_uri} links to api:{match[1]}, which the API reference does not have.")
        return f"]({posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or '.')})"

    return _API_LINK.sub(resolved, markdown)


def api_places() -> dict[str, str]:
    """Where each name is described, as `api/page.html#name`."""
    with (API / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "api", posixpath.join)
    return {
        name: item[2] if isinstance(item, tuple) else item.uri  # a tuple before Sphinx 8.2
        for kind, items in inventory.items()
        if kind.startswith("py:")
        for name, item in items.items()
    }


def command_line_page() -> str:
    """The help of every command, as the commands give it."""
    from pairsim.cli.app import make_app

    body = make_app().generate_docs(output_format="markdown", usage_name="pairsim")
    note = "Made from the commands' own `--help`.\n"
    return re.sub(r"\A# pairsim\n", f"# Command line\n\n{note}", body)
