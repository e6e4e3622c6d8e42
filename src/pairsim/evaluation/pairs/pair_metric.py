"""From a metric of sorted scores: the function of scores and targets, and the method of `PairFigures`.

A metric is written once, as a function whose first argument is `SplitScores`. `pair_metric` makes it a function of
`(scores, targets)`, `probability_metric` one of `(probabilities, targets)`, and `as_method` a method of `PairFigures`.
Their docstrings are that of the metric, with their own arguments in place of `pairs`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from pairsim._common.arrays import Float64Array, Values, check_probabilities, scores_and_targets
from pairsim.evaluation.pairs.ranked import SplitScores, ToProbability, sort_by_target

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

PAIRS = "    pairs: Scores of positive and negative pairs.\n"
PROBABILITY = "    probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.\n"
_TARGETS = "    targets: One target per pair `[P]`, 1 = same class.\n"
_SCORES = "    scores: One score per pair `[P]`, higher = more similar.\n"
_SCORE_ERRORS = """\
    TypeError: If the input is not numeric.
    ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
"""
_PROBABILITIES = '    probabilities: Probability of "same class" per pair `[P]`, in [0, 1].\n'
_PROBABILITY_ERRORS = """\
    TypeError: If the input is not numeric.
    ValueError: If shapes differ, a target is not 0 or 1, or a probability is NaN or outside [0, 1].
"""


class PairMetric(Protocol[P, R_co]):
    """A metric as a function of scores and targets."""

    def __call__(self, scores: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute the metric."""


class ProbabilityMetric(Protocol[P, R_co]):
    """A metric as a function of probabilities and targets."""

    def __call__(self, probabilities: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute the metric."""


class ProbabilityMethod(Protocol[P, R_co]):
    """A metric of probabilities as a method of an object that has scores."""

    def __call__(self, probability: ToProbability, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute the metric."""


class Bindable(Protocol[R_co]):
    """A function in the body of a class, which is an `R_co` on an instance."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> R_co: ...


def pair_metric(metric: Callable[Concatenate[SplitScores, P], R]) -> PairMetric[P, R]:
    """Make a metric a function of scores and targets.

    Args:
        metric: The metric. Its docstring has the line `PAIRS` and the section `Example`.

    Returns:
        The function of `(scores, targets)` and the further arguments of the metric.
    """

    @functools.wraps(metric, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def of_scores(scores: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R:
        return metric(sort_by_target(*scores_and_targets(scores, targets)), *args, **kwargs)

    _describe(of_scores, 1, {PAIRS: _SCORES + _TARGETS}, _SCORE_ERRORS)
    return of_scores


def probability_metric(metric: Callable[Concatenate[SplitScores, ToProbability, P], R]) -> ProbabilityMetric[P, R]:
    """Make a metric of scores, and of their function to probabilities, a function of probabilities and targets.

    Args:
        metric: The metric. Its docstring has the lines `PAIRS` and `PROBABILITY` and the section `Example`.

    Returns:
        The function of `(probabilities, targets)` and the further arguments of the metric.
    """

    @functools.wraps(metric, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def of_probabilities(probabilities: Values, targets: Values, *args: P.args, **kwargs: P.kwargs) -> R:
        values, same = scores_and_targets(probabilities, targets, "probabilities")
        # In the order of the input, so that the message gives an index of it.
        check_probabilities(values)
        return metric(sort_by_target(values, same), _unchanged, *args, **kwargs)

    _describe(of_probabilities, 2, {PAIRS: _PROBABILITIES + _TARGETS, PROBABILITY: ""}, _PROBABILITY_ERRORS)
    return of_probabilities


@overload
def as_method(metric: PairMetric[P, R]) -> Bindable[Callable[P, R]]: ...
@overload
def as_method(metric: ProbabilityMetric[P, R]) -> Bindable[ProbabilityMethod[P, R]]: ...
@overload
def as_method(metric: Callable[Concatenate[SplitScores, P], R]) -> Bindable[Callable[P, R]]: ...
def as_method(metric: Any) -> Any:
    """Make a metric a method of an object whose `ranked` are `SplitScores`.

    Args:
        metric: A function of `SplitScores`, or what `pair_metric` or `probability_metric` made of one.

    Returns:
        The method. Its docstring is short, and refers to the function of scores and targets, where there is one.
    """
    of_pairs = inspect.unwrap(metric)

    @functools.wraps(of_pairs, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return of_pairs(self.ranked, *args, **kwargs)

    _describe(method, 1, {PAIRS: ""})
    if of_pairs is not metric:
        summary, *blocks = (method.__doc__ or "").split("\n\n")
        kept = [block for block in blocks if block.startswith(("Args:", "Returns:"))]
        method.__doc__ = "\n\n".join([summary, f"See `pairsim.evaluation.{method.__name__}`.", *kept])
    return method


def _unchanged(probabilities: Float64Array) -> Float64Array:
    return probabilities


def _describe(function: Any, num_replaced: int, arguments: dict[str, str], errors: str = "") -> None:
    """Set the signature and the docstring of a wrapper: those of the metric, with other first arguments."""
    metric, own = inspect.signature(function), inspect.signature(function, follow_wrapped=False)
    first = [p.replace(annotation=p.empty) if p.name == "self" else p for p in own.parameters.values()][:-2]
    parameters = [*first, *list(metric.parameters.values())[num_replaced:]]
    function.__signature__ = metric.replace(parameters=parameters)
    function.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": metric.return_annotation}
    text = inspect.cleandoc(function.__doc__ or "") + "\n"
    for line, replacement in arguments.items():
        text = text.replace(line, replacement)
    text = text.replace("Args:\n\n", "")
    if "Raises:\n" in text:
        text = text.replace("Raises:\n", f"Raises:\n{errors}")
    elif errors:
        text = text.replace("Example:\n", f"Raises:\n{errors}\nExample:\n")
    function.__doc__ = text
