from __future__ import annotations

import dataclasses
import json
import math

from pairsim import SimilarityModel, VerificationReport, evaluate
from pairsim.data import ImageTensors, PairDataset
from pairsim.verification.verification_report import percent, readable


def test_weakest_classes_are_named(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    report = evaluate(model, splits[2], threshold=0.9)
    rows = report.to_dict()["weakest_classes"]
    assert 1 <= len(rows) <= 5
    assert {row["name"] for row in rows} <= set("0123456789")
    assert f"  {rows[0]['name']:<22}" in str(report)


def test_json_and_text(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    report = evaluate(model, ImageTensors(splits[2].images[:4], [3] * 4))
    values = json.loads(report.to_json())
    assert values == report.to_dict()
    assert set(values) == set(VerificationReport.__dataclass_fields__)
    assert values["roc_auc"] is None
    assert values["num_images"] == 4
    lines = str(report).splitlines()
    assert lines[0] == "all pairs of 4 images of 1 class: 6 pairs, 6 positive, 0 negative"
    assert "  ROC AUC               not measurable with so few pairs" in lines


def test_rates_as_percentages() -> None:
    assert percent(0.01234) == "1.234%"
    assert percent(math.nan) == "not measurable with so few pairs"


def test_names_of_figures_in_words() -> None:
    names = ("roc_auc", "eer", "balanced_accuracy", "fnmr", "fnmr_at_fmr_0.0001")
    assert [readable(name) for name in names] == [
        "ROC AUC", "equal error rate", "balanced accuracy", "false non-match rate", "FNMR at FMR 0.01%",
    ]  # fmt: skip


def test_classes_and_groups_in_words(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    report = dataclasses.replace(evaluate(model, splits[2]), unseen_classes=3, groups=64)
    assert report.to_dict()["unseen_classes"] == 3
    text = str(report)
    assert "images of 10 classes (3 unseen in training) in 64 groups: " in text
    assert f"  recall at 1           {percent(report.recall_at_1)}" in text.splitlines()
    assert "recall at 1" not in str(evaluate(model, PairDataset(splits[2], 50)))
