"""The input of figures of pairs: the scores, error curve, operating point and intervals of each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np

from pairsim._common.arrays import Values, as_array
from pairsim.evaluation import PairFigures, PairScores, RocCurve
from pairsim.evaluation.curve_data import curve_points
from pairsim.visual.page.text_styles import name_of, shorten_names
from pairsim.visual.page.values import check_finite_threshold

ScoredPairs: TypeAlias = PairFigures | tuple[Values, Values]
"""Scores of pairs with their targets: `PairFigures`, or two arrays `[P]`."""

Intervals: TypeAlias = Mapping[str, tuple[float, float]]

MAX_MODELS = 7
"""Maximum number of models in a figure, one for each line style."""
_MAX_NAME = 30


@dataclass(frozen=True)
class RatedModel:
    """A model with the data that is drawn of it.

    Attributes:
        name: Its name, as it is written in the legend; empty for a single model.
        pairs: Its scores.
        curve: Points of its error curve.
        threshold: Its operating point.
        intervals: Intervals by the name of the figure.
    """

    name: str
    pairs: PairFigures
    curve: RocCurve
    threshold: float | None
    intervals: Intervals


def read_pairs(scores: Values | PairFigures, targets: Values | None, *, name: str = "scores") -> PairFigures:
    """Convert scores and targets to `PairFigures` with pairs of both kinds.

    Args:
        scores: One finite score per pair `[P]`, or `PairScores` or `PairCounts`.
        targets: One target per pair `[P]`, 1 = same class; None with `PairFigures`, which contain them.
        name: What messages call the scores.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, a score is not finite, or pairs of one kind are missing.
    """
    if isinstance(scores, PairFigures):
        if targets is not None:
            raise ValueError(f"Expected no targets with {type(scores).__name__}, which contains them. Leave them out.")
        pairs = scores
    elif targets is None:
        raise ValueError(f"Expected targets with {name}, got none. Give one per pair: 1 = same class, 0 = different.")
    else:
        values = as_array(scores, name)
        if values.dtype.kind == "f" and np.isinf(values).any():
            raise ValueError(f"Expected {name} to be finite, found infinity. Leave those pairs out.")
        pairs = PairScores.from_scores(values, targets)
    if not pairs.num_pairs:
        raise ValueError("Expected at least one pair of each kind, got none at all. Check what selected the pairs.")
    if not (pairs.num_positive and pairs.num_negative):
        raise ValueError(
            f"Expected pairs of both kinds, got {pairs.num_positive:,} positive and {pairs.num_negative:,} negative. "
            "Add pairs of the other kind: error rates need both."
        )
    return pairs


def read_models(
    scores: Values | PairFigures | Mapping[str, ScoredPairs],
    targets: Values | None,
    threshold: float | Mapping[str, float] | None = None,
    intervals: Intervals | Mapping[str, Intervals] | None = None,
) -> list[RatedModel]:
    """Check and combine the data of one model, or of several by name; a single model has the name `""`.

    Raises:
        TypeError: If the input is not numeric, or a value is neither `PairFigures` nor scores and targets.
        ValueError: As `read_pairs`, or if there is no model, or more than `MAX_MODELS`, a threshold is not finite, or
            options name unknown models.
    """
    pairs: dict[str, PairFigures] = {}
    if not isinstance(scores, Mapping):
        pairs[""] = read_pairs(scores, targets)
    elif targets is not None:
        raise ValueError("Expected no targets beside several models. Give {name: (scores, targets), ...}.")
    elif not 1 <= len(scores) <= MAX_MODELS:
        raise ValueError(
            f"Expected 1 to {MAX_MODELS} models, got {len(scores)}. Give at least one; draw more in further figures."
        )
    else:
        for name, given in scores.items():
            if isinstance(given, PairFigures):
                pairs[name_of(name)] = read_pairs(given, None)
            elif isinstance(given, tuple) and len(given) == 2:
                pairs[name_of(name)] = read_pairs(*given, name=f"scores of {name}")
            else:
                raise TypeError(
                    f"Expected (scores, targets) or PairFigures for {name}, got {type(given).__name__}. "
                    "Give {name: (scores, targets), ...}."
                )
    single = list(pairs) == [""]
    thresholds = threshold if isinstance(threshold, Mapping) else dict.fromkeys(pairs, threshold)
    bounds = cast("Mapping[str, Intervals]", {"": intervals} if single and intervals else intervals or {})
    for option, by_name in (("threshold", thresholds), ("intervals", bounds)):
        unknown = [name for name in by_name if name not in pairs]
        if unknown:
            names = "one model without a name" if single else ", ".join(pairs)
            raise ValueError(f"Expected {option} by model ({names}), got {unknown[0]!r}. Use the names of the scores.")
    for value in thresholds.values():
        check_finite_threshold(value)
    return [
        RatedModel(text, own, curve_points(own), thresholds.get(name), bounds.get(name, {}))
        for text, (name, own) in zip(shorten_names(list(pairs), _MAX_NAME), pairs.items(), strict=True)
    ]
