"""The page on duplicates in a browser: no errors, no requests, accessible, and decided by keyboard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import BROWSER_MISSING, CHROMIUM, open_page, serious_findings
from shown_duplicates import HOSTILE, write_archive, write_folder

from pairsim.report.duplicate_page import write_duplicate_page

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(BROWSER_MISSING), reason=BROWSER_MISSING)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("duplicates")
    write_duplicate_page(write_folder(folder / "pics"), folder / "pics", folder / "page.html")
    return (folder / "page.html").as_uri()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "light"), (1200, "dark"), (400, "dark")])
def test_duplicates_open_without_errors_and_are_accessible(address: str, width: int, scheme: str) -> None:
    with open_page(address, width=width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").evaluate_all("found => found.every(image => image.naturalWidth > 0)")
        assert serious_findings(page) == []


def test_duplicates_are_decided_by_keyboard(address: str, tmp_path: Path) -> None:
    with open_page(address) as (page, problems):
        focused = "document.activeElement.closest('li, section').innerText"
        assert page.locator("#status").inner_text() == "2 to keep, 8 duplicates."
        page.keyboard.press("j")
        assert page.evaluate(focused).startswith("Cluster 1 of 2: first.png")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")  # the only one that is kept
        assert page.locator("#status").inner_text().startswith("One picture of a cluster has to be kept. 2 to keep")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        assert page.evaluate(focused).startswith("keep")
        assert page.locator("#status").inner_text() == "3 to keep, 7 duplicates."
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("x")
        assert page.evaluate(focused).startswith("duplicate")
        page.keyboard.press("j")
        assert page.evaluate(focused).startswith("Cluster 2 of 2: <img src=x onerror=alert(1)>.png")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid"
        page.keyboard.press("k")
        assert page.evaluate(focused).startswith("Cluster 1 of 2")
        with page.expect_download() as download:
            page.locator("#download").click()
        download.value.save_as(tmp_path / "decisions.json")
        found = json.loads((tmp_path / "decisions.json").read_bytes())
        assert found["format"] == "pairsim-decisions"
        assert found["keep"] == ["sub/mirrored.png", HOSTILE[0]]
        assert found["go"][0] == "first.png"
        assert found["go"][-3:] == list(HOSTILE[1:])  # with a name that is not UTF-8
        page.locator("#keys").uncheck()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "keys"
        assert problems == []


def test_pictures_of_the_folder_compared_against_are_not_decided(tmp_path: Path) -> None:
    write_duplicate_page(write_archive(tmp_path), tmp_path / "pics", tmp_path / "page.html")
    archived = str(tmp_path / "archive/first.png")
    with open_page((tmp_path / "page.html").as_uri()) as (page, problems):

        def decisions() -> tuple[list[str], list[str]]:
            found = json.loads(page.locator("#decisions").input_value())
            return found["keep"], found["go"]

        assert page.locator(".decide input").count() == 2
        assert decisions() == ([archived], ["copy.png", "other.png"])
        page.keyboard.press("j")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("x")
        assert decisions() == ([archived, "copy.png"], ["other.png"])
        page.keyboard.press("x")
        assert page.locator("#status").inner_text() == "1 to keep, 2 duplicates."  # nothing more has to be kept
        assert decisions() == ([archived], ["copy.png", "other.png"])
        assert page.locator(".side > li").first.get_attribute("class") == "stays"
        assert problems == []


def test_duplicates_can_be_read_without_scripts(address: str) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(address)
        assert page.locator("img").count() == 16
        assert not page.locator("#tools").is_visible()
        assert not page.locator(".decide").first.is_visible()
        assert "Cluster 2 of 2" in page.locator("main").inner_text()
        browser.close()
