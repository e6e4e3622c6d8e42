"""Whether an image's label agrees with the labels of the images most similar to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import Float64Array, Values, check_count, check_fraction, labelled_embeddings


@dataclass(frozen=True, eq=False)
class LabelAgreement:
    """What `label_agreement` found for each of N images.

    Attributes:
        proposed: The label whose images an image is most similar to `[N]`; its own where that is the one.
        score: Similarity to the images of the best other label less that to those of its own `[N]`; positive where
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
    (`least`), or all of a label with fewer. The score is that to the best other label less that to the image's own.
    A tenth is enough that a few wrong labels among a label's images hardly matter, where the ten nearest might all be
    wrong; and few enough that a class may have several forms. Every label counts alike, whatever its number of images.
    An image is never compared with itself.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Label of each image `[N]`, whole numbers, some of them perhaps wrong.
        query: Embeddings `[Q, D]` and labels `[Q]` of images to judge by the others; without it all are judged, each by
            all others.
        share: Share of a label's images that is asked, in [0, 1].
        least: Images of a label that are asked at least, 1 or more.
        block_size: Images judged at once; but for rounding, the result does not depend on it.

    Returns:
        Proposed labels and scores, one for each image judged; empty for none. Scores lie in [-2, 2], and in [-1, 1]
        where similarities are not negative, as with the reference net.

    Raises:
        TypeError: If embeddings are not of a float dtype, or labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or a number is out of
            range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.2, 0.3, 1.5, 1.6, 1.7, 1.8])
        >>> found = label_agreement(np.stack((np.cos(angles), np.sin(angles)), 1), [0, 0, 0, 1, 1, 1, 1, 1], least=2)
        >>> found.proposed.tolist(), int(found.score.argmax())
        ([0, 0, 0, 0, 1, 1, 1, 1], 3)

    References:
        C. G. Northcutt, L. Jiang, I. L. Chuang, Confident learning: estimating uncertainty in dataset labels, JAIR 70,
        2021 (ranking by the margin of out-of-sample predictions).
    """
    check_fraction(share, "share")
    check_count(least, "least", 1, 10)
    size = check_count(block_size, "block_size", 1, 512)
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
    # sorted by label, the images of each are one slice
    order = np.argsort(classes, kind="stable")
    gallery = torch.from_numpy(vectors[order].astype(np.float32)).T
    distinct, begins = np.unique(classes[order], return_index=True)
    limits = [*begins.tolist(), len(order)]
    places = np.argsort(order, kind="stable")  # of each image in the gallery
    proposed, score = given.copy(), np.full(len(given), np.nan)
    for start in range(0, len(given) if len(distinct) else 0, size):
        part = slice(start, start + size)
        similarities = (torch.from_numpy(looked_up[part].astype(np.float32)) @ gallery).numpy()
        own = given[part, None] == distinct
        evidence = np.empty(own.shape)
        if query is None:
            np.put_along_axis(similarities, places[part, None], -np.inf, axis=1)
        for code, (begin, end) in enumerate(itertools.pairwise(limits)):
            columns = similarities[:, begin:end]
            evidence[:, code] = _mean_of_highest(columns, end - begin, share, least)
            if query is None:
                mine = own[:, code]
                evidence[mine, code] = _mean_of_highest(columns[mine], end - begin - 1, share, least)
        for_own = np.where(own.any(axis=1), np.where(own, evidence, 0.0).sum(axis=1), np.nan)
        others = np.where(own, -1.0, evidence)  # no cosine is lower
        best = others.argmax(axis=1)
        score[part] = others.max(axis=1) - for_own
        proposed[part] = np.where(score[part] > 0, distinct[best], given[part])
    return LabelAgreement(proposed, score)


def _mean_of_highest(similarities: npt.NDArray[np.float32], count: int, share: float, least: int) -> Float64Array:
    """Mean of the highest similarities of each row, of which `count` are there; NaN if there are none."""
    asked = min(count, max(least, round(share * count)))
    if not asked:
        return np.full(len(similarities), np.nan)
    highest = np.partition(similarities, similarities.shape[1] - asked, axis=1)[:, -asked:]
    mean: Float64Array = highest.mean(axis=1, dtype=np.float64)
    return mean
