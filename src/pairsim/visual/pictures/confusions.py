"""A figure of the pairs that a threshold gets most wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pairsim._common.arrays import Values, check_count
from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.data.labels import read_labels
from pairsim.evaluation.errors.pair_errors import worst_pairs
from pairsim.images import Preprocessing
from pairsim.visual.page.class_names import Names, name_of
from pairsim.visual.page.pixels import separate_images
from pairsim.visual.page.values import check_finite_threshold
from pairsim.visual.pictures.pair_rows import MAX_PAIRS, PAIRS_PER_ROW, draw_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


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
    """Draw the false matches of the highest and the false non-matches of the lowest similarity.

    They are the worst of all pairs of the dataset (see `worst_pairs`), false matches first, each kind from the worst
    on, with the truth above and both classes, the similarity and a cross below. The title says how many there are.

    Args:
        dataset: The images that were embedded, `(image, label)`; only those that are drawn are read.
        embeddings: Their embeddings `[N, D]` of length 1, as `encode_dataset` gives them.
        threshold: A pair with at least this similarity is called a match, in [-1, 1].
        labels: One label per image, instead of the dataset's own.
        count: Pairs of each kind to draw, 1 to 12.
        names: Names to write instead of labels, by label (`names[label]`).
        preprocessing: What floating-point images went through, to undo it, or reads items that are pictures.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Of its axes, each pair has two, labelled `first 0`, `second 0`, and so on.

    Raises:
        ValueError: If no pair is judged wrongly, numbers of images, embeddings and labels differ, embeddings are not
            of length 1, or `threshold` or `count` is out of range.
        DataError: If labels cannot be read, or items are not images.
        MissingExtraError: If matplotlib is not installed.

    Example:
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
    given = read_labels(images, labels)
    _, codes = np.unique(given, return_inverse=True)
    found = worst_pairs(embeddings, codes, threshold, number)
    kinds = (found.false_matches, found.false_non_matches)
    pairs = [pair for kind in kinds for pair in zip(kind.first.tolist(), kind.second.tolist(), strict=True)]
    if not pairs:
        raise ValueError(
            f"Expected a pair that is judged wrongly at threshold {threshold:g}, found none: "
            f"all {len(codes) * (len(codes) - 1) // 2:,} pairs are judged rightly. There is nothing to draw."
        )

    def picture(place: int) -> Tensor:
        return separate_images(fetch_images(images, np.array([place]), preprocessing))[0]

    shown = [
        f"{len(kind)} of {kind.total:,} {name}"
        for kind, name in zip(kinds, ("false matches", "false non-matches"), strict=True)
    ]
    return draw_pairs(
        [picture(one) for one, _ in pairs],
        [picture(other) for _, other in pairs],
        torch.cat([torch.full((len(kind),), target) for target, kind in enumerate(kinds)]),
        similarity=np.concatenate([kind.similarity for kind in kinds]),
        threshold=threshold,
        classes=[(name_of(given[one], names), name_of(given[other], names)) for one, other in pairs],
        preprocessing=preprocessing,
        title=f"{title or 'Pairs judged most wrongly'}: {' and '.join(shown)}",
    )
