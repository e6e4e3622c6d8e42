from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from pairsim.evaluation import Logistic, PairFigures, PairScores, all_pair_scores, image_level_intervals
from pairsim.evaluation.pairs.pair_counts import PairCounts, count_pair_scores


def _embeddings(num_images: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_images, dim, generator=generator), dim=1)


def _listed(pairs: PairCounts) -> tuple[list[float], list[float]]:
    return np.repeat(pairs.scores, pairs.positive).tolist(), np.repeat(pairs.scores, pairs.negative).tolist()


def _on_grid(scores: Any) -> list[float]:
    """Nearest multiples of 2^-22, found in float64."""
    found: list[float] = (np.rint(np.asarray(scores, dtype=np.float64) * 2**22) / 2**22).tolist()
    return found


@pytest.mark.parametrize("block_size", [1, 7, 1000])
def test_scores_are_those_of_all_pairs_rounded_to_the_grid(block_size: int) -> None:
    embeddings, labels = _embeddings(40), torch.arange(40) * 7 % 5
    exact = all_pair_scores(embeddings, labels, block_size=block_size)
    assert _listed(count_pair_scores(embeddings, labels, block_size=block_size)) == (
        _on_grid(exact.positive),
        _on_grid(exact.negative),
    )


def test_ends_of_the_range_have_cells() -> None:
    pairs = count_pair_scores(np.array([[1.0], [1.0], [-1.0]]), [0, 0, 1])
    assert _listed(pairs) == ([1.0], [-1.0, -1.0])
    assert _listed(PairCounts.from_scores([1.0, -1.0, -1.0], [1, 0, 0])) == ([1.0], [-1.0, -1.0])


def test_every_figure_of_embeddings_is_that_of_the_scores() -> None:
    embeddings, labels = _embeddings(90, 4), torch.arange(90) % 6
    chance = Logistic(5.0, -1.0)

    def figures(pairs: PairFigures) -> list[float]:
        return [
            pairs.num_positive,
            pairs.num_negative,
            pairs.roc_auc(),
            pairs.partial_roc_auc(0.1),
            pairs.d_prime(),
            pairs.average_precision(),
            pairs.equal_error_rate(),
            pairs.equal_error_threshold(),
            pairs.fnmr_at_fmr(0.01),
            pairs.threshold_at_fmr(0.01),
            pairs.balanced_accuracy(0.3),
            pairs.log_loss(chance),
            *pairs.log_loss_by_target(chance),
            pairs.brier_score(chance),
            pairs.expected_calibration_error(chance),
        ]

    # Rounding to the grid swaps no more than a handful of 4,005 scores, if any.
    np.testing.assert_allclose(
        figures(count_pair_scores(embeddings, labels)), figures(all_pair_scores(embeddings, labels)), rtol=0, atol=1e-6
    )


def test_intervals_are_those_of_the_scores() -> None:
    embeddings, labels = _embeddings(60, 4), torch.arange(60) % 4
    for threshold in (-1.0, 0.2):
        exact, counted = (
            image_level_intervals(embeddings, labels, threshold, fmr_targets=[0.1], pair_scores=pairs)
            for pairs in (all_pair_scores(embeddings, labels), count_pair_scores(embeddings, labels))
        )
        assert exact.keys() == counted.keys()
        for name, interval in exact.items():
            assert counted[name] == pytest.approx(interval, abs=1e-6)


def test_intervals_round_cosines_as_the_counts_did() -> None:
    # Between classes every cosine is just below a multiple of 2^-22, which becomes the threshold that all reach.
    score = 0.5 - 2.0**-24
    embeddings = np.array([[1.0, 0.0], [1.0, 0.0], [score, math.sqrt(1 - score**2)], [score, math.sqrt(1 - score**2)]])
    pairs = count_pair_scores(embeddings, [0, 0, 1, 1])
    assert pairs.fmr_fnmr(0.5) == (1.0, 0.0)
    assert image_level_intervals(embeddings, [0, 0, 1, 1], 0.5, pair_scores=pairs)["fmr"][1] == 1.0


