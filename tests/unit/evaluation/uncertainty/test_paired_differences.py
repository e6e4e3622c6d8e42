from __future__ import annotations

import numpy as np
import pytest
from clustered_images import clustered_images

from pairsim.evaluation import bootstrap, paired_differences

THRESHOLD = 0.4


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


def test_messages() -> None:
    embeddings, labels = clustered_images(9, 8, 2)
    resampled = bootstrap(embeddings, labels, 0.5, num_resamples=5)
    for num_resamples, seed in ((5, 1), (6, 0)):
        other = bootstrap(embeddings, labels, 0.5, num_resamples=num_resamples, seed=seed)
        with pytest.raises(ValueError, match="resampled in the same way"):
            paired_differences(resampled, other)
    with pytest.raises(ValueError, match="confidence between 0 and 1"):
        paired_differences(resampled, resampled, confidence=1.0)
