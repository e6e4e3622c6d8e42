"""Small numbers to draw: scores, embeddings, and records of training."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from figure_parts import misplaced
from matplotlib.figure import Figure

from pairsim.training.history import EpochRecord, History

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


def scored_pairs(positive: int = 60, negative: int = 400, seed: int = 0, gap: float = 0.5) -> tuple[Floats, Ints]:
    """Overlapping cosines of both kinds, in random order."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(gap, 0.2, positive), rng.normal(0.0, 0.2, negative)]).clip(-0.999, 0.999)
    targets = np.repeat([1, 0], [positive, negative])
    order = rng.permutation(len(scores))
    return scores[order], targets[order]


def labelled_embeddings(classes: int, each: int = 6, dim: int = 8, seed: int = 0) -> tuple[Floats, Ints]:
    """Unit-length embeddings around a direction for each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    vectors = rng.normal(size=(classes, dim))[labels] + 0.4 * rng.normal(size=(len(labels), dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def history(epochs: int, *, best: int | None = None, validated: bool = True) -> History:
    """A run whose kept model is of one epoch."""
    return History(
        [
            EpochRecord(
                epoch=epoch,
                train_loss=0.5 / epoch,
                val_loss=0.6 / epoch if validated else None,
                val_balanced_accuracy=1 - 0.2 / epoch if validated else None,
                learning_rate=0.01 * 0.5**epoch,
                best=epoch == best,
            )
            for epoch in range(1, epochs + 1)
        ]
    )


def off_place(figure: Figure) -> list[tuple[str, str]]:
    """What leaves the page or lies on something else, once the layout engine has done its work."""
    figure.draw_without_rendering()
    return misplaced(figure)


def panels(figure: Figure) -> list[Any]:
    """The axes, whose contents matplotlib types too broadly to compare."""
    return list(figure.axes)
