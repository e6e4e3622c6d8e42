from __future__ import annotations

import dataclasses
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from report_data import counts_of, labelled_images

from pairsim import PairDataset, SimilarityModel, evaluate
from pairsim.errors import DataError, RunError
from pairsim.evaluation import RocCurve
from pairsim.report import write_report
from pairsim.report.charts import BOTTOM, LEFT, RIGHT, TOP
from pairsim.report.page import curves, training_curves


def test_every_threshold_has_the_counts_of_evaluate(tiny_run: Path, tmp_path: Path) -> None:
    write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    counts = counts_of((tmp_path / "r.html").read_text())
    model = SimilarityModel.from_pretrained(tiny_run)
    for index in (0, 7, len(counts["positive"]) // 2, len(counts["positive"]) - 1):
        threshold = round(counts["first"] + index / counts["perUnit"], 6)
        report = evaluate(model, labelled_images(4), threshold=threshold)
        assert counts["negative"][index] == round(report.fmr * counts["numNegative"])
        assert counts["numPositive"] - counts["positive"][index] == round(report.fnmr * counts["numPositive"])
    own = evaluate(model, labelled_images(4))
    assert counts["own"]["threshold"] == own.threshold
    assert counts["own"]["negative"] / counts["numNegative"] == pytest.approx(own.fmr, abs=1e-12)
    assert counts["positive"][0] == counts["numPositive"]


def test_figures_and_intervals_are_those_of_evaluate(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    expected = evaluate(SimilarityModel.from_pretrained(tiny_run), labelled_images(4))
    assert findings.figures == expected
    page = (tmp_path / "r.html").read_text()
    assert f"{expected.eer:.3%}".replace("%", " %") in page
    low, high = (f"{end:.3%}".replace("%", " %") for end in expected.intervals["eer"])
    assert f"{low} to {high}" in page


def test_errors_are_shown_with_their_pictures(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(4), tmp_path / "r.html", most=3)
    assert findings.num_false_matches == counts_of((tmp_path / "r.html").read_text())["own"]["negative"]
    shown = [*findings.false_matches, *findings.false_non_matches]
    assert 0 < len(shown) <= 6
    page = (tmp_path / "r.html").read_text()
    for error in shown:
        assert all(image.uri in page and f"Image {image.number}, class {image.name}" in page for image in error.images)
        assert f"similarity {error.similarity:.4f}" in page


def test_of_many_classes_those_with_the_most_errors_are_listed(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairsim.report.page.MAX_CLASSES", 3)
    findings = write_report(
        tiny_run, labelled_images(6), tmp_path / "r.html", names=[f"class-{number}" for number in range(6)]
    )
    page = (tmp_path / "r.html").read_text()
    table = page[page.index('class="sortable"') : page.index('id="errors"')]
    worst = sorted(findings.classes, key=lambda row: -(row.false_non_matches + row.false_matches))
    assert "The 3 classes with the most errors; 3 others are left out." in page
    assert [row.name in table for row in worst] == [True] * 3 + [False] * 3


def test_one_class_says_that_there_is_no_result(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(1), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "No result" in page
    assert "no pairs of different classes" in page
    assert "Not measurable: one kind of pairs is missing." in page
    assert findings.num_suspects == 0


def test_unseen_classes_and_training_images_are_named(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / "data.json").write_text(json.dumps({"data": "d", "class_names": ["0", "1", "2", "3"]}))
    write_report(run, labelled_images(4), tmp_path / "seen.html", split="train")
    write_report(run, labelled_images(4), tmp_path / "unseen.html", names=["a", "b", "c", "d"])
    assert "The training data has all of these classes" in (tmp_path / "seen.html").read_text()
    assert "the model was trained on these images" in (tmp_path / "seen.html").read_text()
    assert "The training data has none of these classes" in (tmp_path / "unseen.html").read_text()


def test_every_section_of_the_contents_is_there(tiny_run: Path, tmp_path: Path) -> None:
    write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    targets = re.findall(r'href="#([^"]+)"', page)
    assert len(targets) == 9
    assert all(page.count(f'id="{target}"') == 1 for target in targets)
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_training_curves_have_the_values_of_the_log() -> None:
    epochs = [{"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "val_balanced_accuracy": 0.8}]
    assert training_curves([]) == []
    loss, accuracy = training_curves([*epochs, {**epochs[0], "epoch": 2, "val_loss": 0.3}])
    assert "Loss over 2 epochs." in loss
    assert "From 0.7900 to 0.8000 over 2 epochs." in accuracy
    assert len(training_curves([{**epochs[0], "val_loss": None, "val_balanced_accuracy": None}])) == 1


def test_curves_are_straight_in_rates_and_marks_are_on_them(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    figures = dataclasses.replace(findings.figures, fmr=0.1, fnmr=0.1, eer=0.1, num_pairs=20_000, num_positive=10_000)
    tied = RocCurve(np.array([0.0, 0.1, 1.0]), np.array([1.0, 0.1, 0.0]), np.array([np.inf, 1.0, 0.0]))
    roc, det, _ = curves(dataclasses.replace(findings, curve=tied, figures=figures))
    assert height(roc, share=0.5) == pytest.approx(1 - 9e-2, abs=0.01)  # of 9 % at FMR 1 %, from the top
    for chart in (roc, det):
        across, up = mark(chart)
        assert height(chart, share=(across - LEFT) / (RIGHT - LEFT)) == pytest.approx(
            (up - TOP) / (BOTTOM - TOP), abs=0.01
        )
    assert ">threshold</text>" in roc


def test_a_threshold_without_a_false_match_is_said_to_be_outside(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    for fmr, text in ((1e-6, "threshold"), (0.0, "threshold, FMR 0 % (outside)")):
        figures = dataclasses.replace(findings.figures, fmr=fmr, num_pairs=3_000_000)
        roc = curves(dataclasses.replace(findings, figures=figures))[0]
        assert f">{text}</text>" in roc
        assert (mark(roc)[0] > LEFT) == bool(fmr)
        assert len(re.findall(r'class="tick"', roc)) <= 6


def test_a_model_without_errors_says_why_there_is_no_det_curve(tiny_run: Path, tmp_path: Path) -> None:
    findings = write_report(tiny_run, labelled_images(4), tmp_path / "r.html")
    perfect = RocCurve(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]), np.array([np.inf, 1.0, 0.0]))
    det = curves(dataclasses.replace(findings, curve=perfect))[1]
    assert ">at every threshold a rate is 0 or 100 %: outside the axes</text>" in det
    assert "at every threshold" not in curves(findings)[1]


def height(chart: str, share: float) -> float:
    """Where the first line of a chart is, from the top, at a share of the width."""
    found = re.search(r'<polyline class="line first" points="([^"]*)"', chart)
    assert found is not None
    points = np.array([pair.split(",") for pair in found[1].split()], dtype=float)
    return float((np.interp(LEFT + share * (RIGHT - LEFT), *points.T) - TOP) / (BOTTOM - TOP))


def mark(chart: str) -> tuple[float, float]:
    found = re.search(r'<path class="mark" d="M([\d.]+),([\d.]+) h10', chart)
    assert found is not None
    return float(found[1]) + 5, float(found[2])


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
    assert (
        dataclasses.replace(found, throughput=None).to_dict()
        == dataclasses.replace(expected, throughput=None).to_dict()
    )
    pages = [(tmp_path / name).read_text() for name in ("read.html", "given.html")]
    assert len({re.sub(r"Made .* UTC|[\d,]+ images and [\d,]+ comparisons a second", "", page) for page in pages}) == 1


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


def test_given_pairs_have_a_table_of_kinds_and_no_sections_of_classes(tiny_run: Path, tmp_path: Path) -> None:
    images = labelled_images(4)
    drawn = PairDataset(images, num_pairs=300).all_pairs()
    kinds = ["" if target else ("skilled & forged", "random")[k % 2] for k, target in enumerate(drawn.target)]
    pairs = PairDataset.from_pairs(
        images, drawn.first, drawn.second, drawn.target, kind=kinds, group=[f"w{k % 9}" for k in range(300)]
    )
    findings = write_report(tiny_run, pairs, tmp_path / "r.html", data="pics")
    page = (tmp_path / "r.html").read_text()
    assert "300 given pairs of" in page
    for name, row in findings.figures.kinds.items():
        assert f'<th scope="row">{html.escape(name)}</th><td>{row.num_pairs}</td>' in page
    assert "other groups (9 here)" in page
    assert not re.search(r'id="(classes|suspects)"|href="#(classes|suspects)"', page)
    assert f"pairsim evaluate {shlex.quote(str(tiny_run))} pics --pairs PAIRS.csv\n" in page
    assert counts_of(page)["numPositive"] == 150
