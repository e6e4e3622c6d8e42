from __future__ import annotations

import numpy as np
import pytest

from pairsim.evaluation import PairCounts, PairScores
from pairsim.evaluation.probabilities.probability_chunks import probability_chunks


def test_probability_function_is_checked() -> None:
    pairs = PairScores.from_scores([0.5, -0.5], [1, 0])
    with pytest.raises(ValueError, match=r"got -0.5 at index 0: looks like similarities or logits"):
        pairs.brier_score(lambda scores: scores)
    with pytest.raises(ValueError, match=r"Expected one probability per score, shape \[1\], got \[\]. Give a function"):
        pairs.log_loss(lambda scores: scores.mean())


def test_distinct_scores_come_with_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.evaluation.pairs.ranked.CHUNK", 2)
    positive = PairCounts.from_scores([0.5, 0.25, 0.25, 1.0], [1, 1, 1, 1]).ranked.positive
    chunks = list(probability_chunks(positive, lambda scores: scores / 2))
    assert [values.tolist() for values, _ in chunks] == [[0.125, 0.25], [0.5]]
    assert [counts.tolist() for _, counts in chunks if counts is not None] == [[2, 1], [1]]


def test_index_of_a_wrong_probability_is_that_among_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.evaluation.pairs.ranked.CHUNK", 2)
    scores = PairScores.from_scores([0.1, 0.2, 0.3], [1, 1, 1]).ranked.positive
    with pytest.raises(ValueError, match=r"got 2 at index 2"):
        list(probability_chunks(scores, lambda values: np.where(values > 0.25, 2.0, values)))
