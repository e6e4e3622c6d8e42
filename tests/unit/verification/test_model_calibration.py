from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from pairsim import (
    Calibration,
    EmbeddingNet,
    PairDataset,
    SimilarityModel,
    TrainConfig,
    Trainer,
    calibrate,
    compare_models,
    evaluate,
)
from pairsim._common.unit_similarity import MATCH_TOLERANCE
from pairsim.data import ImageTensors, PairList, load_data, stratified_split
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import subset
from pairsim.evaluation import PairCounts, k_fold_accuracy
from pairsim.verification.scoring import score_pairs


@pytest.fixture(scope="module")
def splits() -> tuple[ImageTensors, ImageTensors, ImageTensors]:
    """Images to train on, to calibrate on, to judge by."""
    train = load_data("digits", "train").dataset
    kept, held = stratified_split(ClassIndex.from_labels(train.targets), 0.3, seed=0)
    return subset(train, kept), subset(train, held), load_data("digits", "test").dataset


@pytest.fixture(scope="module")
def weights(splits: tuple[ImageTensors, ...]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, TrainConfig(epochs=4, batch_size=64, progress=False), train=splits[0], val=splits[1]).fit()
    return model.state_dict()


@pytest.fixture
def model(weights: dict[str, torch.Tensor], splits: tuple[ImageTensors, ...]) -> SimilarityModel:
    from pairsim.images.preprocessing import channel_statistics

    found = SimilarityModel(EmbeddingNet(image_size=16))
    found.load_state_dict(weights)
    mean, std = channel_statistics(splits[0].images)
    found.preprocessing = type(found.preprocessing)(image_size=(16, 16), channels=1, mean=mean, std=std)
    return found.eval()


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_hold_on_other_images(model: SimilarityModel, splits: tuple[ImageTensors, ...], method) -> None:  # type: ignore[no-untyped-def]
    before = evaluate(model, splits[2])
    calibration = calibrate(model, splits[1], method=method)
    after = evaluate(model, splits[2])
    assert after.ece < before.ece
    assert after.log_loss < before.log_loss
    assert after.prior == calibration.prior == pytest.approx(0.1, abs=0.01)
    assert (after.roc_auc, after.eer) == (before.roc_auc, before.eer)
    assert calibration.num_positive + calibration.num_negative == len(splits[1]) * (len(splits[1]) - 1) // 2


def test_threshold_for_a_false_match_rate(
    model: SimilarityModel, splits: tuple[ImageTensors, ...], tmp_path: Path
) -> None:
    calibration = calibrate(model, splits[1], target_fmr=0.01, source="held out")
    point = calibration.operating_point
    assert point is not None
    assert point == model.operating_point
    assert point.fmr <= 0.01
    assert point.fmr_interval is not None
    assert point.fmr_interval[0] <= point.fmr <= point.fmr_interval[1]
    assert (point.source, point.criterion) == ("held out", "FMR of at most 0.01")
    assert evaluate(model, splits[1]).fmr == point.fmr
    model.save_pretrained(tmp_path)
    loaded = SimilarityModel.from_pretrained(tmp_path)
    assert loaded.calibration == calibration
    assert loaded.threshold == point.threshold
    verdict = loaded.verify(splits[2][0][0], splits[2][1][0])
    assert (verdict.threshold, verdict.fmr) == (point.threshold, point.fmr)


def test_thresholds_by_cost_and_by_equal_errors(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    by_half = calibrate(model, splits[1])
    assert by_half.operating_point is not None
    assert by_half.operating_point.threshold == pytest.approx(by_half.similarity_at(0.5))
    careful, lenient = (calibrate(model, splits[1], costs=costs) for costs in ((100, 1), (1, 100)))
    assert careful.operating_point is not None
    assert lenient.operating_point is not None
    assert careful.operating_point.threshold > lenient.operating_point.threshold
    equal = calibrate(model, splits[1], equal_errors=True).operating_point
    assert equal is not None
    assert equal.fmr == pytest.approx(equal.fnmr, abs=0.005)


def test_given_pairs_and_a_prior(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    pairs = PairDataset(splits[1], num_pairs=4000, seed=1)
    half = calibrate(model, pairs)
    assert half.prior == 0.5
    rare = calibrate(model, pairs, prior=0.01)
    similarity = torch.linspace(0, 1, 50)
    assert (rare.probability(similarity) < half.probability(similarity)).all()
    assert evaluate(model, splits[2]).prior == 0.01


def test_training_again_drops_the_calibration(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    calibrate(model, splits[1])
    Trainer(model, TrainConfig(epochs=1, batch_size=64, progress=False), train=splits[0], val=splits[1]).fit()
    assert model.calibration is None


def test_refusals_leave_the_model_as_it_was(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    few = PairDataset(splits[1], num_pairs=1000, seed=1)
    with pytest.raises(ValueError, match=r"at least 3,000 negative pairs .*got 500"):
        calibrate(model, few, target_fmr=0.001)
    with pytest.raises(ValueError, match="one of target_fmr, costs and equal_errors"):
        calibrate(model, few, target_fmr=0.1, equal_errors=True)
    with pytest.raises(ValueError, match="prior to be between 0 and 1"):
        calibrate(model, few, prior=0.0)
    with pytest.raises(ValueError, match='"platt" or "isotonic"'):
        calibrate(model, few, method="beta")  # type: ignore[arg-type]
    images = torch.cat([splits[1].images, splits[1].images[:1]])  # the last is the first, said to be different
    drawn, last = few.all_pairs(), len(images) - 1
    twins = PairDataset.from_pairs(
        ImageTensors(images, range(len(images))),
        [*drawn.first.tolist(), 0],
        [*drawn.second.tolist(), last],
        [*drawn.target.tolist(), 0],
    )
    with pytest.raises(ValueError, match="refusing every pair costs least"):
        calibrate(model, twins, costs=(1e6, 1))
    one_class = subset(splits[1], (splits[1].targets == 3).nonzero()[0])
    with pytest.raises(ValueError, match="positive and negative pairs to calibrate on"):
        calibrate(model, one_class)
    assert model.calibration is None
    assert model.operating_point is None


def test_compare_models_finds_what_is_better(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    torch.manual_seed(1)
    untrained = SimilarityModel(EmbeddingNet(image_size=16), preprocessing=model.preprocessing).eval()
    found = compare_models(model, untrained, splits[2], num_resamples=100)
    auc = found.differences["roc_auc"]
    assert auc.low > 0
    assert auc.p_value == pytest.approx(2 / 101)
    assert auc.first == evaluate(model, splits[2]).roc_auc
    assert "ROC AUC" in str(found)
    assert math.isnan(found.differences["roc_auc"].difference) is False
    assert found.to_dict()["differences"]["eer"]["difference"] == found.differences["eer"].difference
    by_class = compare_models(model, untrained, splits[2], unit="classes", num_resamples=50)
    assert by_class.unit == "classes"
    with pytest.raises(ValueError, match='"images" for given pairs'):
        compare_models(model, untrained, PairDataset(splits[2], 100), unit="classes", num_resamples=5)


def test_evaluate_with_resampled_intervals(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    computed = evaluate(model, splits[2])
    resampled = evaluate(model, splits[2], resample="images", num_resamples=200)
    assert set(computed.intervals) == set(resampled.intervals)
    assert "fnmr_at_fmr_0.01" in computed.intervals
    for name in ("roc_auc", "eer", "balanced_accuracy"):
        widths = [high - low for low, high in (found.intervals[name] for found in (computed, resampled))]
        assert widths[1] == pytest.approx(widths[0], rel=0.6), name
    assert isinstance(calibrate(model, splits[1]), Calibration)


def test_folds_are_judged_at_the_thresholds_of_the_others(
    model: SimilarityModel, splits: tuple[ImageTensors, ...]
) -> None:
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


def test_weakest_classes_are_named(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    report = evaluate(model, splits[2], threshold=0.9)
    rows = report.to_dict()["weakest_classes"]
    assert 1 <= len(rows) <= 5
    assert {row["name"] for row in rows} <= set("0123456789")
    assert f"  {rows[0]['name']:<22}" in str(report)


def test_many_images_are_counted_with_the_same_figures(
    model: SimilarityModel, splits: tuple[ImageTensors, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = evaluate(model, splits[2])
    monkeypatch.setattr("pairsim.verification.scoring.MOST_KEPT_IMAGES", 100)
    assert isinstance(score_pairs(model, splits[2]).pairs, PairCounts)
    counted = evaluate(model, splits[2])
    for name in ("roc_auc", "eer", "log_loss", "brier", "ece", "d_prime"):
        assert getattr(counted, name) == pytest.approx(getattr(kept, name), abs=1e-5), name
    for name, ends in kept.intervals.items():
        assert counted.intervals[name] == pytest.approx(ends, abs=1e-3), name
    assert calibrate(model, splits[2], target_fmr=0.01).operating_point is not None


def test_an_fmr_target_holds_although_matches_reach_below_the_threshold() -> None:
    """Two negative pairs lie within the tolerance of each other, on both sides of the target."""
    angles = torch.tensor([0.0, 0.01, 0.02, math.pi / 3, math.pi / 3 + 1.15e-6, 1.8, 2.0], dtype=torch.float64)
    vectors = torch.stack((angles.cos(), angles.sin()), dim=1).float().view(7, 1, 1, 2)
    images = TensorDataset(vectors, torch.tensor([0, 0, 0, 1, 1, 1, 1]))
    model = SimilarityModel(nn.Flatten())
    calibrate(model, images, target_fmr=0.25)
    point = model.operating_point
    assert point is not None
    assert point.fmr == 0.25
    assert evaluate(model, images).fmr == 0.25
    assert evaluate(model, images, threshold=point.threshold - MATCH_TOLERANCE).fmr == 4 / 12
