from __future__ import annotations

import json
import math

from pairsim import SimilarityModel, VerificationReport, evaluate
from pairsim.data import ImageTensors
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
    assert lines[0] == "all pairs of 4 images: 6 pairs, 6 positive, 0 negative"
    assert "  ROC AUC               not measurable with so few pairs" in lines


def test_rates_as_percentages() -> None:
    assert percent(0.01234) == "1.234%"
    assert percent(math.nan) == "not measurable with so few pairs"


def test_names_of_figures_in_words() -> None:
    names = ("roc_auc", "eer", "balanced_accuracy", "fnmr", "fnmr_at_fmr_0.0001")
    assert [readable(name) for name in names] == [
        "ROC AUC", "equal error rate", "balanced accuracy", "false non-match rate", "FNMR at FMR 0.01%",
    ]  # fmt: skip
