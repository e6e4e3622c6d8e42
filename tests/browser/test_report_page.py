"""The report in a browser: no errors, no requests, the slider shows the counts of `evaluate`, and it is accessible."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings
from report_data import labelled_images

from pairsim import SimilarityModel, evaluate
from pairsim.report import write_report

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(BROWSER_MISSING), reason=BROWSER_MISSING)]


@pytest.fixture(scope="module")
def report(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("reports") / "report.html"
    write_report(tiny_run, labelled_images(4), file, names=["a", "<b>", "c", "d"])
    return file


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "light"), (1200, "dark")])
def test_opens_without_errors_and_is_accessible(report: Path, width: int, scheme: str) -> None:
    with open_page(report.as_uri(), width=width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("img").evaluate_all("found => found.every(image => image.naturalWidth > 0)")
        assert serious_findings(page) == []


@pytest.mark.parametrize(("width", "scheme"), [(1200, "dark"), (400, "light"), (400, "dark")])
def test_rates_between_many_groups_are_readable(tiny_run: Path, tmp_path: Path, width: int, scheme: str) -> None:
    images = labelled_images(60, 240)
    groups = [f"a long name of group {label % 5}" for label in images.targets]
    write_report(tiny_run, images, tmp_path / "r.html", groups=groups)
    with open_page((tmp_path / "r.html").as_uri(), width=width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # it scrolls inside of its region
        texts = page.locator(".matrix text")
        sizes = texts.evaluate_all(
            "found => found.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().d)"
        )
        assert page.locator(".matrix .rate").count() == 15
        assert min(size for size in sizes if size > 0) >= 8.5
        assert page.evaluate(CONTRAST) >= 4.5
        assert serious_findings(page) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_tables_are_readable(tiny_run: Path, tmp_path: Path, width: int) -> None:
    images = labelled_images(60, 240)
    groups = [("women, 20 to 40 years", "men, older")[label % 2] for label in images.targets]
    names = [f"Packages.Juice.Bravo-{number}-Apple-Juice" for number in range(60)]
    write_report(tiny_run, images, tmp_path / "r.html", names=names, groups=groups)
    with open_page((tmp_path / "r.html").as_uri(), width=width) as (page, problems):
        assert problems == []
        widths = page.locator("#classes tbody td:first-child").evaluate_all("found => found.map(c => c.offsetWidth)")
        assert min(widths) >= 100  # a word of a name, not a letter
        captions = page.locator("caption").evaluate_all("all => all.map(c => c.getBoundingClientRect().right)")
        assert max(captions) <= width
        regions = page.locator(".scroll").evaluate_all("found => found.map(r => r.scrollWidth - r.clientWidth)")
        assert width < 1000 or max(regions) == 0  # nothing is cut on a wide screen
        header, summary = (page.locator(name).first.bounding_box() for name in ("header", ".summary"))
        assert header is not None
        assert summary is not None
        assert summary["y"] > header["y"] + header["height"] + 8


CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (parts) => parts
    .map((part) => part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0.05);
  const page = rgb(getComputedStyle(document.body).backgroundColor);
  const ratios = Array.from(document.querySelectorAll(".matrix .cell"), (cell) => {
    const look = getComputedStyle(cell), share = Number(look.fillOpacity), fill = rgb(look.fill);
    const ground = light(fill.map((part, k) => part * share + page[k] * (1 - share)));
    const text = light(rgb(getComputedStyle(cell.nextElementSibling).fill));
    return Math.max(ground, text) / Math.min(ground, text);
  });
  return Math.min(...ratios);
}"""
"""The lowest contrast of a rate with its cell."""


def test_slider_agrees_with_evaluate(report: Path, tiny_run: Path) -> None:
    model = SimilarityModel.from_pretrained(tiny_run)
    with open_page(report.as_uri()) as (page, problems):
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


def test_table_sorts_by_keyboard(report: Path) -> None:
    with open_page(report.as_uri()) as (page, problems):
        head = page.locator("table.sortable th").first
        for direction, expected in (("descending", "d"), ("ascending", "<b>")):
            head.locator("button").press("Enter")
            assert head.get_attribute("aria-sort") == direction
            assert page.locator("table.sortable tbody td").first.inner_text() == expected
        assert problems == []
