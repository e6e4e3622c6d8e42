"""The site in a browser: search, pictures, narrow and dark, and what axe finds."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings
from built_site import SITE_MISSING, built_site

MISSING = BROWSER_MISSING or SITE_MISSING
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
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(built_site(tmp_path_factory)))
    )
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
