"""A figure of the worst errors at a threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Values, check_count
from pairsim.data.image_sets import in_memory
from pairsim.data.labels import read_labels
from pairsim.evaluation.errors.pair_errors import worst_pairs
from pairsim.images import Preprocessing
from pairsim.visual.page.pixels import fetch_separate
from pairsim.visual.page.text_styles import Names, name_of
from pairsim.visual.page.values import check_finite_threshold
from pairsim.visual.pictures.pair_rows import MAX_PAIRS, PAIRS_PER_ROW, draw_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_confusing_pairs(
    dataset: Any,
    embeddings: Values,
    threshold: float,
    *,
    labels: Any = None,
    count: int = PAIRS_PER_ROW,
    names: Names = None,
    preprocessing: Preprocessing | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the false matches with the highest and the false non-matches with the lowest similarity.

    They are the worst errors of all pairs of the dataset (see `worst_pairs`): first the false matches, then the false
    non-matches, each from the worst on. The target is above each pair; both classes, the similarity and a cross are
    below. The title gives the number of errors.

    Args:
        dataset: The images that were embedded, `(image, label)`; only those that are drawn are read.
        embeddings: Their embeddings `[N, D]` of length 1, as `encode_dataset` returns them.
        threshold: A pair with at least this similarity is a match, in [-1, 1].
        labels: One label per image, instead of the dataset's own.
        count: Pairs of each kind to draw, 1 to 12.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: Preprocessing of floating-point images, which is undone; or reads items that are pictures.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Each pair has two axes, labelled `first 0`, `second 0`, and so on.

    Raises:
        ValueError: If there is no error, numbers of images, embeddings and labels differ, embeddings are not
            of length 1, or `threshold` or `count` is out of range.
        DataError: If labels cannot be read, or items are not images.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.rand(3, 28, 28), [0, 0, 1])
        >>> figure = draw_confusing_pairs(images, torch.eye(2)[[0, 1, 0]], 0.5, names=["cat", "dog"])
        >>> [axes.get_label() for axes in figure.axes]
        ['first 0', 'second 0', 'first 1', 'second 1']
    """
    number = check_count(count, "count", 1, PAIRS_PER_ROW)
    if number > MAX_PAIRS // 2:
        raise ValueError(f"Expected count to be at most {MAX_PAIRS // 2}, got {number}. Draw fewer of each kind.")
    check_finite_threshold(threshold)
    images = in_memory(dataset)
    image_labels = read_labels(images, labels)
    codes = np.unique(image_labels, return_inverse=True)[1]
    worst = worst_pairs(embeddings, codes, threshold, number)
    kinds = (worst.false_matches, worst.false_non_matches)
    first = np.concatenate([kind.first for kind in kinds]).tolist()
    second = np.concatenate([kind.second for kind in kinds]).tolist()
    if not first:
        raise ValueError(
            f"Expected an error at threshold {threshold:g}, found none: all {len(codes) * (len(codes) - 1) // 2:,} "
            "pairs are classified correctly. There is nothing to draw."
        )
    shown = [
        f"{len(kind)} of {kind.total:,} {name}"
        for kind, name in zip(kinds, ("false matches", "false non-matches"), strict=True)
    ]
    return draw_pairs(
        fetch_separate(images, first, preprocessing),
        fetch_separate(images, second, preprocessing),
        np.repeat([0, 1], [len(kind) for kind in kinds]),
        similarity=np.concatenate([kind.similarity for kind in kinds]),
        threshold=threshold,
        classes=[
            (name_of(image_labels[one], names), name_of(image_labels[other], names))
            for one, other in zip(first, second, strict=True)
        ],
        preprocessing=preprocessing,
        title=f"{title or 'Worst errors'}: {' and '.join(shown)}",
    )
