"""The page on a gallery in a browser: no errors, no requests, readable in any width, and accessible."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from browser import BROWSER_MISSING, open_page, serious_findings
from searched_identities import with_conditions

from pairsim.report import write_identification_report

pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(BROWSER_MISSING), reason=BROWSER_MISSING)]


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (400, "light"), (1200, "dark"), (400, "dark")])
@pytest.mark.parametrize("threshold", [0.62, math.nan])
def test_opens_without_errors_and_is_accessible(tmp_path: Path, width: int, scheme: str, threshold: float) -> None:
    file = tmp_path / "page.html"
    write_identification_report(with_conditions(threshold=threshold), file, gallery="a <b>" + "c" * 90, data="later")
    with open_page(file.as_uri(), width=width, scheme=scheme) as (page, problems):
        assert problems == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_findings(page) == []
        assert page.locator("svg.chart").count() == 2
        # names of figures are read in words, not letter below letter
        heads = page.locator("#errors tbody th")
        assert all(box["width"] >= 90 for box in (heads.nth(k).bounding_box() for k in range(heads.count())))
