"""Embeddings of classes in groups, some of which lie closer together than others."""

from __future__ import annotations

import numpy as np

GROUPS = ("dense", "even", "wide")
_TOWARDS = {"dense": 2.4, "even": 1.2, "wide": 0.0}
_DIMENSIONS = 16


def grouped_images(seed: int, num_classes: int, *, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Embeddings `[N, D]` of length 1, labels `[N]` and groups; `num_classes` classes in each, of 2 to 8 images."""
    rng = np.random.default_rng([seed, num_classes])
    vectors, labels, groups = [], [], list[str]()
    for number, name in enumerate(GROUPS):
        centres = rng.normal(size=(num_classes, _DIMENSIONS))
        centres[:, number] += _TOWARDS[name]
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        own = np.repeat(np.arange(num_classes), rng.integers(2, 9, num_classes))
        oddness = rng.gamma(4.0, 0.25, num_classes)[own, None]  # of some classes more than of others
        vectors.append(centres[own] + noise * oddness * rng.normal(size=(len(own), _DIMENSIONS)))
        labels.append(own + number * num_classes)
        groups += [name] * len(own)
    whole = np.concatenate(vectors)
    return whole / np.linalg.norm(whole, axis=1, keepdims=True), np.concatenate(labels), groups
