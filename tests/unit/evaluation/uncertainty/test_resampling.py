"""Resampling by weights, against test sets that are really drawn anew."""

from __future__ import annotations

import math

import numpy as np
import pytest
from clustered_images import clustered_images

from pairsim.evaluation import (
    PairScores,
    all_pair_scores,
    bootstrap,
    bootstrap_of_pairs,
    fnmr_at_fmr,
    paired_differences,
)
from pairsim.evaluation.uncertainty import resampling
from pairsim.evaluation.uncertainty.resampling import _percentiles, _weights

THRESHOLD = 0.4


def drawn_anew(embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, *, classes: bool) -> PairScores:
    """The pairs of a set in which each image is as often as its weight says."""
    scores, targets = [], []
    similarity = (embeddings.astype(np.float32) @ embeddings.astype(np.float32).T).clip(-1, 1)
    for i in range(len(labels)):
        for j in range(i):
            same = labels[i] == labels[j]
            times = int(weights[i]) if classes and same else int(weights[i] * weights[j])
            scores += [similarity[i, j]] * times
            targets += [int(same)] * times
    return PairScores.from_scores(np.array(scores), np.array(targets))


@pytest.mark.parametrize("unit", ["images", "classes"])
def test_figures_are_those_of_sets_drawn_anew(unit: str) -> None:
    embeddings, labels = clustered_images(0, 16, 4)
    found = bootstrap(embeddings, labels, THRESHOLD, unit=unit, num_resamples=12, seed=5)  # type: ignore[arg-type]
    units = 16 if unit == "images" else 4
    weights = _weights(units, 12, 5).numpy()
    if unit == "classes":
        weights = weights[labels]
    compared = 0
    for number in range(12):
        pairs = drawn_anew(embeddings, labels, weights[:, number], classes=unit == "classes")
        if not (pairs.num_positive and pairs.num_negative):
            continue
        compared += 1
        fmr, fnmr = pairs.fmr_fnmr(THRESHOLD)
        expected = {
            "roc_auc": pairs.roc_auc(),
            "eer": pairs.equal_error_rate(),
            "fmr": fmr,
            "fnmr": fnmr,
            "accuracy": pairs.accuracy(THRESHOLD),
            "balanced_accuracy": pairs.balanced_accuracy(THRESHOLD),
        }
        for name, value in expected.items():
            assert found.figures[name][number] == pytest.approx(value, abs=1e-6), name
    assert compared >= 8


def test_given_pairs_are_weighted_alike() -> None:
    embeddings, labels = clustered_images(1, 20, 4)
    first, second = np.triu_indices(20, 1)
    similarity = np.einsum("nd,nd->n", embeddings[first], embeddings[second]).astype(np.float32)
    target = labels[first] == labels[second]
    whole = bootstrap(embeddings, labels, THRESHOLD, num_resamples=40, fmr_targets=(0.1,))
    given = bootstrap_of_pairs(similarity, target, first, second, THRESHOLD, num_resamples=40, fmr_targets=(0.1,))
    for name, values in whole.figures.items():
        np.testing.assert_allclose(given.figures[name], values, atol=1e-5, err_msg=name)


def test_many_pairs_are_read_off_few_thresholds() -> None:
    embeddings, labels = clustered_images(2, 300, 5)
    found = bootstrap(embeddings, labels, THRESHOLD, num_resamples=4, fmr_targets=(0.01,), seed=3)
    weights = _weights(300, 4, 3).numpy()
    for number in range(4):
        pairs = drawn_anew(embeddings, labels, weights[:, number], classes=False)
        assert found.figures["roc_auc"][number] == pytest.approx(pairs.roc_auc(), abs=3e-4)
        assert found.figures["eer"][number] == pytest.approx(pairs.equal_error_rate(), abs=5e-4)
        assert found.figures["fnmr"][number] == pytest.approx(pairs.fmr_fnmr(THRESHOLD)[1], abs=1e-9)
        assert found.figures["fnmr_at_fmr_0.01"][number] == pytest.approx(pairs.fnmr_at_fmr(0.01), abs=0.01)


def test_estimates_are_exact_and_intervals_hold_them() -> None:
    embeddings, labels = clustered_images(3, 80, 5)
    found = bootstrap(embeddings, labels, THRESHOLD, fmr_targets=(0.05,), num_resamples=300)
    pairs = all_pair_scores(embeddings, labels)
    assert found.estimates["roc_auc"] == pairs.roc_auc()
    assert found.estimates["fnmr_at_fmr_0.05"] == pairs.fnmr_at_fmr(0.05)
    assert found.estimates["fnmr_at_fmr_0.05"] == fnmr_at_fmr(
        np.concatenate([pairs.positive, pairs.negative]), [1] * pairs.num_positive + [0] * pairs.num_negative, 0.05
    )
    for name, (low, high) in found.intervals().items():
        assert 0 <= low <= found.estimates[name] <= high <= 1, name
        narrow = found.intervals(0.5)[name]
        assert low <= narrow[0] <= narrow[1] <= high


def test_the_order_of_images_and_the_block_size_do_not_matter() -> None:
    embeddings, labels = clustered_images(4, 40, 4)
    base = bootstrap(embeddings, labels, THRESHOLD, num_resamples=150)
    blocks = bootstrap(embeddings, labels, THRESHOLD, num_resamples=150, block_size=7)
    renamed = bootstrap(embeddings, (labels * 7 + 3) % 11, THRESHOLD, num_resamples=150)
    for name, values in base.figures.items():
        np.testing.assert_allclose(blocks.figures[name], values, atol=1e-5)
        np.testing.assert_allclose(renamed.figures[name], values, atol=1e-5)  # classes come in another order


