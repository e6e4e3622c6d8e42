from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from pairsim import PairDataset, SimilarityModel, TrainConfig, Trainer, calibrate, evaluate
from pairsim._common.choices import CalibrationMethod
from pairsim._common.unit_similarity import MATCH_TOLERANCE
from pairsim.data import ImageTensors
from pairsim.data.image_sets import subset
from pairsim.verification.model_calibration import fit_calibration, operating_point
from pairsim.verification.scoring import score_pairs


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


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_numbers_may_be_of_numpy(
    model: SimilarityModel, splits: tuple[ImageTensors, ...], tmp_path: Path, method: CalibrationMethod
) -> None:
    calibration = calibrate(model, splits[1], method=method, prior=np.float32(0.25), target_fmr=np.float32(0.125))  # type: ignore[arg-type]
    model.save_pretrained(tmp_path)
    assert SimilarityModel.from_pretrained(tmp_path).calibration == calibration
    assert (calibration.prior, type(calibration.prior)) == (0.25, float)


def test_a_rare_prior_leaves_other_choices_of_the_threshold(
    model: SimilarityModel, splits: tuple[ImageTensors, ...]
) -> None:
    pairs = PairDataset(splits[1], num_pairs=1000, seed=1)
    calibration = calibrate(model, pairs, method="isotonic", prior=1e-5, target_fmr=0.1)
    assert calibration.similarity_at(0.5) == math.inf
    assert math.isfinite(model.threshold)


def test_training_again_drops_the_calibration(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    calibrate(model, splits[1])
    Trainer(model, TrainConfig(epochs=1, batch_size=64, progress=False), train=splits[0], val=splits[1]).fit()
    assert model.calibration is None


def test_errors_leave_the_model_as_it_was(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    few = PairDataset(splits[1], num_pairs=1000, seed=1)
    with pytest.raises(ValueError, match=r"at least 3,000 negative pairs .*got 500"):
        calibrate(model, few, target_fmr=0.001)
    with pytest.raises(ValueError, match="one of target_fmr, costs and equal_errors"):
        calibrate(model, few, target_fmr=0.1, equal_errors=True)
    with pytest.raises(ValueError, match="prior to be between 0 and 1"):
        calibrate(model, few, prior=0.0)
    with pytest.raises(ValueError, match='"platt" or "isotonic"'):
        calibrate(model, few, method="beta")  # type: ignore[arg-type]
    images = torch.cat([splits[1].images, splits[1].images[:1]])  # the last is the first, with another label
    drawn, last = few.all_pairs(), len(images) - 1
    twins = PairDataset.from_pairs(
        ImageTensors(images, range(len(images))),
        [*drawn.first.tolist(), 0],
        [*drawn.second.tolist(), last],
        [*drawn.target.tolist(), 0],
    )
    with pytest.raises(ValueError, match="rejecting every pair costs least"):
        calibrate(model, twins, costs=(1e6, 1))
    for prior, found in ((1e-5, "lower"), (0.99999, "higher")):
        said = rf"^Expected a probability of one half at some similarity, .* {found} ones only at prior .*target_fmr"
        with pytest.raises(ValueError, match=said):
            calibrate(model, few, method="isotonic", prior=prior)
    one_class = subset(splits[1], (splits[1].targets == 3).nonzero()[0])
    with pytest.raises(ValueError, match="positive and negative pairs to calibrate on"):
        calibrate(model, one_class)
    assert model.calibration is None
    assert model.operating_point is None


def test_fit_and_operating_point_of_scored_pairs(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    scored = score_pairs(model, splits[1])
    fitted = fit_calibration(scored, prior=0.02, source="held out")
    assert (fitted.prior, fitted.source, fitted.operating_point) == (0.02, "held out", None)
    assert (fitted.num_positive, fitted.num_negative) == (scored.pairs.num_positive, scored.pairs.num_negative)
    point = operating_point(scored, 0.6, "by hand", "")
    assert (point.fmr, point.fnmr) == scored.pairs.fmr_fnmr(0.6)
    assert (point.source, point.criterion) == ("all pairs", "by hand")
    assert model.calibration is None


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
