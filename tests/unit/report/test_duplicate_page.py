from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from shown_duplicates import HOSTILE, write_archive, write_folder

from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.errors import RunError
from pairsim.report import duplicate_page
from pairsim.report.duplicate_page import write_duplicate_page


def written(report: DuplicateReport, folder: Path, out: Path) -> str:
    write_duplicate_page(report, folder, out, progress=False)
    return out.read_text(encoding="utf-8")


def data_of(page: str) -> list[list[str]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    clusters: list[list[str]] = json.loads(found[1])["clusters"]
    return clusters


def test_pictures_kinds_and_facts_are_on_the_page(tmp_path: Path) -> None:
    report = write_folder(tmp_path / "pics")
    page = written(report, tmp_path / "pics", tmp_path / "page.html")
    assert page.count('<img src="data:image/jpeg;base64,') == 12 + 4  # pictures, and differences where there are some
    for text in (
        "<title>Duplicates in pics</title>",
        "<strong>8</strong> duplicates in 2 clusters, of 12 pictures",
        "Cluster 1 of 2: first.png",
        "320 x 240, 99 bytes, PNG, lossless, taken 2024:05:01",
        "Why this one: most pixels: 320 x 240",
        "<p>cropped to 73 %, similarity 0.9900</p>",
        "<p>identical file</p>",
        "<p>similar, similarity 0.9700</p>",
        "<li>bad\\u202e.png: It is damaged.</li>",
        "--decisions decisions.json</code>",
        "near, similarity 0.9900",
        "Mean difference 0.0 of 255, largest 0 (mirrored).",
        "1 group of pictures that are similar but not the same",
        "frame3.png",
    ):
        assert text in page, text
    assert data_of(page) == [[one.keep, *(member.file for member in one.members)] for one in report.clusters]
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # nothing from elsewhere
    assert "default-src 'none'" in page


def test_pictures_compared_against_always_stay(tmp_path: Path) -> None:
    page = written(write_archive(tmp_path), tmp_path / "pics", tmp_path / "page.html")
    said = "It always stays, as it is of the folder compared against."
    first, second, third = page.split("<li class=")[1:]
    assert said in first
    assert "<input" not in first
    assert all('<input type="checkbox" >' in one and said not in one for one in (second, third))
    own = written(write_folder(tmp_path / "own"), tmp_path / "own", tmp_path / "page.html")
    assert own.count('<input type="checkbox" checked> keep') == 2
    assert said not in own


def test_names_stay_text(tmp_path: Path) -> None:
    page = written(write_folder(tmp_path / "pics"), tmp_path / "pics", tmp_path / "page.html")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert not [letter for letter in page if unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter != "\n"]
    for text in (r"bidi\u202egnp.png", r"esc\x1b[2J\n.png", r"caf\udce9.png", r"bad\u202e.png"):
        assert text in page
    assert data_of(page)[1] == list(HOSTILE)  # the script has them as they are


def test_no_cluster_is_left_out_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = write_folder(tmp_path / "pics")
    copies = tuple(Duplicate(file=f"copy{number}.png", similarity=1.0, kind="near") for number in range(5))
    more = tuple(DuplicateCluster(keep=f"more{number}.png", members=copies[:2]) for number in range(4))
    many = replace(report, clusters=(*report.clusters, DuplicateCluster(keep="first.png", members=copies), *more))
    monkeypatch.setattr(duplicate_page, "MAX_CLUSTERS", 3)
    monkeypatch.setattr(duplicate_page, "MAX_PICTURES", 4)
    monkeypatch.setattr(duplicate_page, "MAX_LISTED", 7)
    page = written(many, tmp_path / "pics", tmp_path / "page.html")
    assert "Pictures are shown of the first 3 clusters" in page
    assert "2 more, without pictures: sub/part.png, sub/brighter.png" in page
    assert "<li>more0.png (keep): copy0.png, copy1.png</li>" in page
    assert "more2.png" not in page
    assert "no room for the names of 6 more files" in page
    assert "<li>frame2.png, frame3.png</li>" in page
    assert len(data_of(page)) == 3
    assert len(data_of(page)[0]) == 6
    assert page.count("It can no longer be read.") == 3  # copy0 to copy2
    monkeypatch.setattr(duplicate_page, "MAX_BYTES", 1)
    assert "Pictures are shown of the first 1 clusters" in written(many, tmp_path / "pics", tmp_path / "page.html")


def test_no_duplicates(tmp_path: Path) -> None:
    page = written(DuplicateReport(num_images=3, clusters=(), threshold=0.99), tmp_path, tmp_path / "page.html")
    assert "There are no duplicates." in page
    assert "<strong>0</strong> duplicates in 0 clusters, of 3 pictures" in page


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    report = DuplicateReport(num_images=3, clusters=(), threshold=0.99)
    with pytest.raises(ValueError, match=r"out to end in \.html, got page\.pdf"):
        write_duplicate_page(report, tmp_path, tmp_path / "page.pdf")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(RunError, match="Could not write"):
        write_duplicate_page(report, tmp_path, tmp_path / "page.html")
