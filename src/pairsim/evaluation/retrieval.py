"""Retrieval metrics: the share of nearest neighbours of labelled embeddings that are of the same class.

Each image is looked up among all others of its set, or each query in a separate gallery. A neighbour is **relevant**
when it has the query's label. With R relevant images for a query and the gallery ordered from most to least similar:

- recall@k: is one of the k nearest relevant? (In metric learning this yes or no is called recall, and so it is here.)
- precision@1: is the nearest relevant? The same as recall@1.
- R-precision: the share of the R nearest that is relevant.
- MAP@R: (1/R) x the sum, over the relevant among the R nearest, of the precision up to there.
- mean reciprocal rank: 1 / (rank of the first relevant).

Each is averaged over the queries that have a relevant image; a query without one, such as an image alone in its class,
is left out, and does not count as an error. It still is a neighbour of others. An image is never its own neighbour.

**Ties** go to the lower image number (of the gallery), in every figure. In a set sorted by class this favours queries
of the first classes: where many images tie, shuffle the set.

**Precision.** Coordinates are rounded to the nearest multiple of 2^-26, which moves a similarity by at most
1.5e-8 x sqrt(D), and typically by less than 1e-8: a float32 product is rounded by more. Sums of products of such
numbers are exact in float64, whatever their order. So ranks, ties and figures are the same for every `block_size`,
number of threads and machine; but two images whose similarities to a query differ by less than that rounding may tie,
or swap ranks. Similarities are products of embeddings as given: lengths are not
corrected.

References:
    K. Musgrave, S. Belongie, S.-N. Lim, A metric learning reality check, ECCV 2020.
    H. Jégou, M. Douze, C. Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011 (recall@k).
    E. M. Voorhees, The TREC-8 question answering track report, 1999 (reciprocal rank).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import BoolArray, Float64Array, Values, check_count, labelled_embeddings, query_embeddings
from pairsim._common.unit_similarity import EXACT_BITS
from pairsim.evaluation.pairs.ranked import IntArray, ratio

Query: TypeAlias = tuple[Values, Values]
"""Embeddings `[Q, D]` and labels `[Q]` of images that are looked up in a gallery."""


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """The ranks of the relevant images of each query; every retrieval figure is a mean over queries.

    All arrays have one entry for each of the Q queries that have a relevant image, in the order given. Build it with
    `retrieval_scores`.

    Attributes:
        queries: Image number of each query `[Q]`.
        num_relevant: Number of relevant images in the gallery of each query `[Q]`, R, at least 1.
        first_ranks: Rank of the first relevant image `[Q]`, 1 = nearest.
        r_precisions: Share of the R nearest that is relevant `[Q]`, in [0, 1].
        average_precisions: Average precision at R `[Q]`, in [0, 1]; never above `r_precisions`.
        num_left_out: Number of queries without a relevant image, which are in no figure.

    Example:
        >>> scores = retrieval_scores([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], [0, 0, 0, 1])
        >>> scores.first_ranks.tolist(), scores.r_precisions.tolist(), scores.num_left_out
        ([1, 2, 2], [0.5, 0.5, 0.5], 1)
        >>> scores.recall_at_k(2), scores.map_at_r()
        (1.0, 0.3333333333333333)
    """

    queries: IntArray
    num_relevant: IntArray
    first_ranks: IntArray
    r_precisions: Float64Array
    average_precisions: Float64Array
    num_left_out: int

    @property
    def num_queries(self) -> int:
        """Number of queries with a relevant image, Q."""
        return int(self.queries.size)

    def recall_at_k(self, k: int) -> float:
        """Share of queries with a relevant image among the `k` nearest.

        Args:
            k: Number of neighbours, at least 1; all of a gallery that has fewer.

        Returns:
            The share in [0, 1]; NaN for no queries.

        Raises:
            ValueError: If `k` is not a whole number of at least 1.
        """
        return ratio(int(np.count_nonzero(self.first_ranks <= check_count(k, "k", 1, 10))), self.num_queries)

    def precision_at_1(self) -> float:
        """Share of queries whose nearest neighbour is relevant; NaN for no queries."""
        return self.recall_at_k(1)

    def r_precision(self) -> float:
        """Mean share of the R nearest that is relevant, in [0, 1]; NaN for no queries."""
        return _mean(self.r_precisions)

    def map_at_r(self) -> float:
        """Mean average precision at R, in [0, 1]; NaN for no queries."""
        return _mean(self.average_precisions)

    def mean_reciprocal_rank(self) -> float:
        """Mean of 1 / (rank of the first relevant image), in (0, 1]; NaN for no queries."""
        return _mean(1.0 / self.first_ranks)


def retrieval_scores(
    embeddings: Values, labels: Values, *, query: Query | None = None, block_size: int = 256
) -> RetrievalScores:
    """Look up every query and keep the ranks that all retrieval figures are computed from.

    Nothing of size N x N is held: memory is one block of `8 x block_size x N` bytes and the embeddings in float64. The
    result does not depend on `block_size`, to the last bit. For ties and precision see `pairsim.evaluation.retrieval`.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float64 on the CPU. They
            are the gallery, and without `query` the queries too.
        labels: Class of each image `[N]`, whole numbers.
        query: Embeddings `[Q, D]` and labels `[Q]` to look up in the gallery instead. No image of the gallery is
            excluded then.
        block_size: Queries looked up at once, at least 1.

    Returns:
        The scores, over the queries that have a relevant image; empty where none has.

    Raises:
        TypeError: If embeddings are not of a float dtype, labels not whole numbers, or `query` is no pair of both.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or `block_size` is below
            1.

    Example:
        >>> scores = retrieval_scores([[1.0, 0.0], [0.0, 1.0]], [0, 1], query=([[0.8, 0.6]], [1]))
        >>> scores.first_ranks.tolist(), scores.mean_reciprocal_rank()
        ([2], 0.5)
    """
    size = check_count(block_size, "block_size", 1, 256)
    vectors, classes = labelled_embeddings(embeddings, labels)
    gallery = whole_numbers(vectors)
    if query is None:
        looked_up, codes = gallery, _codes(classes)
        query_codes = codes
    else:
        query_vectors, query_classes = query_embeddings(query, vectors.shape[1])
        looked_up = whole_numbers(query_vectors)
        codes, query_codes = np.split(_codes(classes, query_classes), [len(classes)])
    # The gallery's images by class, in each class by number: the relevant ones of a query are one slice.
    order = np.argsort(codes, kind="stable")
    begins = np.searchsorted(codes[order], query_codes, side="left")
    ends = np.searchsorted(codes[order], query_codes, side="right")
    num_relevant = ends - begins - (query is None)
    queries = np.flatnonzero(num_relevant)
    first_ranks = np.zeros(queries.size, dtype=np.int64)
    r_precisions, average_precisions = np.zeros(queries.size), np.zeros(queries.size)
    for start in range(0, queries.size, size):
        block = queries[start : start + size]
        for row, similarities in enumerate(looked_up[block] @ gallery.T):
            number = block[row]
            if query is None:
                similarities[number] = -np.inf
            ranks, first_ranks[start + row] = _ranks(
                similarities, codes == query_codes[number], order[begins[number] : ends[number]], num_relevant[number]
            )
            precisions = np.arange(1, ranks.size + 1) / ranks
            r_precisions[start + row] = ranks.size / num_relevant[number]
            average_precisions[start + row] = precisions.sum() / num_relevant[number]
    return RetrievalScores(
        queries=queries.astype(np.int64),
        num_relevant=num_relevant[queries].astype(np.int64),
        first_ranks=first_ranks,
        r_precisions=r_precisions,
        average_precisions=average_precisions,
        num_left_out=len(looked_up) - queries.size,
    )


def recall_at_k(
    embeddings: Values, labels: Values, k: int = 1, *, query: Query | None = None, block_size: int = 256
) -> float:
    """Compute the share of queries with a relevant image among the `k` nearest.

    For more than one figure, or k, call `retrieval_scores` once. `k` is the number of neighbours, at least 1; all of a
    gallery that has fewer. The other arguments are as for `retrieval_scores`.

    Returns:
        The share in [0, 1]; NaN if no query has a relevant image.

    Raises:
        TypeError: As in `retrieval_scores`.
        ValueError: As in `retrieval_scores`, or if `k` is not a whole number of at least 1.

    Example:
        >>> recall_at_k([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], [0, 0, 0, 1], k=1)
        0.3333333333333333

    References:
        H. Jégou, M. Douze, C. Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011.
    """
    check_count(k, "k", 1, 10)
    if k == 1 and query is None:
        return _nearest_is_relevant(embeddings, labels, block_size)
    return retrieval_scores(embeddings, labels, query=query, block_size=block_size).recall_at_k(k)


def precision_at_1(embeddings: Values, labels: Values, *, query: Query | None = None, block_size: int = 256) -> float:
    """Compute the share of queries whose nearest neighbour is relevant, which is `recall_at_k` of 1.

    Arguments and errors are as for `retrieval_scores`.

    Returns:
        The share in [0, 1]; NaN if no query has a relevant image.

    Example:
        >>> precision_at_1([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]], [0, 1, 1])
        0.5

    References:
        K. Musgrave, S. Belongie, S.-N. Lim, A metric learning reality check, ECCV 2020.
    """
    return retrieval_scores(embeddings, labels, query=query, block_size=block_size).precision_at_1()


def r_precision(embeddings: Values, labels: Values, *, query: Query | None = None, block_size: int = 256) -> float:
    """Compute the share of the R nearest that is relevant, averaged over queries.

    R is the number of relevant images of the query.

    Arguments and errors are as for `retrieval_scores`.

    Returns:
        The figure in [0, 1]; NaN if no query has a relevant image.

    Example:
        >>> r_precision([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], [0, 0, 0, 1])
        0.5

    References:
        K. Musgrave, S. Belongie, S.-N. Lim, A metric learning reality check, ECCV 2020.
    """
    return retrieval_scores(embeddings, labels, query=query, block_size=block_size).r_precision()


def map_at_r(embeddings: Values, labels: Values, *, query: Query | None = None, block_size: int = 256) -> float:
    """Compute the mean over queries of (1/R) x the sum of precisions at the relevant among the R nearest.

    R is the number of relevant images of the query; precision at rank i is the share of the i nearest that is relevant.
    Unlike R-precision it is higher where relevant images come first.

    Arguments and errors are as for `retrieval_scores`.

    Returns:
        The figure in [0, 1], never above `r_precision`; NaN if no query has a relevant image.

    Example:
        >>> map_at_r([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], [0, 0, 0, 1])
        0.3333333333333333

    References:
        K. Musgrave, S. Belongie, S.-N. Lim, A metric learning reality check, ECCV 2020.
    """
    return retrieval_scores(embeddings, labels, query=query, block_size=block_size).map_at_r()


def mean_reciprocal_rank(
    embeddings: Values, labels: Values, *, query: Query | None = None, block_size: int = 256
) -> float:
    """Compute 1 / (rank of the first relevant image), averaged over queries.

    Arguments and errors are as for `retrieval_scores`.

    Returns:
        The figure in (0, 1]; NaN if no query has a relevant image.

    Example:
        >>> mean_reciprocal_rank([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]], [0, 1, 1])
        0.75

    References:
        E. M. Voorhees, The TREC-8 question answering track report, 1999.
    """
    return retrieval_scores(embeddings, labels, query=query, block_size=block_size).mean_reciprocal_rank()


def _nearest_is_relevant(embeddings: Values, labels: Values, block_size: int) -> float:
    """Compute what `retrieval_scores(embeddings, labels).recall_at_k(1)` gives, faster, as it keeps no ranks.

    The first of several nearest images is the one with the lowest number, as there.
    """
    size = check_count(block_size, "block_size", 1, 256)
    vectors, classes = labelled_embeddings(embeddings, labels)
    gallery, codes = whole_numbers(vectors), _codes(classes)
    queries = np.flatnonzero(np.bincount(codes)[codes] > 1)
    hits = np.zeros(queries.size)
    for start in range(0, queries.size, size):
        block = queries[start : start + size]
        similarities = gallery[block] @ gallery.T
        similarities[np.arange(block.size), block] = -np.inf
        hits[start : start + size] = codes[similarities.argmax(axis=1)] == codes[block]
    return _mean(hits)


def whole_numbers(vectors: npt.NDArray[np.floating[Any]], bits: int = EXACT_BITS) -> Float64Array:
    """Return embeddings times 2^bits, rounded to whole numbers.

    With 26 bits or fewer, every product of two coordinates is whole and, by Cauchy and Schwarz, every partial sum of
    such a product of two embeddings of length 1 stays below 2^53: float64 adds them exactly, in any order.
    """
    return np.rint(vectors.astype(np.float64) * 2.0**bits)


def _codes(*labels: npt.NDArray[np.integer[Any]]) -> IntArray:
    """Number the classes of all labels together, in ascending order."""
    joined = np.concatenate(labels)
    if joined.dtype.kind == "f":
        # NumPy joins uint64 and int64 to float64, which takes neighbouring large labels for one.
        joined = np.concatenate([part.astype(object) for part in labels])
    return np.unique(joined, return_inverse=True)[1].astype(np.int64)


def _ranks(similarities: Float64Array, relevant: BoolArray, members: IntArray, count: int) -> tuple[IntArray, int]:
    """Return the ranks of the relevant among the `count` nearest, ascending, and the rank of the first relevant of all.

    Args:
        similarities: Similarity of the query to each image of the gallery `[N]`; -inf for the query itself.
        relevant: Which images are of the query's class `[N]`, the query itself perhaps among them.
        members: Their numbers, ascending.
        count: How many there are without the query itself, R, at least 1.
    """
    lowest = np.partition(similarities, -count)[-count]
    above = np.flatnonzero(similarities > lowest)
    tied = np.flatnonzero(similarities == lowest)[: count - above.size]
    # Both are in the order of image numbers, and a stable sort leaves ties in it.
    above = above[np.argsort(-similarities[above], kind="stable")]
    ranks = np.flatnonzero(relevant[np.concatenate([above, tied])]) + 1
    if ranks.size:
        return ranks, int(ranks[0])
    first = members[np.argmax(similarities[members])]
    best = similarities[first]
    ahead = np.count_nonzero(similarities > best) + np.count_nonzero(similarities[:first] == best)
    return ranks, int(ahead) + 1


def _mean(values: Float64Array) -> float:
    return float(values.mean()) if values.size else float("nan")
