"""Figures of pairs: two images, the target, and the predictions of a model; and of the worst errors at a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Values, check_count
from pairsim.data.image_sets import in_memory
from pairsim.data.labels import read_labels
from pairsim.evaluation.errors.pair_errors import worst_pairs
from pairsim.images import Preprocessing
from pairsim.visual.page.pixels import ImageTensorLike, fetch_separate, separate_images, to_pixels
from pairsim.visual.page.text_styles import BOLD, TEXT, Names, format_signed, name_of, shorten_names
from pairsim.visual.page.values import check_finite_threshold, read_predictions, read_values
from pairsim.visual.pictures.picture_grid import Cell, Note, draw_grid, verdict_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PAIRS = 24
"""Number of pairs drawn at most; the title gives the total if there were more."""
PAIRS_PER_ROW = 6

_MAX_NAME = 12


def draw_pairs(
    first: ImageTensorLike,
    second: ImageTensorLike,
    target: Values | None = None,
    *,
    similarity: Values | None = None,
    probability: Values | None = None,
    threshold: float | None = None,
    classes: Sequence[tuple[str, str]] | None = None,
    preprocessing: Preprocessing | None = None,
    title: str | None = None,
) -> Figure:
    """Draw pairs of images with the target above and the predictions of a model below them.

    There are six pairs in a row. At most the first `MAX_PAIRS` (24) are drawn; the title then gives the total. With a
    threshold, a pair is a match if `similarity >= threshold`; with targets as well, each pair is marked as correct or
    wrong.

    Args:
        first: First images `[N, C, H, W]`, one image, or a sequence of images (see `to_pixels`).
        second: As many second images.
        target: `[N]`, 1 = same class, 0 = different.
        similarity: `[N]` in [-1, 1].
        probability: `[N]` in [0, 1].
        threshold: Threshold of similarity, in [-1, 1].
        classes: `[N]` names of the classes of both images, written below them.
        preprocessing: Preprocessing of floating-point images, which is undone.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Each pair has two axes, labelled `first 0`, `second 0`, and so on.

    Raises:
        ValueError: If there is no pair, numbers of images and values differ, values are outside their range or not
            finite, or a threshold is given without similarities.
        TypeError: If images are not tensors.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(4, 1, 28, 28)
        >>> figure = draw_pairs(images[:2], images[2:], [1, 0], similarity=[0.9, 0.7], threshold=0.6)
        >>> len(figure.axes)
        4
    """
    firsts, seconds = separate_images(first, "first"), separate_images(second, "second")
    if len(firsts) != len(seconds):
        raise ValueError(
            f"Expected as many first as second images, got {len(firsts)} and {len(seconds)}. "
            "Pair k is first[k] with second[k]."
        )
    count = len(firsts)
    if not count:
        raise ValueError("Expected at least one pair, got none. Check what selected the pairs.")
    targets = None
    if target is not None:
        values = read_values("target", target, count, "pair")
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if wrong.size:
            raise ValueError(
                f"Expected target to be 1 (same class) or 0 (different), found {values[wrong[0]]:g} at index "
                f"{wrong[0]}. Compare the labels of the two images."
            )
        targets = values == 1
    similarities, probabilities, matches = read_predictions(count, similarity, probability, threshold)
    if classes is not None and len(classes) != count:
        raise ValueError(
            f"Expected {count} classes, two names for each pair, got {len(classes)}. Name those of every pair."
        )
    shown = min(count, MAX_PAIRS)
    pixels = to_pixels(firsts[:shown] + seconds[:shown], preprocessing)
    named = [name_of(name) for pair in (classes or ())[:shown] for name in pair]
    texts, cells = shorten_names(named, _MAX_NAME), []
    for k in range(shown):
        notes: list[Note] = []
        if classes is not None:
            notes.append((" | ".join(texts[2 * k : 2 * k + 2]), TEXT))
        if similarities is not None:
            notes.append((f"similarity {format_signed(similarities[k], 3)}", TEXT))
        if probabilities is not None:
            notes.append((f"probability {probabilities[k]:.3f}", TEXT))
        right = None
        if matches is not None and targets is not None:
            right = bool(matches[k] == targets[k])
            notes.append(verdict_note(right, "correct" if right else "wrong"))
        elif matches is not None:
            notes.append(("predicted same" if matches[k] else "predicted different", TEXT))
        cells.append(
            Cell(
                pictures={f"first {k}": pixels[k], f"second {k}": pixels[shown + k]},
                heading=None if targets is None else ("same" if targets[k] else "different", BOLD),
                notes=notes,
                verdict=right,
            )
        )
    heading = title or "Pairs of images"
    if shown < count:
        heading += f": the first {shown} of {count:,} pairs"
    # What is written above the pairs, the rule of decision, and how many of all pairs are correct.
    subtitle = "" if targets is None else "above: target"
    if matches is not None and threshold is not None:
        subtitle = f"match at similarity ≥ {format_signed(threshold, 3)}"
        if targets is not None:
            subtitle = f"above: target; {subtitle}: {int((matches == targets).sum()):,} of {count:,} correct"
    return draw_grid(cells, PAIRS_PER_ROW, title=heading, subtitle=subtitle, side=0.72, gaps=(0.26, 0.2))


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
