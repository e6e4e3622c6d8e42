from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from identities import MODEL, filled, rows
from small_models import small_model

from pairsim import Gallery, evaluate_gallery
from pairsim._common.unit_similarity import lowest_match
from pairsim.data import ImageTensors
from pairsim.evaluation import Searches
from pairsim.search.identification.identification_report import identification_report
from pairsim.search.identification.outcomes import outcomes


def test_figures_are_those_of_the_searches() -> None:
    gallery = filled(15, 4)
    queries = torch.cat((rows(15, 2, seed=0), rows(30, 2, seed=5)))
    shown = [f"p{number}" for number in range(15) for _ in range(2)] + [f"x{number // 2}" for number in range(60)]
    searches, _ = outcomes(gallery, queries, shown)
    report = identification_report(searches, 0.8)
    assert (report.num_enrolled, report.num_known, report.num_unknown) == (15, 15, 30)
    assert (report.num_mated, report.num_non_mated) == (30, 60)
    assert (report.fpir, report.fnir) == (searches.fpir(lowest_match(0.8)), searches.fnir(lowest_match(0.8)))
    assert report.fpir_interval == searches.fpir_interval(lowest_match(0.8))
    assert report.rank_1 == report.cmc[0] == pytest.approx(np.mean(searches.ranks[searches.mated] == 1))
    assert len(report.cmc) == 15
    assert report.cmc[-1] == 1.0
    assert report.fnir_at_fpir == {"0.1": searches.fnir_at_fpir(0.1)}  # 60 searches cannot show less
    for at in report.curve:
        assert (at.fpir, at.fnir) == (searches.fpir(at.threshold), searches.fnir(at.threshold))
        assert at.fpir_interval == searches.fpir_interval(at.threshold)
        assert at.fnir_interval == searches.fnir_interval(at.threshold)
    low, high = report.rank_1_interval
    assert (1 - high, 1 - low) == pytest.approx(searches.fnir_interval(-math.inf))
    assert report.conditions is None
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report).splitlines() == [
        "30 searches for 15 of 15 enrolled identities, 60 for 30 others",
        f"right identity first, of those enrolled (rank-1): {report.rank_1:.2%}",
        "at the threshold 0.8000:",
        f"  FPIR (unknown, but assigned an identity): {report.fpir:.2%} "
        f"[{report.fpir_interval[0]:.2%}, {report.fpir_interval[1]:.2%}]",
        f"  FNIR (enrolled, but not found): {report.fnir:.2%} "
        f"[{report.fnir_interval[0]:.2%}, {report.fnir_interval[1]:.2%}]",
        f"FNIR at an FPIR of 0.1: {report.fnir_at_fpir['0.1']:.2%}",
    ]


def test_a_long_curve_is_dense_where_a_rate_is_small() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(0.7, 0.1, 3000), rng.normal(0.3, 0.1, 5000)
    searches = Searches(
        own=np.concatenate((own, np.full(5000, np.nan))),
        others=np.concatenate((np.full(3000, 0.1), others)),
        ranks=np.concatenate((np.ones(3000, np.int64), np.zeros(5000, np.int64))),
        non_mated=np.arange(8000) >= 3000,
        queried=np.arange(8000) // 4,
        groups=np.arange(8000) // 4,
        num_enrolled=750,
    )
    curve = identification_report(searches, 0.5).curve
    assert 100 < len(curve) <= 200
    thresholds = [at.threshold for at in curve]
    assert thresholds == sorted(thresholds, reverse=True)
    exact = {threshold: (fpir, fnir) for threshold, fpir, fnir in zip(*searches.curve(), strict=True)}
    assert all((at.fpir, at.fnir) == pytest.approx(exact[at.threshold]) for at in curve)
    for rate in (1 / 5000, 3 / 5000, 0.01, 0.1):  # the lowest FNIR that an FPIR allows is among the points
        lowest = min(fnir for fpir, fnir in exact.values() if fpir <= rate)
        assert min(at.fnir for at in curve if at.fpir <= rate * 1.001) <= lowest * 1.2 + 1 / 3000
    for kind in ("fpir", "fnir"):
        assert sum(0 < getattr(at, kind) < 0.01 for at in curve) > 15


def test_without_threshold_and_without_one_kind() -> None:
    gallery = filled(4, 2)
    searches, _ = outcomes(gallery, rows(30, 1, seed=5), [f"x{number}" for number in range(30)])
    report = identification_report(searches, math.nan)
    assert math.isnan(report.fpir)
    assert math.isnan(report.rank_1)
    assert report.fnir_at_fpir == {}
    assert str(report) == "0 searches for 0 of 4 enrolled identities, 30 for 30 others"
    json.dumps(report.to_dict(), allow_nan=False)
    assert "no such searches" in str(identification_report(searches, 0.5))


def test_images_with_labels() -> None:
    model = small_model(dim=8)
    images = torch.randint(0, 256, (12, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gallery = Gallery(model)
    gallery.add(images[:4, None], list("abcd"))
    report = evaluate_gallery(gallery, ImageTensors(images, list("abcd") + list("efghijkl")), threshold=0.9999)
    assert (report.num_mated, report.num_non_mated, report.rank_1, report.fnir) == (4, 8, 1.0, 0.0)
    with pytest.raises(ValueError, match="found it empty"):
        evaluate_gallery(Gallery(MODEL), ImageTensors(images, range(12)))


@pytest.mark.parametrize(("enrolled", "label"), [(int, str), (str, int)])
def test_labels_are_compared_with_identities_as_text(enrolled: Any, label: Any) -> None:
    images = torch.randint(0, 256, (12, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gallery = Gallery(small_model(dim=8))
    gallery.add(images[:4, None], list("abcd"), identities=[enrolled(number) for number in range(4)])
    report = evaluate_gallery(gallery, ImageTensors(images, [label(number) for number in range(12)]), threshold=0.9999)
    assert (report.num_mated, report.num_non_mated, report.rank_1, report.fnir) == (4, 8, 1.0, 0.0)
    assert report.conditions is not None
    assert (report.conditions.known.num_images, report.conditions.unknown.num_images) == (4, 8)
