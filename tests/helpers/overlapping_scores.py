"""Scores of positive and negative pairs that overlap."""

from __future__ import annotations

import numpy as np


def overlapping_scores(seed: int, num_positive: int, num_negative: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores `[P]` and targets `[P]` in random order."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.6, 0.3, num_positive), rng.normal(0.1, 0.2, num_negative)])
    targets = np.repeat([1, 0], [num_positive, num_negative])
    order = rng.permutation(len(scores))
    return scores[order], targets[order]
