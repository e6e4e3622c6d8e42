"""Error rates of groups of images at one threshold, between groups, and how unequal they are, with intervals.

Intervals, and the ratio of the worst group, are those of `group_rates`.

References:
    P. Grother, Face Recognition Vendor Test (FRVT) Part 8: Summarizing demographic differentials, NIST IR 8429, 2022.
    P. Grother, M. Ngan, K. Hanaoka, Face Recognition Vendor Test (FRVT) Part 3: Demographic effects, NIST IR 8280,
    2019.
    ISO/IEC 19795-10:2024, Biometric performance testing and reporting - Part 10: Quantifying biometric system
    performance variation across demographic groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values, as_array, check_count
from pairsim._common.json_files import json_value
from pairsim.evaluation.errors.group_counts import BoolArray, GroupCounts, count_all_pairs, count_given_pairs
from pairsim.evaluation.errors.group_rates import MIN_CLASSES, GroupRates, GroupRatio
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.uncertainty.spread import Intervals, check_confidence

MAX_GROUPS = 1000
"""With more groups a matrix of them is too large to compute and to read."""


@dataclass(frozen=True, kw_only=True)
class GroupErrors:
    """The errors within one group.

    Attributes:
        name: Its name.
        num_classes: Classes (identities) with an image in the group.
        num_images: Images of the group.
        num_positive: Pairs of two images of the group that are of one class.
        false_non_matches: Those of them that do not match.
        fnmr: Their share; NaN if fewer than `MIN_CLASSES` classes have such a pair.
        num_negative: Pairs of two images of the group that are of different classes.
        false_matches: Those of them that match.
        fmr: Their share; NaN likewise.
        intervals: Intervals of `fmr` and `fnmr`, NaN where these are.
    """

    name: str
    num_classes: int
    num_images: int
    num_positive: int
    false_non_matches: int
    fnmr: float
    num_negative: int
    false_matches: int
    fmr: float
    intervals: Intervals


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupReport:
    """The result of `group_errors` and `group_errors_of_pairs`; groups are in the order of their names.

    Attributes:
        groups: The errors within each group, `G` of them.
        fmr: FMR of the negative pairs between each two groups, and within each on the diagonal `[G, G]`; NaN where
            either has fewer than `MIN_CLASSES` classes in such pairs.
        false_matches: The matches among them `[G, G]`.
        num_negative: How many there are `[G, G]`.
        worst_fmr: How much worse off the group with the highest FMR is.
        worst_fnmr: The same for the FNMR.
        num_positive_between: Positive pairs of two images of different groups, which are in no group's FNMR.
        false_non_matches_between: Those of them that do not match.
        num_ungrouped: Images without a group, which are in no pair here.
        num_ungrouped_pairs: Pairs with such an image.
        by: What made the groups, such as the name of a column; empty if it is not known.
    """

    groups: tuple[GroupErrors, ...]
    fmr: Float64Array
    false_matches: IntArray
    num_negative: IntArray
    worst_fmr: GroupRatio
    worst_fnmr: GroupRatio
    num_positive_between: int
    false_non_matches_between: int
    num_ungrouped: int
    num_ungrouped_pairs: int
    by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        figures: dict[str, Any] = json_value(self)
        return figures


def group_errors(
    embeddings: Values,
    labels: Values,
    groups: Sequence[str | None],
    threshold: float,
    *,
    confidence: float = 0.95,
    block_size: int = 1024,
) -> GroupReport:
    """Compute the errors of groups of images at a threshold, over all pairs of labelled embeddings.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Class of each image `[N]`, whole numbers. A class may have images in several groups.
        groups: Name of the group of each image `[N]`; `None` or an empty name for none.
        threshold: A pair with at least this similarity is called a match.
        confidence: Coverage aimed at, in (0, 1).
        block_size: Rows of a block; memory is some `6 x block_size x N` bytes, and `24 x block_size` bytes for each
            class of a group.

    Returns:
        The errors.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, `threshold` is NaN, no
            image has a group, there are more than `MAX_GROUPS` groups, or `confidence` or `block_size` are out of
            range.

    Example:
        >>> embeddings = np.eye(2)[[0, 0, 1, 1]]
        >>> report = group_errors(embeddings, [0, 0, 1, 1], ["a", "a", "b", None], 0.5)
        >>> [(row.name, row.num_images, row.num_positive) for row in report.groups], report.num_ungrouped
        ([('a', 2, 1), ('b', 1, 0)], 1)
    """
    check_confidence(confidence)
    check_count(block_size, "block_size", 1, 1024)
    num_images = len(as_array(labels, "labels"))
    names, numbers = _numbered(groups, num_images)
    counts = count_all_pairs(embeddings, labels, numbers, len(names), threshold, block_size=block_size)
    known = int(counts.num_images.sum())
    pairs = (num_images * (num_images - 1) - known * (known - 1)) // 2
    return _report(names, counts, confidence, num_images - known, pairs)


def group_errors_of_pairs(
    match: BoolArray,
    targets: IntArray,
    images: IntArray,
    classes: IntArray,
    groups: Sequence[Sequence[str | None]],
    *,
    confidence: float = 0.95,
) -> GroupReport:
    """Compute the errors of groups over given pairs.

    Args:
        match: Whether each pair matches, bool `[P]`.
        targets: 1 = same class, 0 = different `[P]`.
        images: Number of the two images of each pair `[2, P]`.
        classes: Class of both images, as far as it is known `[2, P]`: images that positive pairs connect have one
            number, all others a number of their own.
        groups: Name of the group of both images, two sequences of length P; `None` or empty for none.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        The errors, as of `group_errors`, over the given pairs.

    Raises:
        ValueError: If lengths do not fit, no image has a group, there are more than `MAX_GROUPS` groups, or
            `confidence` is out of range.
    """
    check_confidence(confidence)
    first, second = groups
    names, numbers = _numbered([*first, *second], 2 * len(match))
    both = numbers.reshape(2, -1)
    counts = count_given_pairs(match, np.asarray(targets) == 1, images, classes, both, num_groups=len(names))
    unknown = len(np.unique(images[both < 0]))
    return _report(names, counts, confidence, unknown, int((both < 0).any(axis=0).sum()))


def _numbered(groups: Sequence[str | None], expected: int) -> tuple[tuple[str, ...], IntArray]:
    """Return the sorted names of groups, and the number of each image's, -1 for none."""
    if len(groups) != expected:
        raise ValueError(f"Expected the group of each of {expected} images, got {len(groups)}.")
    texts = ["" if name is None else str(name) for name in groups]
    names = sorted(set(texts) - {""})
    if not names:
        raise ValueError("Expected groups of images, found that no image has one. Name another column or pattern.")
    if len(names) > MAX_GROUPS:
        raise ValueError(
            f"Expected at most {MAX_GROUPS:,} groups, got {len(names):,}, such as {names[0]!r}. Name a column or "
            "pattern that puts more images into one group."
        )
    numbers = {name: number for number, name in enumerate(names)}
    return tuple(names), np.array([numbers.get(text, -1) for text in texts], dtype=np.int64)


