"""Retrieval figures against plain loops in float64 and in whole numbers; partial areas and d' against scikit-learn."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from pairsim import evaluation
from pairsim.evaluation import PairScores, RetrievalScores, retrieval_scores

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Labelled = tuple[Floats, Ints]

UNTIMED = settings(deadline=None, max_examples=60)  # a busy machine is no failure


def _dot(first: list[float], second: list[float]) -> float:
    total = 0.0
    for one, other in zip(first, second, strict=True):
        total += one * other
    return total


def _whole_dot(first: list[float], second: list[float]) -> float:
    """The similarity as documented: coordinates to the nearest 2^-26, then no rounding at all."""
    pairs = zip(first, second, strict=True)
    total = sum(round(Fraction(one) * 2**26) * round(Fraction(other) * 2**26) for one, other in pairs)
    assert float(total) == total
    return float(total)


def _loops(gallery: Labelled, queries: Labelled | None, *, whole: bool = False) -> dict[str, list[float]]:
    """Every figure of every query, by the definition, one neighbour at a time."""
    rows, classes = gallery[0].tolist(), gallery[1].tolist()
    query_rows, query_classes = (rows, classes) if queries is None else (queries[0].tolist(), queries[1].tolist())
    found: dict[str, list[float]] = {"query": [], "first": [], "r_precision": [], "map": []}
    for number, (row, label) in enumerate(zip(query_rows, query_classes, strict=True)):
        others = [image for image in range(len(rows)) if queries is not None or image != number]
        similarity = {image: (_whole_dot if whole else _dot)(row, rows[image]) for image in others}
        others.sort(key=lambda image: (-similarity[image], image))
        relevant = [classes[image] == label for image in others]
        count = sum(relevant)
        if count == 0:
            continue
        found["query"].append(number)
        found["first"].append(relevant.index(True) + 1)
        found["r_precision"].append(sum(relevant[:count]) / count)
        precisions = [sum(relevant[: place + 1]) / (place + 1) for place in range(count) if relevant[place]]
        found["map"].append(math.fsum(precisions) / count)
    return found


def _agree(scores: RetrievalScores, expected: dict[str, list[float]], num_queries: int) -> None:
    assert scores.queries.tolist() == expected["query"]
    assert scores.num_left_out == num_queries - len(expected["query"])
    assert scores.first_ranks.tolist() == expected["first"]
    assert scores.r_precisions.tolist() == expected["r_precision"]
    np.testing.assert_allclose(scores.average_precisions, expected["map"], rtol=0, atol=1e-12)
    if not expected["query"]:
        figures = [scores.recall_at_k(3), scores.precision_at_1(), scores.r_precision()]
        assert np.isnan([*figures, scores.map_at_r(), scores.mean_reciprocal_rank()]).all()
        return
    first = np.array(expected["first"])
    for k in (1, 2, 3, 5, 100):
        assert scores.recall_at_k(k) == (first <= k).mean()
    assert scores.precision_at_1() == (first == 1).mean()
    assert scores.mean_reciprocal_rank() == pytest.approx((1 / first).mean(), abs=1e-12)
    assert scores.r_precision() == pytest.approx(np.mean(expected["r_precision"]), abs=1e-12)
    assert scores.map_at_r() == pytest.approx(np.mean(expected["map"]), abs=1e-12)
    assert 0 <= scores.map_at_r() <= scores.r_precision() + 1e-12


def _same(one: RetrievalScores, other: RetrievalScores) -> None:
    """Equal to the last bit."""
    for name in ("queries", "num_relevant", "first_ranks", "r_precisions", "average_precisions"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.num_left_out == other.num_left_out


def _labels(generator: np.random.Generator, size: int, num_classes: int) -> Ints:
    return generator.integers(-1, num_classes - 1, size)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@st.composite
def random_images(draw: st.DrawFn, dim: int = 7) -> Labelled:
    """No two similarities are close, but for copies of an image, which tie in any arithmetic."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(0, 25))
    vectors = _unit(generator.normal(size=(size, dim)))
    if size and draw(st.booleans()):
        vectors = vectors[generator.integers(0, max(1, size // 3), size)]
    return vectors, _labels(generator, size, draw(st.integers(1, 6)))


@st.composite
def tied_images(draw: st.DrawFn) -> Labelled:
    """Few directions, whose products are exact in any arithmetic, and no direction at all."""
    halves = np.array(
        [[a, b, c, d] for a in (0.5, -0.5) for b in (0.5, -0.5) for c in (0.5, -0.5) for d in (0.5, -0.5)]
    )
    directions = np.concatenate([np.eye(4), -np.eye(4), np.zeros((1, 4)), halves])
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.integers(0, 25))
    chosen = generator.integers(0, draw(st.integers(1, len(directions))), size)
    return directions[chosen], _labels(generator, size, draw(st.integers(1, 6)))


@st.composite
def crowded_images(draw: st.DrawFn) -> Labelled:
    """Images around one point, at distances like those of rounding: float32 and float64 would order at will."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, dim = draw(st.integers(2, 20)), draw(st.sampled_from([2, 5, 33]))
    spread = draw(st.sampled_from([1e-4, 1e-7, 1e-8, 1e-9]))
    vectors = _unit(_unit(generator.normal(size=(1, dim))) + spread * generator.normal(size=(size, dim)))
    return vectors * draw(st.sampled_from([1.0, 0.991, 1.009])), _labels(generator, size, draw(st.integers(1, 4)))


ANY = st.one_of(random_images(), tied_images(), crowded_images())


@UNTIMED
@given(st.one_of(random_images(), tied_images()), st.integers(1, 30))
def test_set_against_float64_loops(case: Labelled, block_size: int) -> None:
    _agree(retrieval_scores(*case, block_size=block_size), _loops(case, None), len(case[0]))


@UNTIMED
@given(ANY, st.integers(1, 30))
def test_the_nearest_alone(case: Labelled, block_size: int) -> None:
    first = np.array(_loops(case, None, whole=True)["first"])
    found = evaluation.recall_at_k(*case, 1, block_size=block_size)
    assert found == (first == 1).mean() if first.size else math.isnan(found)


@UNTIMED
@given(
    st.one_of(st.tuples(random_images(), random_images()), st.tuples(tied_images(), tied_images())), st.integers(1, 9)
)
def test_gallery_against_float64_loops(case: tuple[Labelled, Labelled], block_size: int) -> None:
    gallery, queries = case
    found = retrieval_scores(*gallery, query=queries, block_size=block_size)
    _agree(found, _loops(gallery, queries), len(queries[0]))


@UNTIMED
@given(ANY, st.integers(1, 30))
def test_rule_of_rounding_and_ties_is_met_exactly(case: Labelled, block_size: int) -> None:
    _agree(retrieval_scores(*case, block_size=block_size), _loops(case, None, whole=True), len(case[0]))


@UNTIMED
@given(ANY, st.integers(1, 30), st.integers(1, 30))
def test_block_size_changes_no_bit(case: Labelled, one: int, other: int) -> None:
    _same(retrieval_scores(*case, block_size=one), retrieval_scores(*case, block_size=other))
    mirrored = retrieval_scores(case[0][:, ::-1], case[1])
    _same(retrieval_scores(*case), mirrored)  # not even the order of adding up matters


@pytest.mark.parametrize("spread", [1.0, 1e-7])
def test_block_size_changes_no_bit_where_the_matrix_library_takes_other_paths(spread: float) -> None:
    generator = np.random.default_rng(3)
    vectors = _unit(_unit(generator.normal(size=(1, 130))) + spread * generator.normal(size=(301, 130)))
    labels = _labels(generator, 301, 9)
    whole = retrieval_scores(vectors.astype(np.float32), labels, block_size=301)
    for block_size in (1, 2, 7, 64, 300):
        _same(retrieval_scores(vectors.astype(np.float32), labels, block_size=block_size), whole)


@UNTIMED
@given(random_images())
def test_label_values_and_the_kind_of_array_do_not_matter(case: Labelled) -> None:
    vectors, labels = case[0].astype(np.float32), case[1]
    expected = retrieval_scores(vectors, labels)
    _same(retrieval_scores(torch.from_numpy(vectors), torch.from_numpy(labels)), expected)
    _same(retrieval_scores(vectors.astype(np.float64), 100 - 7 * labels), expected)


def _case(seed: int, size: int, decimals: int | None) -> tuple[Floats, Bools]:
    generator = np.random.default_rng(seed)
    targets = generator.random(size) < 0.4
    targets[:2] = [True, False]
    scores = generator.normal(size=size) + 1.5 * targets
    return (scores if decimals is None else scores.round(decimals)), targets


RATES = [1e-4, 0.001, 0.01, 0.1, 0.3, 1 / 3, 0.5, 0.9, 1 - 2**-53, 1.0]


@pytest.mark.parametrize("max_fmr", RATES)
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("size", [2, 30, 1000])
def test_partial_roc_auc_against_scikit_learn(size: int, decimals: int | None, max_fmr: float) -> None:
    for seed in range(3):
        scores, targets = _case(seed, size, decimals)
        for values in (scores, -scores):
            expected = metrics.roc_auc_score(targets, values, max_fpr=max_fmr)
            assert evaluation.partial_roc_auc(values, targets, max_fmr) == pytest.approx(expected, abs=1e-12)


@UNTIMED
@given(arrays(np.float64, st.integers(2, 30), elements=st.integers(-3, 3).map(float)), st.data())
def test_partial_roc_auc_with_ties(scores: Floats, data: st.DataObject) -> None:
    targets = data.draw(arrays(np.bool_, len(scores)))
    targets[:2] = [True, False]
    rates = [*RATES[3:], *(count / (~targets).sum() for count in range(1, (~targets).sum() + 1))]
    max_fmr = data.draw(st.sampled_from(rates))
    expected = metrics.roc_auc_score(targets, scores, max_fpr=max_fmr)
    found = evaluation.partial_roc_auc(scores, targets, max_fmr)
    assert found == pytest.approx(expected, abs=1e-12)
    assert (1 - max_fmr) / (2 - max_fmr) - 1e-12 <= found <= 1 + 1e-12
    assert PairScores.from_scores(scores, targets).partial_roc_auc(max_fmr) == found
    assert evaluation.partial_roc_auc(scores, targets, 1.0) == pytest.approx(
        evaluation.roc_auc(scores, targets), abs=1e-15
    )


@UNTIMED
@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(-100, 100).map(lambda x: round(x, 2))), st.data())
def test_d_prime(scores: Floats, data: st.DataObject) -> None:
    targets = data.draw(arrays(np.bool_, len(scores)))
    targets[:2] = [True, False]
    positive, negative = scores[targets], scores[~targets]
    found = evaluation.d_prime(scores, targets)
    if len(set(positive)) == len(set(negative)) == 1:
        gap = positive[0] - negative[0]
        assert found == math.copysign(math.inf, gap) if gap else math.isnan(found)
        return
    expected = (positive.mean() - negative.mean()) / math.sqrt((positive.var() + negative.var()) / 2)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert PairScores.from_scores(scores, targets).d_prime() == found
    assert evaluation.d_prime(-scores, ~targets) == pytest.approx(found, rel=1e-9, abs=1e-9)