def test_classes_vary_more_than_their_images() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat(np.arange(12), 30)
    centres = rng.normal(size=(12, 3))  # some classes are close, others far apart
    vectors = centres[labels] + 0.3 * rng.normal(size=(360, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    widths = {}
    for unit in ("images", "classes"):
        low, high = bootstrap(vectors, labels, 0.8, unit=unit, num_resamples=300).intervals()["fmr"]
        widths[unit] = high - low
    assert widths["classes"] > 3 * widths["images"]


def test_degenerate_sets() -> None:
    one_class = bootstrap(np.eye(4)[[0, 0, 0]], [1, 1, 1], 0.5, num_resamples=5)
    assert math.isnan(one_class.estimates["roc_auc"])
    assert all(math.isnan(end) for end in one_class.intervals()["roc_auc"])
    assert one_class.intervals()["fnmr"] == (0.0, 0.0)
    empty = bootstrap(np.zeros((0, 3)), np.zeros(0, dtype=int), 0.5, num_resamples=5)
    assert all(math.isnan(low) for low, _ in empty.intervals().values())


def test_messages() -> None:
    embeddings, labels = clustered_images(9, 8, 2)
    with pytest.raises(ValueError, match="got 'pairs'"):
        bootstrap(embeddings, labels, 0.5, unit="pairs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_resamples to be a whole number of at least 1"):
        bootstrap(embeddings, labels, 0.5, num_resamples=0)
    with pytest.raises(ValueError, match="confidence between 0 and 1"):
        bootstrap(embeddings, labels, 0.5, num_resamples=5).intervals(95)


def test_percentiles_leave_out_nan() -> None:
    assert _percentiles(np.array([math.nan, *range(101)]), 0.9) == pytest.approx((5.0, 95.0))
    assert np.isnan(_percentiles(np.array([math.nan]), 0.9)).all()


def test_a_worse_model_is_found_to_be_worse_and_an_equal_one_is_not() -> None:
    good, labels = clustered_images(7, 120, 6, spread=0.35)
    rng = np.random.default_rng(8)
    worse = good + 0.25 * rng.normal(size=good.shape)
    worse /= np.linalg.norm(worse, axis=1, keepdims=True)
    turned = good @ np.linalg.qr(rng.normal(size=(6, 6)))[0]  # the same similarities
    by_model = [bootstrap(found, labels, THRESHOLD, num_resamples=400) for found in (good, worse, turned)]
    better = paired_differences(by_model[0], by_model[1])["roc_auc"]
    assert 0 < better.low < better.difference < better.high
    assert better.p_value == pytest.approx(2 / 401)
    assert better.difference == better.first - better.second
    reversed_ = paired_differences(by_model[1], by_model[0])["roc_auc"]
    assert (reversed_.low, reversed_.high) == pytest.approx((-better.high, -better.low))
    equal = paired_differences(by_model[0], by_model[2])["roc_auc"]
    assert abs(equal.difference) < 1e-6
    # pairing takes out what is hard for both: far narrower than the interval of either
    low, high = by_model[0].intervals()["roc_auc"]
    assert equal.high - equal.low < (high - low) / 10


def test_figures_that_one_model_lacks_are_left_out_and_nan_stays_nan() -> None:
    embeddings, labels = clustered_images(3, 30, 3)
    first = bootstrap(embeddings, labels, THRESHOLD, fmr_targets=(0.1,), num_resamples=5)
    second = bootstrap(embeddings, labels, THRESHOLD, num_resamples=5)
    assert "fnmr_at_fmr_0.1" not in paired_differences(first, second)
    one_class = bootstrap(np.eye(4)[[0, 0, 0]], [1, 1, 1], 0.5, num_resamples=5)
    auc = paired_differences(one_class, one_class)["roc_auc"]
    assert np.isnan([auc.difference, auc.low, auc.high, auc.p_value]).all()


def test_messages_of_differences() -> None:
    embeddings, labels = clustered_images(9, 8, 2)
    resampled = bootstrap(embeddings, labels, 0.5, num_resamples=5)
    for num_resamples, seed in ((5, 1), (6, 0)):
        other = bootstrap(embeddings, labels, 0.5, num_resamples=num_resamples, seed=seed)
        with pytest.raises(ValueError, match="resampled in the same way"):
            paired_differences(resampled, other)
    with pytest.raises(ValueError, match="confidence between 0 and 1"):
        paired_differences(resampled, resampled, confidence=1.0)


@pytest.mark.parametrize("pairs_at_once", [1, 100, 1 << 20])
def test_classes_have_the_same_figures_for_any_number_of_pairs_at_once(
    pairs_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    labels = np.sort(rng.integers(0, 6, 40))
    vectors = rng.normal(size=(6, 5))[labels] + rng.normal(size=(40, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = bootstrap(vectors, labels, 0.3, unit="classes", num_resamples=20)
    monkeypatch.setattr(resampling, "_PAIRS_AT_ONCE", pairs_at_once)
    found = bootstrap(vectors, labels, 0.3, unit="classes", num_resamples=20, block_size=7)
    for name, values in expected.figures.items():
        np.testing.assert_array_equal(found.figures[name], values)
