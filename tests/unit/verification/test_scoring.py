from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsim import PairDataset, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.errors import DataError
from pairsim.evaluation import (
    PairCounts,
    PairScores,
    bootstrap,
    bootstrap_of_pairs,
    image_level_intervals,
    image_level_intervals_of_pairs,
)
from pairsim.verification.scoring import AllPairsScored, GivenPairsScored, all_scores, score_pairs


def test_all_pairs_of_a_dataset(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    images = ImageTensors(splits[2].images[:30], splits[2].targets[:30] + 5)
    scored = score_pairs(model, images)
    assert isinstance(scored, AllPairsScored)
    assert (scored.protocol, scored.num_images, scored.pairs.num_pairs) == ("all pairs", 30, 435)
    assert scored.classes[scored.codes].tolist() == images.targets.tolist()
    embeddings = model.encode(images.images)
    np.testing.assert_allclose(scored.embeddings, embeddings, atol=1e-6)
    expected = image_level_intervals(scored.embeddings, scored.codes, 0.5, fmr_targets=(0.1,))
    assert scored.intervals(0.5, (0.1,)) == expected
    resampled = scored.resampled(0.5, (0.1,), unit="classes", num_resamples=7, seed=2)
    again = bootstrap(scored.embeddings, scored.codes, 0.5, fmr_targets=(0.1,), unit="classes", num_resamples=7, seed=2)
    np.testing.assert_array_equal(resampled.figures["roc_auc"], again.figures["roc_auc"])


def test_given_pairs(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    pairs = PairDataset.from_pairs(splits[2], [7, 3, 7, 1], [3, 9, 9, 9], [1, 0, 0, 1])
    scored = score_pairs(model, pairs)
    assert isinstance(scored, GivenPairsScored)
    assert (scored.protocol, scored.num_images, scored.pairs.num_pairs) == ("given pairs", 4, 4)
    first, second = (model.encode(splits[2].images[[*numbers]]) for numbers in ((7, 3, 7, 1), (3, 9, 9, 9)))
    np.testing.assert_allclose(scored.similarity, (first * second).sum(dim=1), atol=1e-6)
    columns = (scored.similarity, scored.target, scored.first, scored.second)
    assert str(scored.intervals(0.5)) == str(image_level_intervals_of_pairs(*columns, 0.5))
    resampled = scored.resampled(0.5, (), unit="images", num_resamples=7, seed=2)
    again = bootstrap_of_pairs(*columns, 0.5, num_resamples=7, seed=2)
    np.testing.assert_array_equal(resampled.figures["fnmr"], again.figures["fnmr"])
    with pytest.raises(ValueError, match='"images" for given pairs'):
        scored.resampled(0.5, (), unit="classes", num_resamples=7, seed=2)


def test_one_image_has_no_pairs(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    with pytest.raises(DataError, match="at least two images to compare, found 1"):
        score_pairs(model, ImageTensors(splits[2].images[:1], [0]))


def test_scores_of_many_images_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = np.arange(12) % 3
    assert isinstance(all_scores(vectors.numpy(), labels), PairScores)
    monkeypatch.setattr("pairsim.verification.scoring.MAX_KEPT_IMAGES", 11)
    counted = all_scores(vectors.numpy(), labels)
    assert isinstance(counted, PairCounts)
    assert counted.num_pairs == 66
