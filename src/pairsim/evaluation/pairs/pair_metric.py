"""From a metric of sorted scores to a function of scores and targets.

A metric is written once, as a function whose first argument is `SplitScores`. `pair_metric` makes it a function of
`(scores, targets)`, `probability_metric` one of `(probabilities, targets)`. The docstring is that of the metric, with
these arguments in place of its own. The metric itself is the attribute `of_pairs`, for scores that are sorted already.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from pairsim._common.arrays import Float64Array, Values, check_probabilities, scores_and_targets
from pairsim.evaluation.pairs.ranked import SplitScores, ToProbability, sort_by_target

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

PAIRS = "    pairs: Scores of positive and negative pairs.\n"
PROBABILITY = "    probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.\n"
_TARGETS = "    targets: One target per pair `[P]`, 1 = same class.\n"
_SCORES = "    scores: One score per pair `[P]`, higher = more similar.\n" + _TARGETS
_PROBABILITIES = '    probabilities: Probability of "same class" per pair `[P]`, in [0, 1].\n' + _TARGETS
_ERRORS = """\
    TypeError: If the input is not numeric.
    ValueError: If shapes differ, a target is not 0 or 1, or a {}.
"""


class PairMetric(Protocol[P, R_co]):
    """A metric as a function of scores and targets."""

    @property
    def of_pairs(self) -> Callable[Concatenate[SplitScores, P], R_co]:
        """The metric of sorted scores."""

    def __call__(self, scores: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute the metric."""


class ProbabilityMetric(Protocol[P, R_co]):
    """A metric as a function of probabilities and targets."""

    @property
    def of_pairs(self) -> Callable[Concatenate[SplitScores, ToProbability, P], R_co]:
        """The metric of sorted scores and their function to probabilities."""

    def __call__(self, probabilities: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute the metric."""


def pair_metric(metric: Callable[Concatenate[SplitScores, P], R]) -> PairMetric[P, R]:
    """Make a metric a function of scores and targets.

    Args:
        metric: The metric. Its docstring has the line `PAIRS` and the section `Example`.

    Returns:
        The function of `(scores, targets)` and the further arguments of the metric.
    """

    def of_scores(scores: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R:
        return metric(sort_by_target(*scores_and_targets(scores, targets)), *args, **kwargs)

    _describe(of_scores, metric, {PAIRS: _SCORES}, _ERRORS.format("score is NaN"))
    return cast("PairMetric[P, R]", of_scores)


def probability_metric(metric: Callable[Concatenate[SplitScores, ToProbability, P], R]) -> ProbabilityMetric[P, R]:
    """Make a metric of scores, and of their function to probabilities, a function of probabilities and targets.

    Args:
        metric: The metric. Its docstring has the lines `PAIRS` and `PROBABILITY` and the section `Example`.

    Returns:
        The function of `(probabilities, targets)` and the further arguments of the metric.
    """

    def of_probabilities(probabilities: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R:
        values, same = scores_and_targets(probabilities, targets, "probabilities")
        # In the order of the input, so that the message gives an index of it.
        check_probabilities(values)
        return metric(sort_by_target(values, same), _unchanged, *args, **kwargs)

    errors = _ERRORS.format("probability is NaN or outside [0, 1]")
    _describe(of_probabilities, metric, {PAIRS: _PROBABILITIES, PROBABILITY: ""}, errors)
    return cast("ProbabilityMetric[P, R]", of_probabilities)


def _unchanged(probabilities: Float64Array) -> Float64Array:
    return probabilities


def _describe(function: Any, metric: Any, arguments: dict[str, str], errors: str) -> None:
    """Give a function the name, the signature and the docstring of a metric, with other first arguments."""
    first, rest = (list(inspect.signature(of).parameters.values()) for of in (function, metric))
    functools.update_wrapper(function, metric)
    function.of_pairs = metric
    parameters = [*first[:2], *rest[len(arguments) :]]
    function.__signature__ = inspect.signature(metric).replace(parameters=parameters)
    function.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": metric.__annotations__["return"]}
    text = inspect.cleandoc(metric.__doc__ or "") + "\n"
    for line, replacement in arguments.items():
        text = text.replace(line, replacement)
    if "Raises:\n" in text:
        function.__doc__ = text.replace("Raises:\n", f"Raises:\n{errors}")
    else:
        function.__doc__ = text.replace("Example:\n", f"Raises:\n{errors}\nExample:\n")
