"""Which classes, and which pairs of classes, the errors at a threshold come from.

All pairs of the images are judged, block by block. Beside every rate stands the number of pairs behind it, and what is
worst is ranked by the **lower end of Wilson's 95 % interval** of its rate, so that 1 error of 1 pair (lower end 0.21)
does not come before 90 of 100 (0.83). Pairs share images, which makes the interval narrower than the truth: it puts
rates over few and over many pairs in a fair order, and is no statement about new images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values, as_array, check_count, check_threshold
from pairsim.evaluation.pairs.pair_scores import Float32Array, by_class, similarity_blocks
from pairsim.evaluation.pairs.ranked import IntArray, Scores, round_up

MAX_MATRIX_CLASSES = 1000
"""Above so many classes there is no matrix of class pairs: it would hold more than 8 MB, or fill a page with zeros."""

MAX_CLASS_PAIRS = 1000
"""So many of the worst class pairs are kept, whatever the number of classes."""

_ENTRIES = 1 << 20  # class pairs that are ranked at once, where all of them may have errors


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
    """What `breakdown` found. Classes are in the order of their labels, ascending.

    Attributes:
        threshold: Similarity from which a pair was called a match.
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
        columns = (
            self.num_images, self.fnmr, self.false_non_matches, self.num_positive,
            self.fmr, self.false_matches, self.num_negative,
        )  # fmt: skip
        rows = zip(self.labels, self.names, *(column.tolist() for column in columns), strict=True)
        return tuple(ClassErrors(*row) for row in rows)

    def weakest(self, n: int = 10) -> tuple[tuple[ClassErrors, ...], tuple[ClassPairErrors, ...]]:
        """Name the classes and the class pairs with the highest error.

        Classes are ranked by the mean of the lower ends of FNMR and FMR (0 where there are no pairs), class pairs by
        the lower end of their FMR, see above; ties in the order of the labels. What has no error is not listed.

        Args:
            n: How many to name of either, at least 1; of class pairs there are at most `MAX_CLASS_PAIRS`.

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
        count = check_count(n, "n", 1, 10)
        error = _lower_end(self.false_non_matches, self.num_positive)
        error += _lower_end(self.false_matches, self.num_negative)
        order = np.argsort(-error, kind="stable")[:count]
        rows = self.class_errors
        return tuple(rows[place] for place in order if error[place] > 0), self.worst_pairs[:count]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        return {
            "threshold": self.threshold if math.isfinite(self.threshold) else None,
            "classes": [_without_nan(asdict(row)) for row in self.class_errors],
            "pair_fmr": None
            if self.pair_fmr is None
            else [[None if math.isnan(rate) else rate for rate in row] for row in self.pair_fmr.tolist()],
            "worst_pairs": [
                {**asdict(row), "labels": list(row.labels), "names": list(row.names)} for row in self.worst_pairs
            ],
        }


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
        names: Name of the class with label c at place c; by default the labels themselves.
        block_size: Rows of a block, at least 1.

    Returns:
        The errors; no classes for no images. Rates over no pairs are NaN.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, `threshold` is NaN, a
            label has no name, or `block_size` is below 1.

    Example:
        >>> found = breakdown(np.eye(2)[[0, 0, 1, 0]], [3, 3, 7, 7], 0.5)
        >>> found.labels, found.fnmr.tolist(), found.fmr.tolist()
        ((3, 7), [0.0, 1.0], [0.5, 0.5])

    References:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
        Statistical Association 22, 1927.
        G. Doddington et al., Sheep, goats, lambs and wolves: a statistical analysis of speaker performance, ICSLP 1998.
    """
    cut = check_threshold(threshold)
    vectors, codes, order = by_class(embeddings, labels)
    sizes = np.bincount(codes).astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    found = tuple(int(label) for label in as_array(labels, "labels")[order[begins]])
    called = _names(found, names)

    matches = np.zeros(sizes.size, dtype=np.int64)
    false_matches = np.zeros(sizes.size, dtype=np.int64)
    matrix = np.zeros((sizes.size, sizes.size), dtype=np.int64) if sizes.size <= MAX_MATRIX_CLASSES else None
    worst = np.zeros((0, 3), dtype=np.int64)
    for low, counts in _match_counts(vectors, codes, begins, round_up(cut, vectors.dtype), block_size):
        done = np.arange(len(counts))
        matches[low + done] = counts[done, low + done]
        counts[done, low + done] = 0
        false_matches[low + done] += counts.sum(axis=1)
        false_matches += counts.sum(axis=0)
        if matrix is not None:
            matrix[low + done] = counts
        worst = _worst(worst, low, counts, sizes)
    return Breakdown(
        threshold=cut,
        labels=found,
        names=called,
        num_images=sizes,
        false_non_matches=sizes * (sizes - 1) // 2 - matches,
        false_matches=false_matches,
        pair_fmr=None if matrix is None else _pair_rates(matrix, sizes),
        worst_pairs=tuple(
            ClassPairErrors(
                labels=(found[one], found[other]),
                names=(called[one], called[other]),
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
            "Give the name of label c at place c, or leave names out."
        )
    return tuple(str(names[label]) for label in labels)


def _match_counts(
    vectors: Float32Array, codes: IntArray, begins: IntArray, cut: Scores, block_size: int
) -> Iterator[tuple[int, IntArray]]:
    """Yield the number of a class, and the matches of it and the classes that follow with each class `[G, C]`.

    Each class comes once and each match is counted once: within the class, or with a class of a higher number.
    """
    carried = np.zeros(begins.size, dtype=np.int64)  # of the class that goes on in the next block
    for start, products in similarity_blocks(vectors, block_size, upper=True):
        num_rows = len(products)
        low, high = int(codes[start]), int(codes[start + num_rows - 1])
        hits = products >= cut
        hits[:, :num_rows] = np.triu(hits[:, :num_rows], k=1)
        # Images are in class order, so that a class is a stretch of rows, and of columns.
        by_row = np.add.reduceat(hits, np.maximum(begins[low : high + 1] - start, 0), axis=0, dtype=np.int32)
        counts = np.zeros((high + 1 - low, begins.size), dtype=np.int64)
        counts[:, low:] = np.add.reduceat(by_row, np.maximum(begins[low:] - start, 0), axis=1)
        counts[0] += carried
        goes_on = start + num_rows < len(vectors) and int(codes[start + num_rows]) == high
        carried = counts[-1] if goes_on else np.zeros(begins.size, dtype=np.int64)
        yield low, counts[: len(counts) - goes_on]


def _worst(kept: IntArray, low: int, counts: IntArray, sizes: IntArray) -> IntArray:
    """Merge the class pairs of some rows into the worst so far: rows of class, other class and false matches."""
    step = max(1, _ENTRIES // sizes.size)
    for start in range(0, len(counts), step):
        one, other = np.nonzero(counts[start : start + step])
        one += start
        kept = np.concatenate([kept, np.stack([low + one, other, counts[one, other]], axis=1)])
        error = _lower_end(kept[:, 2], sizes[kept[:, 0]] * sizes[kept[:, 1]])
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


def _lower_end(errors: IntArray, totals: IntArray) -> Float64Array:
    """Return the lower end of Wilson's 95 % interval of each rate; 0 without an error."""
    z2 = NormalDist().inv_cdf(0.975) ** 2
    shares = errors / np.maximum(totals, 1)
    margin = np.sqrt(z2 * (errors * (1 - shares) + z2 / 4))
    return np.where(errors > 0, (errors + z2 / 2 - margin) / (totals + z2), 0.0)


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
