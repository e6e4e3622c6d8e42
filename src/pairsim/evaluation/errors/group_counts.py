"""Count the errors at a threshold within and between groups of images, and by class, from which intervals follow.

A **cell** is the images of one class in one group: most classes have one cell, and a class with images in several
groups, such as those of several cameras, has several. All pairs are counted by matrix products, block by block; nothing
of size N x N is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Float64Array, Values, check_threshold, labelled_embeddings
from pairsim.evaluation.errors.class_errors import matches_by_class
from pairsim.evaluation.pairs.ranked import IntArray, round_up

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """Errors and pairs of `G` groups and `K` cells. Matrices of groups are symmetric; a pair counts once in an entry.

    Attributes:
        num_images: Images of each group `[G]`.
        cell_group: Group of each cell `[K]`, ascending.
        cell_class: Class of each cell `[K]`.
        false_matches: Negative pairs between two groups, or within one, that match `[G, G]`.
        num_negative: How many there are `[G, G]`.
        false_non_matches: Positive pairs between two groups, or within one, that do not match `[G, G]`.
        num_positive: How many there are `[G, G]`.
        cell_false_matches: Negative pairs of each cell with each group that match `[K, G]`.
        cell_negatives: How many there are `[K, G]`.
        cell_false_non_matches: Positive pairs within each cell that do not match `[K]`.
        cell_positives: How many there are `[K]`.
        squares: For the pairs of two cells with e false matches of n, the sums of e^2, e n and n^2 over all pairs of
            cells of two groups `[3, G, G]`.
    """

    num_images: IntArray
    cell_group: IntArray
    cell_class: IntArray
    false_matches: IntArray
    num_negative: IntArray
    false_non_matches: IntArray
    num_positive: IntArray
    cell_false_matches: IntArray
    cell_negatives: IntArray
    cell_false_non_matches: IntArray
    cell_positives: IntArray
    squares: Float64Array


def count_all_pairs(
    embeddings: Values, labels: Values, groups: IntArray, num_groups: int, threshold: float, *, block_size: int = 1024
) -> GroupCounts:
    """Count all pairs of labelled embeddings.

    Args:
        embeddings: Embeddings `[N, D]` of length 1.
        labels: Class of each image `[N]`.
        groups: Group number of each image `[N]`, -1 for none: such an image is in no pair. Each group has an image.
        num_groups: Number of groups `G`.
        threshold: A pair with at least this similarity is a match.
        block_size: Rows of a block.
    """
    vectors, classes = labelled_embeddings(embeddings, labels)
    known = np.flatnonzero(groups >= 0)
    codes = np.unique(classes[known], return_inverse=True)[1].astype(np.int64)
    num_classes = int(codes.max(initial=-1)) + 1
    keys, cells = np.unique(groups[known] * num_classes + codes, return_inverse=True)
    cell_group, cell_class = keys // max(1, num_classes), keys % max(1, num_classes)
    order = np.argsort(cells, kind="stable")
    sizes = np.bincount(cells, minlength=len(keys)).astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    one, other = _same_class(cell_class)  # pairs of cells, by ascending number
    ends = cell_group[one], cell_group[other]

    within = np.zeros(len(keys), dtype=np.int64)
    between = np.zeros(len(one), dtype=np.int64)  # matches of two cells of one class
    cell_false_matches = np.zeros((len(keys), num_groups), dtype=np.int64)
    sums = np.zeros((3, num_groups, num_groups))
    first_cells = np.searchsorted(cell_group, np.arange(num_groups))
    vectors = np.ascontiguousarray(vectors[known[order]], dtype=np.float32)
    lowest_match = round_up(check_threshold(threshold), vectors.dtype)
    for low, counts in matches_by_class(vectors, cells[order].astype(np.int64), begins, lowest_match, block_size):
        rows = np.arange(low, low + len(counts))
        within[rows] = counts[rows - low, rows]
        counts[rows - low, rows] = 0
        here = np.flatnonzero((one >= low) & (one < low + len(counts)))
        between[here] = counts[one[here] - low, other[here]]
        counts[one[here] - low, other[here]] = 0
        row_groups, by_group = cell_group[rows], np.add.reduceat(counts, first_cells, axis=1)
        cell_false_matches[rows] += by_group
        for group in np.unique(row_groups).tolist():
            cell_false_matches[:, group] += counts[row_groups == group].sum(axis=0)
        np.add.at(sums[0], row_groups, by_group)
        np.add.at(sums[1], row_groups, np.add.reduceat(np.square(counts.astype(np.float64)), first_cells, axis=1))
        products = np.add.reduceat(counts * sizes, first_cells, axis=1) * sizes[rows, None]
        np.add.at(sums[2], row_groups, products.astype(np.float64))

    num_images = np.bincount(cell_group, weights=sizes, minlength=num_groups).astype(np.int64)
    cell_negatives = np.outer(sizes, num_images)
    cell_negatives[np.arange(len(keys)), cell_group] -= sizes**2
    np.add.at(cell_negatives, (one, ends[1]), -sizes[one] * sizes[other])
    np.add.at(cell_negatives, (other, ends[0]), -sizes[one] * sizes[other])
    num_negative, num_positive = (np.zeros((num_groups, num_groups), dtype=np.int64) for _ in range(2))
    np.add.at(num_negative, cell_group, cell_negatives)  # a pair within a group is counted from both of its cells
    np.fill_diagonal(num_negative, np.diagonal(num_negative) // 2)
    cell_positives = sizes * (sizes - 1) // 2
    np.add.at(num_positive, (cell_group, cell_group), cell_positives)
    np.add.at(num_positive, ends, sizes[one] * sizes[other])
    matches = np.zeros_like(num_positive)
    np.add.at(matches, (cell_group, cell_group), within)
    np.add.at(matches, ends, between)
    return GroupCounts(
        num_images=num_images,
        cell_group=cell_group,
        cell_class=cell_class,
        false_matches=_symmetric(sums[0]).astype(np.int64),
        num_negative=num_negative,
        false_non_matches=_symmetric(num_positive - matches),
        num_positive=_symmetric(num_positive),
        cell_false_matches=cell_false_matches,
        cell_negatives=cell_negatives,
        cell_false_non_matches=cell_positives - within,
        cell_positives=cell_positives,
        squares=np.stack([*map(_symmetric, sums[1:]), _sizes_squared(sizes, cell_group, one, other, num_groups)]),
    )


def count_given_pairs(
    match: BoolArray,
    positive: BoolArray,
    images: IntArray,
    classes: IntArray,
    groups: IntArray,
    *,
    num_groups: int,
) -> GroupCounts:
    """Count given pairs.

    Args:
        match: Whether each pair matches `[P]`.
        positive: Whether it is positive `[P]`.
        images: Number of its two images `[2, P]`.
        classes: Class of both, as far as it is known: a number that images of one class share `[2, P]`.
        groups: Group number of both, -1 for none: such a pair is not counted `[2, P]`.
        num_groups: Number of groups `G`.
    """
    known = (groups >= 0).all(axis=0)
    match, positive = match[known], positive[known]
    images, classes, groups = images[:, known], classes[:, known], groups[:, known]
    num_classes = int(classes.max(initial=-1)) + 1
    keys, cells = np.unique(groups * num_classes + classes, return_inverse=True)
    cells = cells.reshape(groups.shape)
    cell_group, cell_class = keys // max(1, num_classes), keys % max(1, num_classes)
    pictures = np.unique(groups * (int(images.max(initial=0)) + 1) + images) // (int(images.max(initial=0)) + 1)
    false_match, false_non_match = match & ~positive, ~match & positive

    def matrix(chosen: BoolArray) -> IntArray:
        counts = np.zeros((num_groups, num_groups), dtype=np.int64)
        np.add.at(counts, tuple(np.sort(groups[:, chosen], axis=0)), 1)
        return _symmetric(counts)

    def by_cell(chosen: BoolArray) -> IntArray:
        counts = np.zeros((len(keys), num_groups), dtype=np.int64)
        (first, second), ends = cells[:, chosen], groups[:, chosen]
        np.add.at(counts, (first, ends[1]), 1)
        two = first != second
        np.add.at(counts, (second[two], ends[0][two]), 1)
        return counts

    def within(chosen: BoolArray) -> IntArray:
        inside = chosen & (groups[0] == groups[1])
        return np.bincount(cells[0, inside], minlength=len(keys)).astype(np.int64)

    ends = np.sort(cells[:, ~positive], axis=0)
    dyads, number = np.unique(ends[0] * len(keys) + ends[1], return_inverse=True)
    n = np.bincount(number, minlength=len(dyads)).astype(np.float64)
    e = np.bincount(number, weights=false_match[~positive], minlength=len(dyads))
    squares = np.zeros((3, num_groups, num_groups))
    at = cell_group[dyads // max(1, len(keys))], cell_group[dyads % max(1, len(keys))]
    for total, values in zip(squares, (e * e, e * n, n * n), strict=True):
        np.add.at(total, at, values)
    return GroupCounts(
        num_images=np.bincount(pictures, minlength=num_groups).astype(np.int64),
        cell_group=cell_group,
        cell_class=cell_class,
        false_matches=matrix(false_match),
        num_negative=matrix(~positive),
        false_non_matches=matrix(false_non_match),
        num_positive=matrix(positive),
        cell_false_matches=by_cell(false_match),
        cell_negatives=by_cell(~positive),
        cell_false_non_matches=within(false_non_match),
        cell_positives=within(positive),
        squares=np.stack([_symmetric(total) for total in squares]),
    )


def _same_class(cell_class: IntArray) -> tuple[IntArray, IntArray]:
    """Return the pairs of cells that are of one class, each once: the lower and the higher number."""
    order = np.argsort(cell_class, kind="stable")
    one, other = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    step = 1
    while step < len(order) and (same := cell_class[order[step:]] == cell_class[order[:-step]]).any():
        one.append(order[:-step][same])
        other.append(order[step:][same])
        step += 1
    return np.concatenate(one), np.concatenate(other)


def _sizes_squared(
    sizes: IntArray, cell_group: IntArray, one: IntArray, other: IntArray, num_groups: int
) -> Float64Array:
    """Return the sum of (n n')^2 over all pairs of cells of different classes, by their groups `[G, G]`."""
    squares = np.square(sizes.astype(np.float64))
    by_group = np.bincount(cell_group, weights=squares, minlength=num_groups)
    total: npt.NDArray[Any] = np.outer(by_group, by_group)
    np.fill_diagonal(
        total, (np.diagonal(total) - np.bincount(cell_group, weights=squares**2, minlength=num_groups)) / 2
    )
    same = np.zeros_like(total)
    np.add.at(same, (cell_group[one], cell_group[other]), squares[one] * squares[other])
    different: Float64Array = total - _symmetric(same)
    return different


def _symmetric(upper: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the symmetric matrix whose upper triangle, with the diagonal, is given."""
    lower = upper.T.copy()
    np.fill_diagonal(lower, 0)
    whole: npt.NDArray[Any] = upper + lower
    return whole
