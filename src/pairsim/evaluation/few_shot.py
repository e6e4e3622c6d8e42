"""N-way K-shot accuracy: how often a new image is assigned to the right one of N classes with K images each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Values, check_count, labelled_embeddings
from pairsim._common.unit_similarity import EXACT_BITS
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.retrieval import whole_numbers
from pairsim.evaluation.uncertainty.wilson import wilson_interval

_CHUNK = 1 << 22
"""Coordinates of support images gathered at once: 32 MiB."""


@dataclass(frozen=True)
class FewShotAccuracy:
    """The result of `few_shot_accuracy`.

    Attributes:
        accuracy: Share of episodes whose query was assigned to its class, in [0, 1].
        interval: Its 95 % interval over episodes, `(low, high)`.
        num_episodes: Number of episodes.
        class_interval: 95 % interval for other classes, from how much the accuracy differs between the classes of the
            queries. It needs some 20 classes, and is NaN where all queries were of one class.

    Example:
        >>> FewShotAccuracy(0.5, (0.4, 0.6), 100).accuracy
        0.5
    """

    accuracy: float
    interval: tuple[float, float]
    num_episodes: int
    class_interval: tuple[float, float] = (math.nan, math.nan)


def few_shot_accuracy(
    embeddings: Values, labels: Values, *, ways: int = 20, shots: int = 1, episodes: int = 1000, seed: int = 0
) -> FewShotAccuracy:
    """Compute the share of episodes in which a query is nearest to its own class.

    Each episode draws `ways` classes, `shots` support images of each, and one query, another image of one of these
    classes; all evenly, without replacement, and independently of other episodes. The query is assigned to the class
    with the highest **mean similarity** to its support images (for one shot: the nearest image). Of tied classes the
    one drawn first wins; the order is random, so that equal embeddings get `1 / ways`, not 1.

    This is the form of Omniglot's one-shot classification, not its published list of runs: there, the classes of a run
    come from one alphabet and queries from another drawer than the support, which is harder. Prototypical networks
    assign a query to the nearest mean of embeddings, which is another rule for more than one shot.

    Same seed and NumPy version, same episodes. Coordinates are rounded to multiples of 2^-26 (coarser by half of
    log2(shots) bits, rounded up) so that similarities are exact in float64: the result does not depend on threads or
    machine.

    The interval is Wilson's. It covers more episodes of the **same images**, that is, the chance of the draw. It does
    not cover new images, new classes or another training run: episodes reuse images, so that a million of them make
    the interval narrow without adding evidence. `class_interval` does cover new classes: it treats the classes of the
    queries as the sample, and all episodes of a class as one observation.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float64 on the CPU.
        labels: Class of each image `[N]`, whole numbers. Each class needs `shots + 1` images.
        ways: Classes of an episode, at least 2.
        shots: Support images of each class, at least 1.
        episodes: Number of episodes, at least 1.
        seed: Whole number of at least 0 that picks the episodes.

    Returns:
        Accuracy and its 95 % intervals.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, there are fewer classes
            than `ways`, a class has fewer than `shots + 1` images, or a number is out of range.

    Example:
        >>> embeddings = np.eye(3)[[0, 0, 1, 1, 2, 2]]
        >>> few_shot_accuracy(embeddings, [0, 0, 1, 1, 2, 2], ways=3, episodes=100).accuracy
        1.0

    References:
        B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, Human-level concept learning through probabilistic program
        induction, Science 350, 2015.
        O. Vinyals et al., Matching networks for one shot learning, NeurIPS 2016.
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
        Statistical Association 22, 1927.
    """
    num_ways, num_shots = check_count(ways, "ways", 2, 20), check_count(shots, "shots", 1, 1)
    num_episodes = check_count(episodes, "episodes", 1, 1000)
    generator = np.random.Generator(np.random.PCG64(check_count(seed, "seed", 0, 0)))
    vectors, labelled = labelled_embeddings(embeddings, labels)
    names, codes, sizes = np.unique(labelled, return_inverse=True, return_counts=True)
    _check_classes(names, sizes, num_ways, num_shots)
    in_class_order = np.argsort(codes, kind="stable")
    begins = np.cumsum(sizes) - sizes

    classes = _distinct(generator, np.full(num_episodes, names.size), num_ways)
    # One more image than the support of each class: in the query's class it is the query, in others it is not used.
    drawn = in_class_order[begins[classes][..., None] + _distinct(generator, sizes[classes], num_shots + 1)]
    target = generator.integers(0, num_ways, num_episodes)
    query = drawn[np.arange(num_episodes), target, -1]

    # The sum of the support gives the same order as its mean, in whole numbers. It may be `shots` times as long as an
    # embedding, so coordinates have fewer bits, for all sums of products to stay exact.
    whole = whole_numbers(vectors, EXACT_BITS - math.ceil(math.log2(num_shots) / 2))
    hit = np.empty(num_episodes, dtype=bool)
    step = max(1, _CHUNK // max(1, num_ways * num_shots * whole.shape[1]))
    for start in range(0, num_episodes, step):
        chunk = slice(start, start + step)
        support = whole[drawn[chunk, :, :-1]].sum(axis=2)
        similarities = np.einsum("ewd,ed->ew", support, whole[query[chunk]])
        hit[chunk] = similarities.argmax(axis=1) == target[chunk]
    hits = int(np.count_nonzero(hit))
    low, high = wilson_interval(hits, num_episodes)
    by_query = _interval_by_class(hit, classes[np.arange(num_episodes), target])
    return FewShotAccuracy(hits / num_episodes, (float(low), float(high)), num_episodes, by_query)


def _check_classes(names: npt.NDArray[np.integer[Any]], sizes: IntArray, ways: int, shots: int) -> None:
    if names.size < ways:
        raise ValueError(
            f"Expected at least {ways} classes for {ways} ways, got {names.size}. Lower ways, or give more classes."
        )
    short = np.flatnonzero(sizes < shots + 1)
    if short.size:
        raise ValueError(
            f"Expected at least {shots + 1} images of each class, {shots} for the support and 1 query, got "
            f"{sizes[short[0]]} of class {names[short[0]]} ({short.size} such of {names.size} classes). "
            "Leave these classes out, or lower shots."
        )


def _distinct(generator: np.random.Generator, populations: IntArray, count: int) -> IntArray:
    """Draw `count` different numbers below each population size, each ordered selection with the same chance.

    Robert Floyd's method: it takes `count` draws and no memory of the size of a population.

    Args:
        generator: The source of random numbers.
        populations: Sizes of the populations `[...]`, each at least `count`.
        count: Numbers to draw.

    Returns:
        The numbers `[..., count]`.

    References:
        J. Bentley, R. Floyd, Programming pearls: a sample of brilliance, Communications of the ACM 30, 1987.
    """
    chosen = np.empty((*populations.shape, count), dtype=np.int64)
    for k in range(count):
        last = populations - count + k
        number = generator.integers(0, last + 1)
        taken = (chosen[..., :k] == number[..., None]).any(axis=-1)
        chosen[..., k] = np.where(taken, last, number)
    # As sets all have the same chance, but the last number drawn is large more often than the first.
    return generator.permuted(chosen, axis=-1)


def _interval_by_class(hit: npt.NDArray[np.bool_], classes: IntArray) -> tuple[float, float]:
    """Return the 95 % interval of a share, with each class as one observation."""
    present, codes = np.unique(classes, return_inverse=True)
    if present.size < 2:
        return math.nan, math.nan
    share = float(hit.mean())
    sums = np.bincount(codes, weights=hit - share)
    error = math.sqrt(present.size / (present.size - 1) * float(sums @ sums)) / hit.size
    margin = NormalDist().inv_cdf(0.975) * error
    return max(0.0, share - margin), min(1.0, share + margin)
