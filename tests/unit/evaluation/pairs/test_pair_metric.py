"""A metric is written once: here is one, as a function of scores and targets, of sorted scores, and as a method."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from pairsim import evaluation
from pairsim.evaluation import PairFigures, PairScores
from pairsim.evaluation.pairs.pair_metric import pair_metric, probability_metric
from pairsim.evaluation.pairs.ranked import SplitScores, ToProbability, count_matches


@pair_metric
def odds_of_match(pairs: SplitScores, threshold: float = 0.5) -> float:
    """Compute how many positive pairs match for each negative pair that does.

    Args:
        pairs: Scores of positive and negative pairs.
        threshold: A pair with at least this score is called a match.

    Returns:
        The odds.

    Raises:
        ValueError: If no negative pair matches.

    Example:
        >>> odds_of_match([0.9, 0.8, 0.6], [1, 1, 0])
        2.0
    """
    matches = [int(count_matches(scores, threshold)) for scores in pairs]
    if not matches[1]:
        raise ValueError("no match")
    return matches[0] / matches[1]


@probability_metric
def largest_probability(pairs: SplitScores, probability: ToProbability, least: float = 0.0) -> float:
    """Compute the largest probability.

    Args:
        pairs: Scores of positive and negative pairs.
        probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.
        least: The result for no pairs.

    Returns:
        The probability.

    Example:
        >>> largest_probability([0.25, 0.5], [1, 0])
        0.5
    """
    chunks = (chunk for scores in pairs for chunk, _ in scores.probability_chunks(probability))
    return max((float(chunk.max()) for chunk in chunks), default=least)


class Scores(PairScores):
    """Scores with the metrics of this page."""

    def odds_of_match(self, threshold: float = 0.5) -> float:
        """See `odds_of_match`."""
        return odds_of_match.of_pairs(self.ranked, threshold)

    def largest_probability(self, probability: ToProbability, least: float = 0.0) -> float:
        """See `largest_probability`."""
        return largest_probability.of_pairs(self.ranked, probability, least)


def test_a_metric_is_a_function_and_a_method() -> None:
    scores, targets = [0.9, 0.8, 0.6, 0.1], [1, 1, 0, 0]
    pairs = Scores(np.array([0.8, 0.9]), np.array([0.1, 0.6]))
    assert odds_of_match(scores, targets) == pairs.odds_of_match() == 2.0
    assert odds_of_match(scores=scores, targets=targets, threshold=0.05) == pairs.odds_of_match(threshold=0.05) == 1.0
    assert largest_probability(scores, targets) == pairs.largest_probability(lambda score: score) == 0.9
    assert pairs.largest_probability(probability=lambda score: score / 3) == pytest.approx(0.3)
    assert largest_probability([], [], least=0.25) == 0.25


def test_input_is_checked() -> None:
    with pytest.raises(ValueError, match="Expected targets of 0"):
        odds_of_match([0.1, 0.2], [1, 2])
    with pytest.raises(ValueError, match="no match"):
        odds_of_match([0.1], [1])
    with pytest.raises(ValueError, match=r"got -0.2 at index 1: looks like similarities"):
        largest_probability([0.5, -0.2], [1, 0])
    with pytest.raises(TypeError, match="odds_of_match"):
        odds_of_match([0.1])  # type: ignore[call-arg]


def test_signatures() -> None:
    assert str(inspect.signature(odds_of_match)) == (
        "(scores: 'Values', targets: 'Values', threshold: 'float' = 0.5) -> 'float'"
    )
    assert str(inspect.signature(largest_probability)) == (
        "(probabilities: 'Values', targets: 'Values', least: 'float' = 0.0) -> 'float'"
    )
    assert str(inspect.signature(odds_of_match.of_pairs)).startswith("(pairs: 'SplitScores', threshold")


def test_docstrings() -> None:
    assert inspect.getdoc(odds_of_match) == inspect.cleandoc(
        """Compute how many positive pairs match for each negative pair that does.

        Args:
            scores: One score per pair `[P]`, higher = more similar.
            targets: One target per pair `[P]`, 1 = same class.
            threshold: A pair with at least this score is called a match.

        Returns:
            The odds.

        Raises:
            TypeError: If the input is not numeric.
            ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
            ValueError: If no negative pair matches.

        Example:
            >>> odds_of_match([0.9, 0.8, 0.6], [1, 1, 0])
            2.0
        """
    )
    text = inspect.getdoc(largest_probability) or ""
    assert '    probabilities: Probability of "same class" per pair `[P]`, in [0, 1].\n    targets: One' in text
    assert "probability: Maps" not in text
    assert "or a probability is NaN or outside [0, 1].\n\nExample:" in text


def _functions() -> list[str]:
    """Public metrics of scores or probabilities and targets."""
    named = {name: getattr(evaluation, name) for name in evaluation.__all__}
    return [name for name, value in named.items() if hasattr(value, "of_pairs")]


@pytest.mark.parametrize("name", _functions())
def test_every_metric_documents_its_arguments_and_errors(name: str) -> None:
    text = inspect.getdoc(getattr(evaluation, name)) or ""
    assert "    targets: One target per pair" in text
    assert "    TypeError: If the input is not numeric." in text
    assert "pairs: Scores of" not in text


def test_every_metric_is_a_method_with_the_same_arguments() -> None:
    assert len(_functions()) > 12
    for name in set(_functions()) - {"det_curve", "roc_curve"}:
        method, metric = vars(PairFigures)[name], getattr(evaluation, name).of_pairs
        arguments = [list(inspect.signature(of).parameters.values())[1:] for of in (method, metric)]
        assert arguments[0] == arguments[1], name


def test_functions_and_methods_give_the_same() -> None:
    generator = np.random.default_rng(0)
    scores, targets = generator.random(60).round(1), generator.random(60) < 0.5
    pairs = PairScores.from_scores(scores, targets)
    assert evaluation.fmr_fnmr(scores, targets, 0.5) == pairs.fmr_fnmr(0.5)
    assert evaluation.partial_roc_auc(scores, targets, max_fmr=0.2) == pairs.partial_roc_auc(max_fmr=0.2)
    assert evaluation.expected_calibration_error(scores, targets, 7) == pairs.expected_calibration_error(
        lambda score: score, 7
    )
    assert evaluation.roc_curve(scores, targets).fmr.tolist() == pairs.roc_curve().fmr.tolist()
