"""A report says what `evaluate` says, whatever the names of classes, and of any model and data that it can judge."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import ImageTensors
from pairsim.errors import DataError, RunError
from pairsim.report import write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
    Trainer(model, TrainConfig(out=folder, epochs=2, batch_size=16, precision="fp32"), train=images(4)).fit()
    return folder


def images(num_classes: int, count: int = 60, size: int = 8) -> ImageTensors:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return ImageTensors(pixels, [number % num_classes for number in range(count)])


def counts_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="counts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values


def test_every_threshold_has_the_counts_of_evaluate(run: Path, tmp_path: Path) -> None:
    write_report(run, images(4), tmp_path / "r.html")
    counts = counts_of((tmp_path / "r.html").read_text())
    model = SimilarityModel.from_pretrained(run)
    for place in (0, 7, len(counts["positive"]) // 2, len(counts["positive"]) - 1):
        threshold = round(counts["first"] + place / counts["perUnit"], 6)
        report = evaluate(model, images(4), threshold=threshold)
        assert counts["negative"][place] == round(report.fmr * counts["numNegative"])
        assert counts["numPositive"] - counts["positive"][place] == round(report.fnmr * counts["numPositive"])
    own = evaluate(model, images(4))
    assert counts["own"]["threshold"] == own.threshold
    assert counts["own"]["negative"] / counts["numNegative"] == pytest.approx(own.fmr, abs=1e-12)
    assert counts["positive"][0] == counts["numPositive"]


def test_figures_and_intervals_are_those_of_evaluate(run: Path, tmp_path: Path) -> None:
    findings = write_report(run, images(4), tmp_path / "r.html")
    expected = evaluate(SimilarityModel.from_pretrained(run), images(4))
    assert findings.figures == expected
    page = (tmp_path / "r.html").read_text()
    assert f"{expected.eer:.3%}".replace("%", " %") in page
    low, high = (f"{end:.3%}".replace("%", " %") for end in expected.intervals["eer"])
    assert f"{low} to {high}" in page


def test_mistakes_are_shown_with_their_pictures(run: Path, tmp_path: Path) -> None:
    findings = write_report(run, images(4), tmp_path / "r.html", most=3)
    assert findings.num_false_matches == counts_of((tmp_path / "r.html").read_text())["own"]["negative"]
    shown = [*findings.false_matches, *findings.false_non_matches]
    assert 0 < len(shown) <= 6
    page = (tmp_path / "r.html").read_text()
    for found in shown:
        assert all(uri.startswith("data:image/png;base64,") and uri in page for uri in found.images)
        assert f"similarity {found.similarity:.4f}" in page
    similarities = [found.similarity for found in findings.false_matches]
    assert similarities == sorted(similarities, reverse=True)


def test_names_stay_text(run: Path, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    names = [bad, "a'b\"c", "</style>", "&amp;"]
    write_report(run, images(4), tmp_path / "r.html", names=names, title=bad, source=bad, data=bad)
    page = (tmp_path / "r.html").read_text()
    assert bad not in page
    assert html.escape(bad) in page
    assert page.count("<script") == 2
    assert page.count("</style>") == 1


def test_nothing_is_loaded_from_elsewhere(run: Path, tmp_path: Path) -> None:
    write_report(run, images(4), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "http://" not in page
    assert "https://" not in page


def test_of_many_classes_those_with_the_most_errors_are_listed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairsim.report.page.MAX_CLASSES", 3)
    findings = write_report(run, images(6), tmp_path / "r.html", names=[f"class-{number}" for number in range(6)])
    page = (tmp_path / "r.html").read_text()
    table = page[page.index("class='sortable'") : page.index("id='mistakes'")]
    worst = sorted(findings.classes, key=lambda row: -(row.false_non_matches + row.false_matches))
    assert "The 3 with the most errors; 3 others are left out." in page
    assert [row.name in table for row in worst] == [True] * 3 + [False] * 3


def test_one_class_says_that_there_is_no_verdict(run: Path, tmp_path: Path) -> None:
    findings = write_report(run, images(1), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "No verdict" in page
    assert "no pairs of different classes" in page
    assert "Not measurable: one kind of pairs is missing." in page
    assert findings.num_suspects == 0


def test_unseen_classes_and_training_images_are_named(run: Path, tmp_path: Path) -> None:
    (run / "data.json").write_text(json.dumps({"data": "d", "class_names": ["0", "1", "2", "3"]}))
    write_report(run, images(4), tmp_path / "seen.html", split="train")
    write_report(run, images(4), tmp_path / "unseen.html", names=["a", "b", "c", "d"])
    assert "Training had all of these classes" in (tmp_path / "seen.html").read_text()
    assert "the model was trained on these images" in (tmp_path / "seen.html").read_text()
    assert "Training had none of these classes" in (tmp_path / "unseen.html").read_text()


def test_model_folder_without_a_log(run: Path, tmp_path: Path) -> None:
    SimilarityModel.from_pretrained(run).save_pretrained(tmp_path / "alone")
    write_report(tmp_path / "alone", images(4), tmp_path / "r.html")
    assert "without the log of its training" in (tmp_path / "r.html").read_text()


def test_bad_input(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected out to end in \.html, got r\.pdf"):
        write_report(run, images(4), tmp_path / "r.pdf")
    with pytest.raises(DataError, match="Expected a name for each of 4 classes, got 2"):
        write_report(run, images(4), tmp_path / "r.html", names=["a", "b"])
    with pytest.raises(DataError, match="Expected at least two images"):
        write_report(run, images(1, count=1), tmp_path / "r.html")
    with pytest.raises(RunError, match="Expected a model or run folder"):
        write_report(tmp_path / "none", images(4), tmp_path / "r.html")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        write_report(run, images(4), tmp_path / "file" / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_model_without_a_threshold(run: Path, tmp_path: Path) -> None:
    model = SimilarityModel.from_pretrained(run)
    model.operating_point = None
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    model.save_pretrained(tmp_path / "falling")
    with pytest.raises(DataError, match="Expected a model with a threshold, got nan"):
        write_report(tmp_path / "falling", images(4), tmp_path / "r.html")
