"""Errors at a threshold by class and by pair of classes, over all pairs of labelled images.

Every rate comes with its number of pairs. Classes and class pairs are ranked by the **lower end of Wilson's 95 %
interval** of their rate, so that 1 error of 1 pair (lower end 0.21) does not come before 90 of 100 (0.83). Pairs share
images, which makes the interval too narrow for a statement about new images: it only makes rates over few and over many
pairs comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pairsim._common.arrays import Float32Array, Float64Array, Values, as_array, check_count, check_threshold
from pairsim._common.json_files import json_value
from pairsim.evaluation.pairs.ranked import IntArray, Scores, round_up
from pairsim.evaluation.pairs.similarities import by_class, similarity_blocks
from pairsim.evaluation.uncertainty.wilson import wilson_interval

MAX_MATRIX_CLASSES = 1000
"""With more classes there is no matrix of class pairs, which would take more than 8 MB."""

MAX_CLASS_PAIRS = 1000
"""The number of worst class pairs that are kept, for any number of classes."""

_MAX_RANKED = 1 << 20  # class pairs that are ranked at once, where all of them may have errors


@dataclass(frozen=True)
class ClassErrors:
    """The errors of one class.

    Attributes:
        label: Its label.
        name: Its name.
        num_images: Images of the class.
        fnmr: Share of the pairs within the class that do not match; NaN for a class of one image.
        false_non_matches: How many these are.
        num_positive: Pairs within the class.
        fmr: Share of the pairs of one image of the class and one of any other that match; NaN where there is no other.
        false_matches: How many these are.
        num_negative: Pairs of one image of the class and one of any other.
    """

    label: int
    name: str
    num_images: int
    fnmr: float
    false_non_matches: int
    num_positive: int
    fmr: float
    false_matches: int
    num_negative: int


@dataclass(frozen=True)
class ClassPairErrors:
    """The errors between two classes.

    Attributes:
        labels: The two labels, ascending.
        names: Their names.
        fmr: Share of the pairs of one image of each that match.
        false_matches: How many these are.
        num_pairs: Pairs of one image of each.
    """

    labels: tuple[int, int]
    names: tuple[str, str]
    fmr: float
    false_matches: int
    num_pairs: int


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The result of `breakdown`. Classes are in ascending order of their labels.

    Attributes:
        threshold: A pair with at least this similarity was called a match.
        labels: Label of each class, `C` of them.
        names: Name of each class.
        num_images: Images of each class `[C]`.
        false_non_matches: Pairs within the class that do not match `[C]`.
        false_matches: Pairs of an image of the class and one of another that match `[C]`; each is counted for both of
            its classes.
        pair_fmr: FMR between each two classes `[C, C]`, symmetric, with NaN on the diagonal, as the pairs within a
            class have no false matches; None for more than `MAX_MATRIX_CLASSES` classes.
        worst_pairs: The class pairs with a false match, the worst first, at most `MAX_CLASS_PAIRS`.
    """

    threshold: float
    labels: tuple[int, ...]
    names: tuple[str, ...]
    num_images: IntArray
    false_non_matches: IntArray
    false_matches: IntArray
    pair_fmr: Float64Array | None
    worst_pairs: tuple[ClassPairErrors, ...]

    @property
    def num_positive(self) -> IntArray:
        """Number of pairs within each class `[C]`."""
        return self.num_images * (self.num_images - 1) // 2

    @property
    def num_negative(self) -> IntArray:
        """Number of pairs of an image of each class and one of any other `[C]`."""
        others: IntArray = self.num_images.sum() - self.num_images
        return self.num_images * others

    @property
    def fnmr(self) -> Float64Array:
        """Share of the pairs within each class that do not match `[C]`; NaN for a class of one image."""
        return _rates(self.false_non_matches, self.num_positive)

    @property
    def fmr(self) -> Float64Array:
        """Share of the pairs of each class with any other that match `[C]`; NaN where there is no other class."""
        return _rates(self.false_matches, self.num_negative)

    @property
    def pair_counts(self) -> IntArray | None:
        """Number of pairs behind each entry of `pair_fmr` `[C, C]`, 0 on the diagonal; None where that is."""
        if self.pair_fmr is None:
            return None
        counts = np.outer(self.num_images, self.num_images)
        np.fill_diagonal(counts, 0)
        return counts

    @property
    def class_errors(self) -> tuple[ClassErrors, ...]:
        """The figures of each class as a row, in the order of `labels`."""
        figures = (getattr(self, field.name).tolist() for field in fields(ClassErrors)[2:])
        rows = zip(self.labels, self.names, *figures, strict=True)
        return tuple(ClassErrors(*row) for row in rows)

    def weakest(self, n: int = 10) -> tuple[tuple[ClassErrors, ...], tuple[ClassPairErrors, ...]]:
        """Rank the classes and the class pairs by their error.

        Classes are ranked by the mean of the lower ends of FNMR and FMR (0 where there are no pairs), class pairs by
        the lower end of their FMR; ties in the order of the labels. Those without an error are left out.

        Args:
            n: Highest number of either, at least 1; of class pairs there are at most `MAX_CLASS_PAIRS`.

        Returns:
            At most `n` classes and at most `n` class pairs, the worst first.

        Raises:
            ValueError: If `n` is not a whole number of at least 1.

        Example:
            >>> classes, pairs = breakdown(np.eye(2)[[0, 0, 1, 0]], [3, 3, 7, 7], 0.5).weakest(1)
            >>> [(row.name, row.false_non_matches, row.num_positive) for row in classes]
            [('7', 1, 1)]
            >>> [(row.names, row.false_matches, row.num_pairs) for row in pairs]
            [(('3', '7'), 2, 4)]
        """
        check_count(n, "n", 1, 10)
        low_fnmr, _ = wilson_interval(self.false_non_matches, self.num_positive)
        low_fmr, _ = wilson_interval(self.false_matches, self.num_negative)
        error, rows = low_fnmr + low_fmr, self.class_errors
        order = np.argsort(-error, kind="stable")[:n]
        return tuple(rows[number] for number in order if error[number] > 0), self.worst_pairs[:n]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        pair_fmr = None if self.pair_fmr is None else self.pair_fmr.tolist()
        rows = {"classes": self.class_errors, "pair_fmr": pair_fmr, "worst_pairs": self.worst_pairs}
        figures: dict[str, Any] = json_value({"threshold": self.threshold, **rows})
        return figures


