from __future__ import annotations

import dataclasses
import html
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from searched_identities import search_report, with_conditions

from pairsim.errors import RunError
from pairsim.report import write_identification_report
from pairsim.report.identification_page import curves, points


def percent(rate: float) -> str:
    return f"{rate:.2%}".replace("%", " %")


def text_of(file: Path) -> str:
    """The text of a page, without its markup and with single blanks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", file.read_text().split("</style>")[1])).split())


def test_the_page_states_what_a_test_report_has_to(tmp_path: Path) -> None:
    report = with_conditions(threshold=0.62)
    write_identification_report(report, tmp_path / "p.html", gallery="galleries/shop", data="later")
    text = text_of(tmp_path / "p.html")
    assert text.count("Identification report: shop") == 1
    for row, rate, interval, numbers in (
        ("FPIR: not enrolled, but assigned an identity", report.fpir, report.fpir_interval, "405 20"),
        ("FNIR: enrolled, but not found", report.fnir, report.fnir_interval, "336 21"),
        ("Rank-1: the right identity first, at any threshold", report.rank_1, report.rank_1_interval, "336 21"),
    ):
        assert f"{row} {percent(rate)} {percent(interval[0])} to {percent(interval[1])} {numbers}" in text
    for stated in (
        "336 searches for enrolled identities and 405 for others, in a gallery of 21 identities: later.",
        "Of 1,000 pictures of identities that are not enrolled, "
        f"about {report.fpir * 1000:,.1f} are assigned an enrolled identity.",
        "Decision an image is compared with the mean embedding of each enrolled identity;",
        "Threshold 0.6200, chosen for an FPIR of at most 0.1",
        "Identities enrolled 21, with 105 pictures: 3 to 8 of each, median 5 ",
        "Failures to enrol 2 could not be read (1.87 %) ",
        "Failures to acquire 3 could not be read (0.40 %); as searches that find no identity: "
        "FPIR 6.00 %, FNIR 27.00 % ",
        "pairsim gallery evaluate galleries/shop later --run RUN --out report.html",
    ):
        assert stated in text
    page = (tmp_path / "p.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_tables_have_the_points_of_the_curves(tmp_path: Path) -> None:
    report = with_conditions(threshold=0.62)
    write_identification_report(report, tmp_path / "p.html")
    text = text_of(tmp_path / "p.html")
    shown = points(report)
    for target in (0.01, 0.1, 0.5):
        best = max((at for at in report.curve if at.fpir <= target), key=lambda at: at.fpir)
        assert any(at.fpir == best.fpir for at in shown)
    for at in shown:
        low, high = at.fnir_interval
        assert f"{percent(at.fnir)} {percent(low)} to {percent(high)}" in text
    for rank in (1, 2, 5, 10, 20):
        assert f" {rank} {percent(report.cmc[rank - 1])} " in text


def test_charts_name_themselves_and_the_gallery() -> None:
    report = with_conditions(threshold=0.62)
    (errors, about), (match, about_ranks) = curves(report)
    assert "For a gallery of 21 identities, from 336 mated and 405 non-mated searches." in about
    assert "For a gallery of 21 identities, from 336 mated searches" in about_ranks
    root = ET.fromstring(errors)
    texts = {element.text for element in root.iter("text")}
    assert {"threshold", "all thresholds", "95 % intervals", "false positive identification rate, FPIR"} <= texts
    assert {"0.1 %", "1 %", "10 %", "100 %"} <= texts
    (band,) = [element for element in root.iter("polygon") if element.attrib["class"] == "band"]
    assert len(band.attrib["points"].split()) == len(report.band)
    assert f"rank-1 {percent(report.rank_1)}" in {element.text for element in ET.fromstring(match).iter("text")}


def test_intervals_at_the_threshold_differ_from_the_curve() -> None:
    lines = re.findall(r'class="line (\w+)" points="([^"]+)"', curves(with_conditions(threshold=0.62))[0][0])
    assert [kind for kind, _ in lines] == ["first", "interval", "interval"]
    assert [len(points.split()) for _, points in lines[1:]] == [2, 2]


def test_a_gallery_without_errors_says_why_there_is_no_curve() -> None:
    perfect = search_report(gap=10.0, confused=False, threshold=0.62)
    assert not any(at.fpir and at.fnir for at in perfect.curve)
    assert ">at every threshold a rate is 0 %: outside the axes</text>" in curves(perfect)[0][0]
    assert "at every threshold" not in curves(with_conditions(threshold=0.62))[0][0]


def test_without_threshold_and_without_one_kind(tmp_path: Path) -> None:
    write_identification_report(with_conditions(threshold=math.nan), tmp_path / "p.html")
    text = text_of(tmp_path / "p.html")
    assert "No threshold: the gallery has none" in text
    assert "FPIR: not enrolled" not in text
    unknown_only = with_conditions(threshold=0.62, num_mated=0)
    write_identification_report(unknown_only, tmp_path / "p.html")
    text = text_of(tmp_path / "p.html")
    assert "Not measurable: there are no searches for enrolled identities." in text
    assert "FNIR: enrolled, but not found no such searches not computed 0 0" in text
    assert [title for title, _ in curves(with_conditions(threshold=0.62, num_non_mated=0)) if "FPIR" in title] == []
    write_identification_report(dataclasses.replace(unknown_only, conditions=None), tmp_path / "p.html")
    assert "Failures to enrol" not in text_of(tmp_path / "p.html")


def test_names_stay_text(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    write_identification_report(
        with_conditions(threshold=0.62), tmp_path / "p.html", gallery="g", data=name, title=name
    )
    page = (tmp_path / "p.html").read_text()
    assert name not in page
    assert html.escape(name) in page


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    report = with_conditions(threshold=0.62)
    with pytest.raises(ValueError, match=r"Expected out to end in \.html, got p\.pdf"):
        write_identification_report(report, tmp_path / "p.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError):
        write_identification_report(report, tmp_path / "file" / "p.html")
