"""Whether an image's label agrees with the labels of the images most similar to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pairsim.evaluation._inputs import Float64Array, Values, check_count, labelled_embeddings


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """What `label_agreement` found for each of N images.

    Attributes:
        proposed: The label that its neighbours give an image `[N]`; its own where nothing speaks for another.
        score: Evidence for the best other label less that for its own `[N]`, in [-1, 1]; NaN where no other image has
            its label.

    Example:
        >>> LabelAgreement(np.array([3]), np.array([0.5])).score.tolist()
        [0.5]
    """

    proposed: npt.NDArray[np.integer[Any]]
    score: Float64Array


def label_agreement(
    embeddings: Values,
    labels: Values,
    *,
    query: tuple[Values, Values] | None = None,
    k: int = 30,
    temperature: float = 0.07,
    block_size: int = 512,
) -> LabelAgreement:
    """Compare each image's label with those of its `k` nearest neighbours.

    The evidence for a label is its share of the neighbours' similarity: with similarities s_1 >= s_2 >= ... and weights
    w_i = exp((s_i - s_1) / temperature), it is the sum of w_i s_i over the neighbours with that label, over the sum of
    all w_i. The score is the evidence for the best other label less that for the image's own: close to 1 where the
    image lies amid another class, close to -1 amid its own, close to 0 between classes or far from all. Neighbours of a
    wrong label count with their small share; the weights keep images of large, distant classes from outvoting the few
    of a small class near by. An image is never its own neighbour.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Label of each image `[N]`, whole numbers, some of them perhaps wrong.
        query: Embeddings `[Q, D]` and labels `[Q]` of images to judge by the others; without it all are judged, each by
            all others.
        k: Neighbours that are asked, at least 1; all if there are fewer.
        temperature: Difference in similarity that makes a neighbour count 1/e as much, positive.
        block_size: Images looked up at once; the result does not depend on it.

    Returns:
        Proposed labels and scores, one for each image judged; empty for none.

    Raises:
        TypeError: If embeddings are not of a float dtype, or labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or a number is out of
            range.

    Example:
        >>> around = np.array([0.0, 0.1, 0.2, 0.3, 1.5, 1.6, 1.7, 1.8])
        >>> found = label_agreement(np.stack((np.cos(around), np.sin(around)), 1), [0, 0, 0, 1, 1, 1, 1, 1], k=3)
        >>> found.proposed.tolist(), int(found.score.argmax())
        ([0, 0, 0, 0, 1, 1, 1, 1], 3)

    References:
        Z. Wu, Y. Xiong, S. X. Yu, D. Lin, Unsupervised feature learning via non-parametric instance discrimination,
        CVPR 2018 (the weights); C. G. Northcutt, L. Jiang, I. L. Chuang, Confident learning, JAIR 70, 2021 (ranking by
        the margin).
    """
    check_count(k, "k", 1, 30)
    size = check_count(block_size, "block_size", 1, 512)
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"Expected temperature to be positive, got {temperature}. Use 0.07, say.")
    vectors, classes = labelled_embeddings(embeddings, labels)
    if query is None:
        looked_up, given = vectors, classes
    else:
        looked_up, given = labelled_embeddings(*query, kind="query ")
        if looked_up.shape[1] != vectors.shape[1]:
            raise ValueError(
                f"Expected query embeddings [Q, {vectors.shape[1]}], got {list(looked_up.shape)}. "
                "Embed both with the same model."
            )
    proposed, score = given.copy(), np.full(len(given), np.nan)
    neighbors = min(k, len(vectors) - (query is None))
    if neighbors < 1:
        return LabelAgreement(proposed, score)
    gallery = torch.from_numpy(vectors.astype(np.float32)).T
    distinct, counts = np.unique(classes, return_counts=True)
    place = np.searchsorted(distinct, given).clip(max=len(distinct) - 1)
    others = np.where(distinct[place] == given, counts[place], 0) - (query is None)
    for start in range(0, len(given), size):
        part = slice(start, start + size)
        similarities = torch.from_numpy(looked_up[part].astype(np.float32)) @ gallery
        if query is None:
            rows = torch.arange(len(similarities))
            similarities[rows, rows + start] = -torch.inf
        top, places = similarities.topk(neighbors, dim=1)
        proposed[part], score[part] = _vote(
            top.double().numpy(), classes[places.numpy()], given[part], temperature=temperature
        )
    score[others == 0] = np.nan
    proposed[others == 0] = given[others == 0]
    return LabelAgreement(proposed, score)


def _vote(
    similarity: Float64Array,
    labels: npt.NDArray[np.integer[Any]],
    given: npt.NDArray[np.integer[Any]],
    *,
    temperature: float,
) -> tuple[npt.NDArray[np.integer[Any]], Float64Array]:
    """Proposed labels and scores from given labels `[n]` and neighbours `[n, k]`, the most similar first."""
    weights = np.exp((similarity - similarity[:, :1]) / temperature)
    votes = weights * similarity.clip(0.0, 1.0) / weights.sum(axis=1, keepdims=True)
    alike = labels[:, :, None] == labels[:, None, :]
    evidence = np.einsum("nij,nj->ni", alike, votes)  # for the label of each neighbour
    own = labels == given[:, None]
    for_own = (votes * own).sum(axis=1)
    for_others = np.where(own, 0.0, evidence)
    best = for_others.argmax(axis=1)  # the nearest neighbour's, where labels tie
    rows = np.arange(len(given))
    score = for_others[rows, best] - for_own
    return np.where(score > 0, labels[rows, best], given), score