def breakdown(
    embeddings: Values,
    labels: Values,
    threshold: float,
    *,
    names: Sequence[str] | None = None,
    block_size: int = 1024,
) -> Breakdown:
    """Compute the errors of each class and between each two classes, over all pairs of labelled embeddings.

    Memory: some `6 x block_size x N` bytes, `24 x block_size x C` for C classes, and up to `24 x C^2` up to
    `MAX_MATRIX_CLASSES`. Scores within a float32 rounding of the threshold may fall on either side of it with another
    `block_size` or machine; see `all_pair_scores`.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Class of each image `[N]`, whole numbers.
        threshold: A pair with at least this similarity is called a match.
        names: Name of the class with label c at index c; by default the labels themselves.
        block_size: Rows of a block, at least 1.

    Returns:
        The errors; no classes for no images. Rates over no pairs are NaN.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, `threshold` is NaN, a
            label has no name, or `block_size` is below 1.

    Example:
        >>> errors = breakdown(np.eye(2)[[0, 0, 1, 0]], [3, 3, 7, 7], 0.5)
        >>> errors.labels, errors.fnmr.tolist(), errors.fmr.tolist()
        ((3, 7), [0.0, 1.0], [0.5, 0.5])

    References:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
        Statistical Association 22, 1927.
        G. Doddington et al., Sheep, goats, lambs and wolves: a statistical analysis of speaker performance, ICSLP 1998.
    """
    vectors, codes, order = by_class(embeddings, labels)
    sizes = np.bincount(codes).astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    class_labels = tuple(int(label) for label in as_array(labels, "labels")[order[begins]])
    class_names = _names(class_labels, names)

    matches = np.zeros(sizes.size, dtype=np.int64)
    false_matches = np.zeros(sizes.size, dtype=np.int64)
    matrix = np.zeros((sizes.size, sizes.size), dtype=np.int64) if sizes.size <= MAX_MATRIX_CLASSES else None
    worst = np.zeros((0, 3), dtype=np.int64)
    lowest_match = round_up(check_threshold(threshold), vectors.dtype)
    for low, counts in matches_by_class(vectors, codes, begins, lowest_match, block_size):
        done = np.arange(len(counts))
        matches[low + done] = counts[done, low + done]
        counts[done, low + done] = 0
        false_matches[low + done] += counts.sum(axis=1)
        false_matches += counts.sum(axis=0)
        if matrix is not None:
            matrix[low + done] = counts
        worst = _merge_worst(worst, low, counts, sizes)
    return Breakdown(
        threshold=float(threshold),
        labels=class_labels,
        names=class_names,
        num_images=sizes,
        false_non_matches=sizes * (sizes - 1) // 2 - matches,
        false_matches=false_matches,
        pair_fmr=None if matrix is None else _pair_rates(matrix, sizes),
        worst_pairs=tuple(
            ClassPairErrors(
                labels=(class_labels[one], class_labels[other]),
                names=(class_names[one], class_names[other]),
                fmr=count / int(sizes[one] * sizes[other]),
                false_matches=count,
                num_pairs=int(sizes[one] * sizes[other]),
            )
            for one, other, count in worst.tolist()
        ),
    )


