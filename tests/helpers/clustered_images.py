"""Embeddings that lie around the centers of their classes."""

from __future__ import annotations

import numpy as np


def clustered_images(
    seed: int, num_images: int, num_classes: int, spread: float = 0.7
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `[N, D]` of length 1 and labels `[N]` in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % num_classes)
    centres = np.eye(max(4, num_classes))[:num_classes]
    vectors = centres[labels] + spread * rng.normal(size=(num_images, max(4, num_classes)))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels
