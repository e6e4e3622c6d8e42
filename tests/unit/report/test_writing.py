from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
import torch
from report_data import counts_of, labelled_images

from pairsim import SimilarityModel
from pairsim.errors import DataError, RunError
from pairsim.report import write_report


def test_names_stay_text(tiny_run: Path, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    names = [bad, "a'b\"c", "</style>", "&amp;"]
    write_report(tiny_run, labelled_images(4), tmp_path / "r.html", names=names, title=bad, source=bad, data=bad)
    page = (tmp_path / "r.html").read_text()
    assert bad not in page
    assert html.escape(bad) in page
    assert page.count("<script") == 2
    assert page.count("</style>") == 1


def test_nothing_is_loaded_from_elsewhere(tiny_run: Path, tmp_path: Path) -> None:
    write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "http://" not in page
    assert "https://" not in page


def test_model_folder_without_a_log(tiny_run: Path, tmp_path: Path) -> None:
    SimilarityModel.from_pretrained(tiny_run).save_pretrained(tmp_path / "alone")
    write_report(tmp_path / "alone", labelled_images(4), tmp_path / "r.html")
    assert "without the log of its training" in (tmp_path / "r.html").read_text()


def test_a_loaded_model_is_used_and_left_where_it_is(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = write_report(tiny_run, labelled_images(4), tmp_path / "read.html").figures
    model = SimilarityModel.from_pretrained(tiny_run)
    monkeypatch.setattr(SimilarityModel, "from_pretrained", None)
    found = write_report(tiny_run, labelled_images(4), tmp_path / "given.html", model=model, device="cuda:99").figures
    assert found.to_dict() == expected.to_dict()
    pages = [(tmp_path / name).read_text() for name in ("read.html", "given.html")]
    assert len({re.sub(r"Made .* UTC", "", page) for page in pages}) == 1


def test_bad_input(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected out to end in \.html, got r\.pdf"):
        write_report(tiny_run, labelled_images(4), tmp_path / "r.pdf")
    with pytest.raises(DataError, match="Expected a name for each of 4 classes, got 2"):
        write_report(tiny_run, labelled_images(4), tmp_path / "r.html", names=["a", "b"])
    with pytest.raises(DataError, match="Expected at least two images"):
        write_report(tiny_run, labelled_images(1, count=1), tmp_path / "r.html")
    with pytest.raises(RunError, match="Expected a model or run folder"):
        write_report(tmp_path / "none", labelled_images(4), tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        write_report(tiny_run, labelled_images(4), tmp_path / "file" / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_model_without_a_threshold(tiny_run: Path, tmp_path: Path) -> None:
    model = SimilarityModel.from_pretrained(tiny_run)
    model.operating_point = None
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    model.save_pretrained(tmp_path / "falling")
    with pytest.raises(DataError, match="Expected a model with a threshold, got nan"):
        write_report(tmp_path / "falling", labelled_images(4), tmp_path / "r.html")


def test_a_saved_copy_of_the_model_gives_the_same_counts(tiny_run: Path, tmp_path: Path) -> None:
    SimilarityModel.from_pretrained(tiny_run).save_pretrained(tmp_path / "copy")
    pages = []
    for name, folder in (("run", tiny_run), ("copy", tmp_path / "copy")):
        write_report(folder, labelled_images(4), tmp_path / f"{name}.html")
        pages.append(counts_of((tmp_path / f"{name}.html").read_text()))
    assert pages[0] == pages[1]
