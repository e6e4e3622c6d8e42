"""A headless Chromium of the system's, with an empty profile and no network but what a test serves itself."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PACKAGES = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
BROWSER_MISSING = (
    f"needs {' and '.join(_PACKAGES)}: pip install 'pairsim[browser]'"
    if _PACKAGES
    else ("" if CHROMIUM else "needs Chromium: apt-get install chromium")
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@contextlib.contextmanager
def open_page(url: str, *, width: int = 1200, scheme: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """A page, and what went wrong in it so far: console errors, exceptions, requests to elsewhere."""
    from playwright.sync_api import sync_playwright

    home = url.split("/", 3)[:3]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
            page = context.new_page()
            problems: list[str] = []
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))

            def look_at(request: Any) -> None:
                if not request.url.startswith(("data:", "blob:")) and request.url.split("/", 3)[:3] != home:
                    problems.append(f"request to {request.url}")

            page.on("request", look_at)
            page.goto(url, wait_until="load")
            yield page, problems
        finally:
            browser.close()


def serious_findings(page: Any) -> list[str]:
    """What axe finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{finding['id']}: {finding['help']} ({node['html'][:120]})"
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]
