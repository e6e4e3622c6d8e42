"""MkDocs hooks: add the API reference, the command-line reference and the changelog to the site.

A link to `api:pairsim.Trainer` is resolved to the entry of that name in the API reference, using its `objects.inv`. An
unknown name fails the build.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel
from sphinx.util.inventory import InventoryFile

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
API = Path(os.environ.get("PAIRSIM_API_PAGES", ROOT / "build" / "api"))
"""Output folder of Sphinx with the API reference."""

_API_LINK = re.compile(r"\]\(api:([\w.]+)\)")
_places: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    if not (API / "objects.inv").is_file():
        raise PluginError(f"Expected the API reference in {API}, found none. Build it first with: make docs")
    for path in sorted(API.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(API).parts):
            name = f"api/{path.relative_to(API).as_posix()}"
            # set explicitly, because exclude_docs excludes api/ with the sources
            files.append(File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.INCLUDED))
    files.append(File.generated(config, "reference/command-line.md", content=command_line_page()))
    for name, source in (("changelog.md", "CHANGELOG.md"), ("contributing.md", "CONTRIBUTING.md")):
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    _places.clear()
    _places.update(api_places())
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Resolve `api:` links."""

    def resolved(match: re.Match[str]) -> str:
        place = _places.get(match[1])
        if place is None:
            raise PluginError(f"{page.file.src_uri} links to api:{match[1]}, which is not in the API reference.")
        return f"]({posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or '.')})"

    return _API_LINK.sub(resolved, markdown)


def api_places() -> dict[str, str]:
    """Return the location of each documented name, as `api/page.html#name`."""
    with (API / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "api", posixpath.join)
    return {
        name: item[2] if isinstance(item, tuple) else item.uri  # a tuple before Sphinx 8.2
        for kind, items in inventory.items()
        if kind.startswith("py:")
        for name, item in items.items()
    }


def command_line_page() -> str:
    """Return the help of every command as one Markdown page."""
    from pairsim.cli.app import make_app

    with mock.patch.object(sys, "argv", ["pairsim"]):  # else the usage lines name the program that builds the site
        body = make_app().generate_docs(output_format="markdown", usage_name="pairsim")
    note = "Generated from the `--help` of the commands.\n"
    return re.sub(r"\A# pairsim\n", f"# Command line\n\n{note}", body)
