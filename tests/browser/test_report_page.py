"""The report in a browser: no errors, no requests, the slider shows the counts of `evaluate`, and it is accessible."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings
from report_data import labelled_images, trained_run

from pairsim import SimilarityModel, evaluate
from pairsim.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(BROWSER_MISSING), reason=BROWSER_MISSING)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = trained_run(tmp_path_factory.mktemp("runs"))
    write_report(folder, labelled_images(4), folder / "report.html", names=["a", "<b>", "c", "d"])
    return folder


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "light"), (1200, "dark")])
def test_opens_without_errors_and_is_accessible(run: Path, width: int, scheme: str) -> None:
    with open_page((run / "report.html").as_uri(), width=width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").evaluate_all("found => found.every(image => image.naturalWidth > 0)")
        assert serious_findings(page) == []


def test_slider_agrees_with_evaluate(run: Path) -> None:
    model = SimilarityModel.from_pretrained(run)
    with open_page((run / "report.html").as_uri()) as (page, problems):
        own = evaluate(model, labelled_images(4))
        assert page.locator("#fmr").inner_text() == f"{own.fmr:.3%}".replace("%", " %")
        slider = page.locator("#threshold")
        slider.focus()
        page.keyboard.press("Home")
        assert page.locator("#false-non-matches").inner_text() == "0"
        for _ in range(5):
            page.keyboard.press("PageUp")
        threshold = float(page.locator("#threshold-value").input_value())
        found = evaluate(model, labelled_images(4), threshold=threshold)
        negatives = found.num_pairs - found.num_positive
        assert page.locator("#false-matches").inner_text() == f"{round(found.fmr * negatives):,}"
        assert page.locator("#false-non-matches").inner_text() == f"{round(found.fnmr * found.num_positive):,}"
        page.locator("#own-threshold").click()
        assert page.locator("#fmr").inner_text() == f"{own.fmr:.3%}".replace("%", " %")
        assert problems == []


def test_table_sorts_by_keyboard(run: Path) -> None:
    with open_page((run / "report.html").as_uri()) as (page, problems):
        head = page.locator("table.sortable th").first
        for direction, expected in (("descending", "d"), ("ascending", "<b>")):
            head.locator("button").press("Enter")
            assert head.get_attribute("aria-sort") == direction
            assert page.locator("table.sortable tbody td").first.inner_text() == expected
        assert problems == []
