"""The site in a browser: search, pictures, narrow and dark, and what axe finds."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings

ROOT = Path(__file__).parents[2]
ABSENT = [name for name in ("sphinx", "mkdocs", "material", "furo") if find_spec(name) is None]
MISSING = BROWSER_MISSING or (f"needs {', '.join(ABSENT)}: pip install 'pairsim[docs]'" if ABSENT else "")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
# Sphinx puts a method's <dl> inside that of its class, which no option changes.
OF_SPHINX = "definition-list"
PAGES = (
    *("", "how-to/", "tutorials/mnist/", "concepts/probabilities/", "architecture/"),
    *("reference/command-line/", "benchmarks/", "api/pairsim.html"),
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PAIRSIM_API_PAGES": str(folder / "api"), "NO_MKDOCS_2_WARNING": "1"}
    for command in (
        ["sphinx", "-q", "-b", "html", "docs/api", str(folder / "api")],
        ["mkdocs", "build", "-q", "-d", str(folder / "site")],
    ):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_whole_and_accessible(address: str, name: str, width: int, scheme: str) -> None:
    with open_page(address + name, width=width, scheme=scheme) as (page, problems):
        page.wait_for_load_state("networkidle")
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = "found => found.filter(image => image.offsetParent).every(image => image.naturalWidth > 0)"
        assert page.locator("img:not([loading=lazy])").evaluate_all(shown)
        assert [found for found in serious_findings(page) if not found.startswith(OF_SPHINX)] == []


def test_search_finds_the_threshold(address: str) -> None:
    with open_page(address) as (page, problems):
        page.locator("input.md-search__input").click()
        page.keyboard.type("threshold")
        page.wait_for_selector(".md-search-result__item")
        assert "threshold" in page.locator(".md-search-result__list").inner_text().lower()
        assert problems == []
