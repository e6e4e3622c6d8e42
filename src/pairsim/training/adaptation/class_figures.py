"""Judge embeddings of classes that a head or net was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.evaluation import all_pair_scores, recall_at_k
from pairsim.evaluation.uncertainty.resampling import bootstrap
from pairsim.models.embedding_net import unit_length

_NUM_RESAMPLES = 300
_MAX_IMAGES = 1_000
"""Images of one set of classes that are judged: every class then has as many images as fit."""


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """Figures over all pairs of images of some classes, and of resampled classes.

    Attributes:
        eer: Equal error rate, in [0, 1]; the mean over sets of classes, if there were several.
        recall_at_1: Share of images whose nearest other image is of their class, likewise.
        draws: The equal error rate of each set of resampled classes `[R]`.
    """

    eer: float
    recall_at_1: float
    draws: npt.NDArray[np.float64]

    def difference(self, other: ClassFigures, confidence: float = 0.95) -> tuple[float, float]:
        """Compute the interval of the difference of two EERs on the same images: this one minus the other.

        Args:
            other: Figures of the same images.
            confidence: Coverage aimed at, in (0, 1).
        """
        differences = self.draws - other.draws
        differences = differences[~np.isnan(differences)]
        if not differences.size:
            return float("nan"), float("nan")
        tail = 50 * (1 - confidence)
        low, high = np.percentile(differences, [tail, 100 - tail])
        return float(low), float(high)

    def line(self, name: str, difference: tuple[float, float] = (0.0, 0.0)) -> str:
        """Return the figures in a line.

        Args:
            name: What they are of.
            difference: Interval of the difference of the EER to that of another; not shown if both ends are 0.
        """
        low, high = difference
        text = f"{name:<22}EER {self.eer:6.2%}  recall@1 {self.recall_at_1:.3f}"
        return text if low == high == 0 else f"{text}  EER differs by [{low:+.2%}, {high:+.2%}]"


def class_figures(sets: Sequence[tuple[Tensor, Tensor]]) -> ClassFigures:
    """Compute the figures of sets of classes, each set with embeddings of its own, and their mean.

    Args:
        sets: Embeddings `[N, D]` of any length, and class numbers `[N]`, of each set.
    """
    figures = [_figures(embeddings, labels, seed) for seed, (embeddings, labels) in enumerate(sets)]
    return ClassFigures(
        eer=float(np.mean([one.eer for one in figures])),
        recall_at_1=float(np.mean([one.recall_at_1 for one in figures])),
        draws=np.mean([one.draws for one in figures], axis=0),
    )


def _figures(embeddings: Tensor, labels: Tensor, seed: int) -> ClassFigures:
    kept = judged_images(labels)
    vectors, codes = unit_length(embeddings[kept]).float(), torch.unique(labels[kept], return_inverse=True)[1]
    resampled = bootstrap(vectors, codes, 0.5, unit="classes", num_resamples=_NUM_RESAMPLES, seed=seed)
    recall = float(recall_at_k(vectors, codes, k=1))
    return ClassFigures(resampled.estimates["eer"], recall, resampled.figures["eer"])


def eer_and_recall(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute `eer` and `recall_at_1` over all pairs of images, without resampling.

    Args:
        embeddings: `[N, D]`, on any device.
        labels: Class numbers `[N]`.
    """
    vectors = unit_length(embeddings).float().cpu()
    scores = all_pair_scores(vectors, labels)
    return {"eer": scores.equal_error_rate(), "recall_at_1": float(recall_at_k(vectors, labels, k=1))}


def judged_images(labels: Tensor) -> Tensor:
    """Return the numbers of the images that are judged: of large sets the same number of each class, evenly spread.

    Args:
        labels: Class numbers `[N]`.

    Returns:
        Image numbers, ascending.

    Example:
        >>> judged_images(torch.tensor([0, 1, 0])).tolist()
        [0, 1, 2]
    """
    if len(labels) <= _MAX_IMAGES:
        return torch.arange(len(labels))
    classes, codes = torch.unique(labels, return_inverse=True)
    each = max(_MAX_IMAGES // len(classes), 2)
    order = torch.argsort(codes, stable=True)
    parts = order.split(torch.bincount(codes).tolist())
    kept = [part[torch.linspace(0, len(part) - 1, min(each, len(part))).long()] for part in parts]
    return torch.cat(kept).sort().values