def test_more_pairs_than_64_bits_of_products() -> None:
    counts = np.array([3, 5, 11], dtype=np.int64) * 10**10
    pairs = PairCounts(np.array([-0.5, 0.0, 0.5], dtype=np.float32), counts, counts[::-1].copy())
    wins = 5 * 11 + 11 * (11 + 5) + Fraction(3 * 11 + 5 * 5 + 11 * 3, 2)
    assert pairs.roc_auc() == float(wins / 19**2)
    assert pairs.num_pairs == 38 * 10**10


@pytest.mark.parametrize("num_images", [0, 1])
def test_no_pairs(num_images: int) -> None:
    pairs = count_pair_scores(torch.ones(num_images, 1), [0] * num_images)
    assert (pairs.num_pairs, pairs.scores.size) == (0, 0)
    assert math.isnan(pairs.roc_auc())
    assert math.isnan(pairs.equal_error_threshold())
    assert math.isnan(pairs.fnmr_at_fmr(0.1))
    assert math.isnan(pairs.log_loss(Logistic(1, 0)))
    assert pairs.roc_curve(10).thresholds.tolist() == [math.inf]


def test_counts_are_locked_and_the_arrays_given_are_not() -> None:
    mine = np.ones(2, dtype=np.int64)
    pairs = PairCounts(np.array([0.0, 1.0], dtype=np.float32), mine, mine)
    assert not pairs.positive.flags.writeable
    assert mine.flags.writeable


def test_progress_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    embeddings = _embeddings(20)
    count_pair_scores(embeddings, [0] * 20, progress=True)
    assert "comparing" in capsys.readouterr().err
    for progress in (None, False):
        count_pair_scores(embeddings, [0] * 20, progress=progress)
    assert capsys.readouterr() == ("", "")


SCORES, COUNTS = np.array([0.0, 0.5], dtype=np.float32), np.ones(2, dtype=np.int64)


@pytest.mark.parametrize(
    ("scores", "positive", "negative", "error", "message"),
    [
        (
            SCORES.astype(float),
            COUNTS,
            COUNTS,
            TypeError,
            r"Expected scores in float32 .*, got float64, int64 and int64",
        ),
        (SCORES, COUNTS, COUNTS.astype(float), TypeError, r"counts in int64, got float32, int64 and float64. Convert"),
        (SCORES, COUNTS, COUNTS[:1], ValueError, r"of one shape \[K\], got \[2\], \[2\] and \[1\]. Give both"),
        (SCORES[::-1], COUNTS, COUNTS, ValueError, r"Expected scores to be ascending multiples of 2\^-22 from -1 to 1"),
        (SCORES * 4, COUNTS, COUNTS, ValueError, "got other values or another order. Build the object with"),
        (SCORES + np.float32(0.1), COUNTS, COUNTS, ValueError, "ascending multiples"),
        (SCORES * np.float32(np.nan), COUNTS, COUNTS, ValueError, "ascending multiples"),
        (SCORES, COUNTS, -COUNTS, ValueError, "Expected negative to count pairs, got -1. Give counts of at least 0"),
    ],
)
def test_messages(scores: Any, positive: Any, negative: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PairCounts(scores, positive, negative)


def test_messages_of_the_builders() -> None:
    with pytest.raises(ValueError, match=r"Expected scores to be cosines from -1 to 1, got 7.5 at index 1. Use PairSc"):
        PairCounts.from_scores([0.5, 7.5], [1, 0])
    with pytest.raises(ValueError, match=r"Expected block_size to be a whole number of at least 1, got 0. Use 1024"):
        count_pair_scores(_embeddings(3), [0, 0, 1], block_size=0)
    with pytest.raises(
        ValueError, match=r"Expected pair_scores of these 3 pairs, 3 of them positive, got 1, 1 of them"
    ):
        image_level_intervals(_embeddings(3), [0, 0, 0], 0.5, pair_scores=PairCounts.from_scores([0.5], [1]))


def test_both_forms_are_figures() -> None:
    forms: list[type[PairFigures]] = [PairScores, PairCounts]
    assert all(issubclass(form, PairFigures) for form in forms)
