from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pairsim import Calibration, PairDataset, SimilarityModel, calibrate, encode_dataset, evaluate
from pairsim.data import ImageTensors, LabelledData, PairList
from pairsim.data.image_sets import subset
from pairsim.evaluation import PairCounts, PairScores, k_fold_accuracy, log_loss
from pairsim.verification.model_evaluation import measurable_rates, report_on, to_probability
from pairsim.verification.scoring import GivenPairsScored, score_pairs


def test_evaluate_with_resampled_intervals(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    computed = evaluate(model, splits[2])
    resampled = evaluate(model, splits[2], resample="images", num_resamples=200)
    assert set(computed.intervals) == set(resampled.intervals)
    assert "fnmr_at_fmr_0.01" in computed.intervals
    for name in ("roc_auc", "eer", "balanced_accuracy"):
        widths = [high - low for low, high in (found.intervals[name] for found in (computed, resampled))]
        assert widths[1] == pytest.approx(widths[0], rel=0.6), name
    assert isinstance(calibrate(model, splits[1]), Calibration)


def test_folds_have_the_thresholds_of_the_others(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    pairs = PairDataset(splits[2], num_pairs=400, seed=3)
    listed = PairList.of(pairs, folds=4)
    assert listed.fold is not None
    report = evaluate(model, pairs, folds=listed.fold)
    assert report.k_fold is not None
    first, second = (splits[2].images[column.tolist()] for column in (listed.first, listed.second))
    similarity = model.get_raw_similarity(first, second).detach()
    expected = k_fold_accuracy(similarity, listed.target, listed.fold)
    assert report.k_fold.accuracy == pytest.approx(expected.accuracy, abs=1e-9)
    assert "4-fold accuracy" in str(report)
    assert len(report.to_dict()["k_fold"]["folds"]) == 4
    with pytest.raises(ValueError, match="Expected a PairDataset with folds"):
        evaluate(model, splits[2], folds=listed.fold)


def test_many_images_are_counted_with_the_same_figures(
    model: SimilarityModel, splits: tuple[ImageTensors, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = evaluate(model, splits[2])
    monkeypatch.setattr("pairsim.verification.scoring.MAX_KEPT_IMAGES", 100)
    assert isinstance(score_pairs(model, splits[2]).pairs, PairCounts)
    counted = evaluate(model, splits[2])
    for name in ("roc_auc", "eer", "log_loss", "brier", "ece", "d_prime"):
        assert getattr(counted, name) == pytest.approx(getattr(kept, name), abs=1e-5), name
    for name, ends in kept.intervals.items():
        assert counted.intervals[name] == pytest.approx(ends, abs=1e-3), name
    assert calibrate(model, splits[2], target_fmr=0.01).operating_point is not None


def test_rates_need_three_negative_pairs_for_each_expected_match() -> None:
    def scored(num_positive: int, num_negative: int) -> GivenPairsScored:
        targets = torch.arange(num_positive + num_negative) < num_positive
        pairs = PairScores.from_scores(targets / 2, targets)
        numbers = torch.arange(len(targets)).numpy()
        return GivenPairsScored(pairs, (targets / 2).numpy(), targets.byte().numpy(), numbers, numbers)

    assert measurable_rates(scored(1, 299)) == [0.1]
    assert measurable_rates(scored(1, 300)) == [0.1, 0.01]
    assert measurable_rates(scored(0, 300)) == []


def test_probabilities_of_the_report_are_those_of_the_model(
    model: SimilarityModel, splits: tuple[ImageTensors, ...]
) -> None:
    scored = score_pairs(model, PairDataset(splits[2], num_pairs=400, seed=3))
    assert isinstance(scored, GivenPairsScored)
    for _ in range(2):  # by the projection, and by a calibration
        probability = to_probability(model)(scored.similarity.astype("float64"))
        expected = model.probability(torch.from_numpy(scored.similarity))
        torch.testing.assert_close(torch.from_numpy(probability).float(), expected.float(), atol=1e-6, rtol=1e-5)
        report = report_on(model, scored)
        assert report.log_loss == pytest.approx(log_loss(probability, scored.target), abs=1e-9)
        calibrate(model, splits[1])


def test_a_report_of_one_kind_of_pairs(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    report = evaluate(model, ImageTensors(splits[2].images[:4], [3] * 4))
    assert (report.num_pairs, report.num_positive) == (6, 6)
    assert math.isnan(report.roc_auc)
    assert math.isnan(report.balanced_log_loss)
    assert not math.isnan(report.log_loss)


def test_each_kind_of_negative_pairs_has_its_errors(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    drawn = PairDataset(splits[2], num_pairs=600, seed=4).all_pairs()
    groups = [f"g{number % 7}" for number in range(600)]
    kinds = ["" if target else ("b", "a")[number % 3 == 0] for number, target in enumerate(drawn.target)]
    columns = drawn.first, drawn.second, drawn.target
    report = evaluate(model, PairDataset.from_pairs(splits[2], *columns, kind=kinds, group=groups))
    assert (list(report.kinds), report.groups) == (["a", "b"], 7)
    for name, row in report.kinds.items():
        chosen = [kind in ("", name) for kind in kinds]
        part = evaluate(
            model,
            PairDataset.from_pairs(
                splits[2],
                *(column[chosen] for column in columns),
                group=[g for g, c in zip(groups, chosen, strict=True) if c],
            ),
        )
        assert (row.num_pairs, row.fmr, row.eer) == (part.num_pairs - part.num_positive, part.fmr, part.eer)
        assert row.intervals == {figure: part.intervals[figure] for figure in ("fmr", "eer")}
        assert row.intervals["eer"][0] <= row.eer <= row.intervals["eer"][1]
        assert f"  {name}  {row.num_pairs:>9,} pairs  FMR {row.fmr:.3%}" in str(report)
    assert "intervals are for other groups, of which there are 7 here" in str(report)
    assert report.to_dict()["kinds"]["a"]["fmr"] == report.kinds["a"].fmr
    plain = evaluate(model, PairDataset.from_pairs(splits[2], *columns))
    assert (plain.kinds, plain.groups) == ({}, None)
    assert (plain.fmr, plain.eer) == (report.fmr, report.eer)
    assert plain.intervals != report.intervals
    assert evaluate(model, splits[2]).to_dict()["kinds"] == {}


def test_nearest_neighbours_classes_and_groups(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    chosen = np.r_[np.flatnonzero(splits[2].targets < 4)[:40], np.flatnonzero(splits[2].targets == 9)[:1]]
    images = subset(splits[2], chosen)
    report = evaluate(model, images)
    vectors = encode_dataset(model, images).double().numpy()
    right, counted = 0, 0
    for query, label in enumerate(images.targets.tolist()):  # one by one; the image alone in its class is no query
        others = [k for k in range(len(images)) if k != query]
        if label in images.targets[others]:
            nearest = max(others, key=lambda k: (vectors[query] @ vectors[k], -k))
            right, counted = right + (images.targets[nearest] == label), counted + 1
    assert counted == 40
    assert report.recall_at_1 == pytest.approx(right / counted, abs=1e-12)
    assert (report.num_classes, report.groups, report.unseen_classes) == (5, None, None)
    grouped = LabelledData(
        dataset=images, class_names=tuple("01239"), image_size=(16, 16), channels=1, source="", groups=chosen // 7
    )
    assert evaluate(model, grouped).groups == len(set((chosen // 7).tolist()))
    given = evaluate(model, PairDataset(images, 50))
    assert (given.num_classes, given.groups, given.to_dict()["recall_at_1"]) == (None, None, None)


def test_groups_of_images_and_of_pairs(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    images = splits[2]
    names = ["odd" if label % 2 else "even" for label in images.targets.tolist()]
    names[0] = ""
    report = evaluate(model, images, groups=names)
    assert report.by_group is not None
    assert (report.groups, report.to_dict()["groups"], report.by_group.num_ungrouped) == (2, 2, 1)
    within = sum(row.num_negative for row in report.by_group.groups)
    between = int(report.by_group.num_negative[0, 1])
    assert within + between + report.by_group.num_ungrouped_pairs >= report.num_pairs - report.num_positive
    assert "too few classes for a rate" in str(report)  # five digits in each
    assert "without a group: 1 image, in " in str(report)
    pairs = PairDataset(images, 300, seed=1)
    listed = pairs.all_pairs()
    both = tuple([names[k] for k in side.tolist()] for side in (listed.first, listed.second))
    given = evaluate(model, pairs, groups=both)  # type: ignore[arg-type]
    assert given.by_group is not None
    known = np.array([bool(a) and bool(b) for a, b in zip(*both, strict=True)])
    assert given.by_group.num_ungrouped_pairs == np.count_nonzero(~known)
    counted = sum(row.num_negative + row.num_positive for row in given.by_group.groups)
    counted += int(given.by_group.num_negative[0, 1]) + given.by_group.num_positive_between
    assert counted == np.count_nonzero(known)
    own = evaluate(model, pairs, groups=["a", "b"] * 150)
    assert own.by_group is not None
    assert [row.num_positive + row.num_negative for row in own.by_group.groups] == [150, 150]
    assert int(own.by_group.num_negative[0, 1]) == 0
    assert evaluate(model, images).by_group is None
