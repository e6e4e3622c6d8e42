"""Agreement of each image's label with the labels of the images most similar to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import (
    Float64Array,
    Values,
    check_count,
    check_fraction,
    labelled_embeddings,
    query_embeddings,
)


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """The result of `label_agreement` for each of N images.

    Attributes:
        proposed: The label whose images the image is most similar to `[N]`; often its own.
        score: Similarity to the images of the best other label minus that to those of its own `[N]`; positive where
            another label is proposed, NaN where no other image has its label.

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
    share: float = 0.1,
    least: int = 10,
    block_size: int = 512,
) -> LabelAgreement:
    """Compare how similar each image is to the images of its own label and of every other.

    The similarity to a label is the mean over the tenth (`share`) of its images that are most similar, but at least ten
    (`least`), or all of a label with fewer. The score is that to the best other label minus that to the image's own.
    A tenth is enough that a few wrong labels among a label's images hardly matter, where the ten nearest might all be
    wrong; and few enough that a class may have several forms. Labels count equally, with few images or many. An image
    is never compared with itself.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Label of each image `[N]`, whole numbers, some of which may be wrong.
        query: Embeddings `[Q, D]` and labels `[Q]` of images to compare with the others; by default each image is
            compared with all others.
        share: Share of a label's images that the mean is over, in [0, 1].
        least: Lowest number of images that the mean is over, at least 1.
        block_size: Images compared at once; except for rounding, the result does not depend on it.

    Returns:
        Proposed labels and scores, one for each image; empty for none. Scores lie in [-2, 2], and in [-1, 1]
        where similarities are not negative, as with the reference net.

    Raises:
        TypeError: If embeddings are not of a float dtype, or labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or a number is out of
            range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.2, 0.3, 1.5, 1.6, 1.7, 1.8])
        >>> embeddings = np.stack((np.cos(angles), np.sin(angles)), axis=1)
        >>> agreement = label_agreement(embeddings, [0, 0, 0, 1, 1, 1, 1, 1], least=2)
        >>> agreement.proposed.tolist(), int(agreement.score.argmax())
        ([0, 0, 0, 0, 1, 1, 1, 1], 3)

    References:
        C. G. Northcutt, L. Jiang, I. L. Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70,
        2021 (ranking by the margin of out-of-sample predictions).
    """
    check_fraction(share, "share")
    check_count(least, "least", 1, 10)
    size = check_count(block_size, "block_size", 1, 512)
    vectors, classes = labelled_embeddings(embeddings, labels)
    queries, given = (vectors, classes) if query is None else query_embeddings(query, vectors.shape[1])
    # Sorted by label, the images of each are one slice.
    order = np.argsort(classes, kind="stable")
    gallery = torch.from_numpy(vectors[order].astype(np.float32)).T
    distinct, begins = np.unique(classes[order], return_index=True)
    limits = [*begins.tolist(), len(order)]
    positions = np.argsort(order, kind="stable")  # of each image in the gallery
    proposed, score = given.copy(), np.full(len(given), np.nan)
    for start in range(0, len(given) if len(distinct) else 0, size):
        part = slice(start, start + size)
        similarities = (torch.from_numpy(queries[part].astype(np.float32)) @ gallery).numpy()
        own = given[part, None] == distinct
        evidence = np.empty(own.shape)
        if query is None:
            np.put_along_axis(similarities, positions[part, None], -np.inf, axis=1)
        for code, (begin, end) in enumerate(itertools.pairwise(limits)):
            columns = similarities[:, begin:end]
            evidence[:, code] = _mean_of_highest(columns, end - begin, share, least)
            if query is None:
                rows = own[:, code]
                evidence[rows, code] = _mean_of_highest(columns[rows], end - begin - 1, share, least)
        for_own = np.where(own.any(axis=1), np.where(own, evidence, 0.0).sum(axis=1), np.nan)
        others = np.where(own, -1.0, evidence)  # no cosine is lower
        best = others.argmax(axis=1)
        score[part] = others.max(axis=1) - for_own
        proposed[part] = np.where(score[part] > 0, distinct[best], given[part])
    return LabelAgreement(proposed, score)


def _mean_of_highest(similarities: npt.NDArray[np.float32], count: int, share: float, least: int) -> Float64Array:
    """Return the mean of the highest of `count` similarities in each row; NaN for no similarities."""
    num_highest = min(count, max(least, round(share * count)))
    if not num_highest:
        return np.full(len(similarities), np.nan)
    highest = np.partition(similarities, similarities.shape[1] - num_highest, axis=1)[:, -num_highest:]
    mean: Float64Array = highest.mean(axis=1, dtype=np.float64)
    return mean