def _report(names: Sequence[str], counts: GroupCounts, confidence: float, unknown: int, pairs: int) -> GroupReport:
    numbers = range(len(names))
    fmr = GroupRates.of(
        counts,
        [(counts.cell_false_matches[:, group], counts.cell_negatives[:, group]) for group in numbers],
        (np.diagonal(counts.false_matches), np.diagonal(counts.num_negative)),
        [counts.squares[:, group, group] for group in numbers],
    )
    fnmr = GroupRates.of(
        counts,
        [(counts.cell_false_non_matches, counts.cell_positives)] * len(names),
        (np.diagonal(counts.false_non_matches), np.diagonal(counts.num_positive)),
    )
    rows = tuple(
        GroupErrors(
            name=names[group],
            num_classes=int(np.count_nonzero(counts.cell_group == group)),
            num_images=int(counts.num_images[group]),
            num_positive=int(counts.num_positive[group, group]),
            false_non_matches=int(counts.false_non_matches[group, group]),
            fnmr=fnmr.rates[group],
            num_negative=int(counts.num_negative[group, group]),
            false_matches=int(counts.false_matches[group, group]),
            fmr=fmr.rates[group],
            intervals={"fmr": fmr.interval(group, confidence), "fnmr": fnmr.interval(group, confidence)},
        )
        for group in numbers
    )
    between = ~np.eye(len(names), dtype=bool)
    return GroupReport(
        groups=rows,
        fmr=_rates_between(counts),
        false_matches=counts.false_matches,
        num_negative=counts.num_negative,
        worst_fmr=fmr.worst(names, confidence),
        worst_fnmr=fnmr.worst(names, confidence),
        num_positive_between=int(counts.num_positive[between].sum()) // 2,
        false_non_matches_between=int(counts.false_non_matches[between].sum()) // 2,
        num_ungrouped=unknown,
        num_ungrouped_pairs=pairs,
    )


def _rates_between(counts: GroupCounts) -> Float64Array:
    """Return the FMR of each two groups; NaN where one of them has too few classes in these pairs."""
    classes = np.zeros(counts.num_negative.shape, dtype=np.int64)  # of the first group, in pairs with the second
    np.add.at(classes, counts.cell_group, (counts.cell_negatives > 0).astype(np.int64))
    enough = np.minimum(classes, classes.T) >= MIN_CLASSES
    rates = counts.false_matches / np.maximum(counts.num_negative, 1)
    return np.where(enough, rates, math.nan)