def _names(labels: tuple[int, ...], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, labels))
    unnamed = [label for label in labels if not 0 <= label < len(names)]
    if unnamed:
        raise ValueError(
            f"Expected a name for every label, got {len(names)} names and label {unnamed[0]} ({len(unnamed)} such). "
            "Give the name of label c at index c, or leave names out."
        )
    return tuple(str(names[label]) for label in labels)


def matches_by_class(
    vectors: Float32Array, codes: IntArray, begins: IntArray, lowest_match: Scores, block_size: int
) -> Iterator[tuple[int, IntArray]]:
    """Yield the number of a class, and the matches of it and the classes that follow with each class `[G, C]`.

    Each class comes once and each match is counted once: within the class, or with a class of a higher number.
    """
    carried = np.zeros(begins.size, dtype=np.int64)  # of the class that goes on in the next block
    for start, products in similarity_blocks(vectors, block_size, upper=True):
        num_rows = len(products)
        low, high = int(codes[start]), int(codes[start + num_rows - 1])
        hits = products >= lowest_match
        hits[:, :num_rows] = np.triu(hits[:, :num_rows], k=1)
        # Images are in class order, so that a class is a stretch of rows, and of columns.
        by_row = np.add.reduceat(hits, np.maximum(begins[low : high + 1] - start, 0), axis=0, dtype=np.int32)
        counts = np.zeros((high + 1 - low, begins.size), dtype=np.int64)
        counts[:, low:] = np.add.reduceat(by_row, np.maximum(begins[low:] - start, 0), axis=1)
        counts[0] += carried
        goes_on = start + num_rows < len(vectors) and int(codes[start + num_rows]) == high
        carried = counts[-1] if goes_on else np.zeros(begins.size, dtype=np.int64)
        yield low, counts[: len(counts) - goes_on]


def _merge_worst(kept: IntArray, low: int, counts: IntArray, sizes: IntArray) -> IntArray:
    """Merge the class pairs of some rows into the worst so far: rows of class, other class and false matches."""
    step = max(1, _MAX_RANKED // sizes.size)
    for start in range(0, len(counts), step):
        one, other = np.nonzero(counts[start : start + step])
        one += start
        kept = np.concatenate([kept, np.stack([low + one, other, counts[one, other]], axis=1)])
        error = wilson_interval(kept[:, 2], sizes[kept[:, 0]] * sizes[kept[:, 1]])[0]
        # Later rows are of later classes, so that a stable order leaves ties in the order of the labels.
        kept = kept[np.argsort(-error, kind="stable")[:MAX_CLASS_PAIRS]]
    return kept


def _pair_rates(matrix: IntArray, sizes: IntArray) -> Float64Array:
    rates = _rates(matrix + matrix.T, np.outer(sizes, sizes))
    np.fill_diagonal(rates, np.nan)
    return rates


def _rates(errors: IntArray, totals: IntArray) -> Float64Array:
    with np.errstate(invalid="ignore"):
        return errors / totals.astype(np.float64)
