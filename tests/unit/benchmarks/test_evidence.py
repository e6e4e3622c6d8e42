"""The benchmarks of evaluation: what they count, and the page that quotes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import coverage, label_audit, losses, metrics_cost, search
from benchmarks.evidence_page import evidence
from benchmarks.options import Options
from benchmarks.results import Results
from pairsim.evaluation import PairScores


def test_intervals_that_take_pairs_for_independent_are_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    pairs = PairScores.from_scores(rng.normal(size=400) + np.repeat([1, 0], 200), np.repeat([1, 0], 200))
    found = coverage.independent(pairs, 0.5)
    fmr, fnmr = pairs.fmr_fnmr(0.5)
    for name, rate in (("fmr", fmr), ("fnmr", fnmr)):
        margin = 1.959964 * np.sqrt(rate * (1 - rate) / 200)
        assert found[name] == pytest.approx((rate - margin, rate + margin), abs=1e-6)
    # DeLong's variance by its definition, pair by pair
    above = pairs.positive[:, None] > pairs.negative[None, :]
    variance = above.mean(axis=1).var(ddof=1) / 200 + above.mean(axis=0).var(ddof=1) / 200
    assert found["roc_auc"][1] - pairs.roc_auc() == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)


@pytest.mark.slow
def test_coverage_counts_sets_of_images_that_differ() -> None:
    table = coverage.run(Options(quick=True))[0]
    covered = {(row["arm"], row["figure"]): row["covered"] for row in table.rows}
    assert covered[coverage.RESAMPLED, "roc_auc"] > 0.7
    assert covered[coverage.INDEPENDENT, "roc_auc"] < covered[coverage.RESAMPLED, "roc_auc"]
    centres = np.eye(4)
    first, second = (coverage.draw(centres, 50, seed)[0] for seed in (1, 2))
    assert not np.array_equal(first, second)


def test_flips_are_as_many_as_said_and_to_another_class() -> None:
    labels = np.arange(1000) % 10
    found, places = label_audit.with_flips(labels, seed=0)
    assert len(places) == 20
    assert np.array_equal(np.flatnonzero(found != labels), places)
    assert set(found.tolist()) <= set(range(10))


def test_every_cost_arm_runs() -> None:
    for arm in {arm for arm, _ in metrics_cost.ARMS}:
        assert metrics_cost.measure(arm, 100)["seconds"] > 0


def test_difference_over_seeds_has_students_interval() -> None:
    rng = np.random.default_rng(1)
    own, other = 0.99 + 0.001 * rng.normal(size=(2, losses.MANY_SEEDS))
    rows = [
        {"arm": arm, "seed": seed, "balanced_accuracy": values[seed]}
        for seed in range(losses.MANY_SEEDS)
        for arm, values in ((losses.ALL_PAIRS, own), ("SupCon", other))
    ]
    found = losses.difference(rows, "SupCon")
    points = 100 * (own - other)
    assert found["points"] == pytest.approx(points.mean())
    margin = 2.262157 * points.std(ddof=1) / np.sqrt(10)
    assert (found["points_low"], found["points_high"]) == pytest.approx(
        (points.mean() - margin, points.mean() + margin)
    )
    assert "points_low" not in losses.difference(rows[:4], "SupCon")


def test_page_shows_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    assert evidence(Results.read(tmp_path)) == "Not measured yet.\n"
    report: dict[str, Any] = {
        "date": "2026-01-01",
        "options": {"quick": False, "device": "cpu"},
        "hardware": {"cores": 2},
        "versions": {"torch": "2.10"},
        "benchmarks": {
            "label-audit": [
                {"title": "Label audit", "rows": [{"seed": 0, "images": 60000, "flipped": 1200, "precision": 0.95}]}
            ],
            "metrics-cost": [
                {
                    "title": "Evaluation of all pairs",
                    "rows": [{"arm": "every metric", "images": 10, "pairs": 45, "seconds": 1.25, "peak_added_MB": 3.4}],
                }
            ],
        },
    }
    (tmp_path / "r.json").write_text(json.dumps(report))
    page = evidence(Results.read(tmp_path))
    assert "| 0 | 60,000 | 1,200 | 95.0% |" in page
    assert "| every metric | 10 | 45 | 1.2 | 3 |" in page
    assert "Do the intervals hold?" not in page


def test_a_run_that_results_have_is_not_trained_again(tmp_path: Path) -> None:
    row = {"arm": "SupCon", "seed": 4, "epochs": 1, "balanced_accuracy": 0.99}
    report = {
        "date": "2026-01-01",
        "options": {"quick": False, "device": "cpu"},
        "benchmarks": {"losses": [{"title": "Quality after one pass by seed", "rows": [row]}]},
    }
    (tmp_path / "r.json").write_text(json.dumps(report))
    assert losses.one(Options(results=tmp_path), "SupCon", {}, seed=4, epochs=1) == row


def test_search_arms_find_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "optional", lambda *_: None)  # FAISS may be there or not
    tables = search.run(Options(quick=True, rounds=1))
    assert [len(table.rows) for table in tables] == [2] * 6
    assert all(row["neighbors_of_float64"] > 0.999 for table in tables for row in table.rows)
    found = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
    assert search.in_common(found, torch.tensor([[9, 8, 7, 6, 5, 14, 13, 12, 11, 10]])) == 0.5
