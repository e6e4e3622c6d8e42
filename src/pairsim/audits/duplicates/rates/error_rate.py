"""Choose the threshold of duplicates by its rate of false pairs, measured on the pictures themselves.

Two pictures of a folder, drawn at random, are a false pair if they are different and yet have at least the threshold.
Nearly all pairs of different pictures are never proposed or cannot be registered, and have similarity 0. The others
give the tail of similarities, from which the rate at a threshold is estimated (see `pair_tail`). They are few. Pairs
that are skewed or tilted against each other, and those with too few matching features to be proposed, are never false
pairs. They are registered all the same, as they tell how similarities fall; this assumes that those of false pairs fall
alike. Where no pair counts, the estimate is 0, and the upper end is that of 3.7 pairs.

The threshold is the lowest at which the upper end of the 95 % interval of the rate is at most the target. So the rate
itself is mostly far less.

Copies in the folder would count as false pairs. So of the pictures that are copies at the default threshold, one is
taken. What is left may have copies below it, which make the rate, and with it the threshold, higher than needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import Float64Array
from pairsim._common.choices import OnError
from pairsim._common.numbers import real_number
from pairsim.audits.duplicates.listed_pictures import Listed, read_all
from pairsim.audits.duplicates.matching.candidates import Matches, Proposals, matching_features, proposals
from pairsim.audits.duplicates.matching.families import compared
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.audits.duplicates.rates.edit_recall import EditRecall, all_described, drawn, edit_recall
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError
from pairsim.evaluation.uncertainty.pair_tail import PairTail, fitted_tail, poisson_interval

MAX_EXTRAPOLATION = 1000
"""How many times as rare as one pair in all a false pair may be, at most, for a rate to be stated."""

_LEAST_PICTURES = 3
_MAX_PICTURES = 1000
_MAX_OTHERS = 2000
"""Pairs with a single match that are compared, at most."""
_SMALLEST = 0.5
_LARGEST = 0.9999
"""Threshold, at most: from here on, rounding counts."""
_STEP = 0.0001
_MILLION = 10**6


@dataclass(frozen=True, kw_only=True)
class DuplicateRates:
    """A threshold, how many pairs of different pictures have it by chance, and how many copies it finds.

    Attributes:
        target: Rate of false pairs that is asked for.
        threshold: The lowest similarity, at least 0.5, at which the upper end of `interval` is at most the target.
        false_rate: Share of the pairs of different pictures that have at least the threshold, as estimated.
        interval: Its 95 % interval.
        num_pictures: Different pictures that were compared with each other.
        num_pairs: Pairs of these.
        num_edited: Pictures that were edited.
        recall: Of each kind of edit.
        edited_pairs: Pairs of different pictures of which one or both were edited: a check, which the threshold is not
            chosen by.
        edited_false: How many of these have at least the threshold.
    """

    target: float
    threshold: float
    false_rate: float
    interval: tuple[float, float]
    num_pictures: int
    num_pairs: int
    num_edited: int
    recall: tuple[EditRecall, ...]
    edited_pairs: int
    edited_false: int

    @property
    def per_million_pairs(self) -> tuple[float, float, float]:
        """False pairs expected among a million pairs, the estimate, and its 95 % interval."""
        low, high = self.interval
        return self.false_rate * _MILLION, low * _MILLION, high * _MILLION

    @property
    def per_million_pictures(self) -> tuple[float, float, float]:
        """False pairs expected among all pairs of a million pictures, the estimate, and its 95 % interval."""
        pairs = (_MILLION - 1) / 2
        estimate, low, high = self.per_million_pairs
        return estimate * pairs, low * pairs, high * pairs

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON values."""
        return {
            "target": self.target,
            "threshold": self.threshold,
            "false_rate": self.false_rate,
            "interval": list(self.interval),
            "per_million_pairs": list(self.per_million_pairs),
            "per_million_pictures": list(self.per_million_pictures),
            "num_pictures": self.num_pictures,
            "num_pairs": self.num_pairs,
            "num_edited": self.num_edited,
            "recall": [{**vars(one), "interval": list(one.interval), "recall": one.recall} for one in self.recall],
            "edited_pairs": self.edited_pairs,
            "edited_false": self.edited_false,
        }

    def describe(self) -> str:
        """Return the figures as text."""
        lines = [f"threshold {self.threshold:.4f} for a false rate of at most {self.target:.3g}"]
        for what, (estimate, low, high) in (
            ("pairs", self.per_million_pairs),
            ("pictures", self.per_million_pictures),
        ):
            lines.append(
                f"  false pairs among a million {what}: {estimate:.2g} (95 % interval {low:.2g} to {high:.2g})"
            )
        lines.append(f"  from {self.num_pairs:,} pairs of {self.num_pictures:,} different pictures")
        lines.append(f"  check: {self.edited_false:,} of {self.edited_pairs:,} pairs with edited pictures are false")
        lines.append(f"  copies found, of {self.num_edited:,} pictures each (95 % interval):")
        width = max(len(one.edit) for one in self.recall)
        lines += [
            f"    {one.edit:<{width}}  {one.recall:6.1%}  ({one.interval[0]:.1%} to {one.interval[1]:.1%})"
            for one in self.recall
        ]
        return "\n".join(lines)


def checked_target(target: float) -> float:
    """Return the target rate; raise if it is none."""
    value = real_number(target, "target_false_rate")
    if not 0.0 < value < 1.0:  # also catches NaN
        raise ValueError(f"Expected target_false_rate to be above 0 and below 1, got {value}. Begin with 1e-7.")
    return value


def expect_enough(count: int, target: float) -> None:
    """Check that pictures, as many as there can be different ones, are not too few for a target.

    Args:
        count: Their number.
        target: Share of the pairs of different pictures that may have the threshold, in (0, 1).

    Raises:
        DataError: If they are, or the target is too rare for any pictures.
    """
    _expect_some(count)
    if _needed(target) > _MAX_PICTURES:
        raise DataError(
            f"Expected a target_false_rate that {_MAX_PICTURES:,} pictures can show, which are compared at most, got "
            f"{target:.3g}. Use a target of {_rounded_up(_rarest(_MAX_PICTURES))} or more."
        )
    if count < _needed(target):
        raise DataError(
            f"Expected at least {_needed(target):,} different pictures for a target_false_rate of {target:.3g}, got "
            f"{count:,}. Add pictures, or use a higher target: as many support {_rounded_up(_rarest(count))} at best."
        )


def measured_rates(
    pictures: Sequence[Listed], target: float, *, ceiling: float, on_error: OnError, progress: bool | None
) -> DuplicateRates:
    """Choose the threshold for a rate of false pairs, and measure it on the pictures.

    Up to 1000 pictures are compared with each other, and up to 100 of them edited. Both are drawn with a fixed seed.
    Pictures with more than 640 pixels to a side are reduced before they are edited.

    Args:
        pictures: Pictures that are no copies of each other, in an order that does not depend on that of the folder.
        target: Share of the pairs of different pictures that may have the threshold; see `expect_enough`.
        ceiling: Similarity from which pictures were left out as copies.
        on_error: What to do if a picture can no longer be read.
        progress: Whether to show progress bars.

    Raises:
        DataError: If these pictures are too few, or too much alike, to say anything about the target.
    """
    _expect_some(len(pictures))
    sample = drawn(pictures, _MAX_PICTURES)
    prints, features = _read(sample, on_error, progress)
    count = len(prints)
    _expect_some(count)
    proposed, are_proposed = _with_one_match(matching_features(features, least=1), count)
    similarity, copies = compared(frames([one.grey for one in prints]), proposed)
    copies &= are_proposed
    distribution = FalseRates.fitted(
        similarity, copies, proposed.first.numpy(), proposed.second.numpy(), num_pictures=count, ceiling=ceiling
    )
    threshold = distribution.threshold(target)
    estimate, low, high = distribution.rate(threshold)
    recall, edited_pairs, edited_false = edit_recall(sample, threshold, on_error, progress)
    return DuplicateRates(
        target=target,
        threshold=threshold,
        false_rate=estimate,
        interval=(low, high),
        num_pictures=count,
        num_pairs=_pairs(count),
        num_edited=recall[0].total,
        recall=recall,
        edited_pairs=edited_pairs,
        edited_false=edited_false,
    )


@dataclass(frozen=True)
class FalseRates:
    """The rate of false pairs at each threshold.

    Attributes:
        similarity: Of the pairs that could be copies, ascending.
        num_pictures: Different pictures.
        tail: Of the similarities; `None` if there are too few.
    """

    similarity: Float64Array
    num_pictures: int
    tail: PairTail | None

    @classmethod
    def fitted(
        cls,
        similarity: Float64Array,
        copies: npt.NDArray[np.bool_],
        first: npt.NDArray[np.int64],
        second: npt.NDArray[np.int64],
        *,
        num_pictures: int,
        ceiling: float,
    ) -> FalseRates:
        """Fit the tail of the similarities of pairs; those of all others are 0.

        Args:
            similarity: In [0, 1] `[P]`.
            copies: Which of the pairs could be copies by how they lie `[P]`; the others are never false pairs.
            first: First picture of each pair `[P]`.
            second: Second picture of each pair `[P]`.
            num_pictures: Different pictures.
            ceiling: Similarity from which pictures were left out as copies.
        """
        some = similarity > 0
        tail = fitted_tail(
            similarity[some],
            copies[some],
            first[some],
            second[some],
            num_pictures=num_pictures,
            num_pairs=_pairs(num_pictures),
            ceiling=ceiling,
        )
        return cls(np.sort(similarity[some & copies]), num_pictures, tail)

    def rate(self, threshold: float) -> tuple[float, float, float]:
        """Estimate the rate of false pairs: by the tail above its level, else by counting pairs as independent.

        Args:
            threshold: In (0, 1).

        Returns:
            The estimate, and the lower and the upper end of its 95 % interval, in [0, 1].
        """
        if self.tail is not None and math.atanh(threshold) >= self.tail.level:
            return self.tail.rate(threshold)
        pairs = _pairs(self.num_pictures)
        reached = len(self.similarity) - int(np.searchsorted(self.similarity, threshold))
        low, high = poisson_interval(reached)
        return reached / pairs, low / pairs, min(high / pairs, 1.0)

    def threshold(self, target: float) -> float:
        """Find the lowest threshold, from 0.5 on, at which the upper end of the interval is at most the target.

        Raises:
            DataError: If there is none, or the rate is too rare for the number of pairs.
        """
        needed = _needed(target)
        if self.num_pictures >= needed:
            steps = round((_LARGEST - _SMALLEST) / _STEP)
            for step in range(steps + 1):
                threshold = round(_SMALLEST + step * _STEP, 4)
                if self.rate(threshold)[2] <= target:
                    return threshold
        smallest = _rounded_up(max(self.rate(_LARGEST)[2], _rarest(self.num_pictures)))
        works = float(smallest) < 1.0
        instead = f"use a target of {smallest}" if works else "give a threshold instead"
        got = f"got {self.num_pictures:,}; copies are not counted"
        if self.num_pictures < needed:
            raise DataError(
                f"Expected at least {needed:,} different pictures for a target_false_rate of {target:.3g}, {got}. "
                f"Add pictures, or {instead}."
            )
        best = f", and these support {smallest} at best" if works else ""
        if self.tail is None:
            why = "are too few to tell how rare higher similarities are: add pictures"
        else:
            why = "are too much alike: remove those that show the same things"
        raise DataError(
            f"Expected different pictures that support a target_false_rate of {target:.3g}, {got}{best}. Their "
            f"{len(self.similarity):,} similar pairs {why}, or {instead}."
        )


def _expect_some(count: int) -> None:
    if count < _LEAST_PICTURES:
        raise DataError(
            f"Expected at least {_LEAST_PICTURES} different pictures for a target_false_rate, got {count:,}; copies "
            "are not counted. Add pictures, or give a threshold instead."
        )


def _needed(target: float) -> int:
    """Return how many different pictures have to be compared for a target, at least."""
    pairs = 1 / (MAX_EXTRAPOLATION * target)
    return max(math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2 - 1e-9), _LEAST_PICTURES)


def _rarest(count: int) -> float:
    """Return the smallest target for a number of pictures, whatever they are."""
    return 1 / (MAX_EXTRAPOLATION * _pairs(count))


def _rounded_up(rate: float) -> str:
    """Write a rate with two digits that are not less."""
    scale = 10.0 ** (math.floor(math.log10(rate)) - 1)
    digits = math.ceil(rate / scale - 1e-9)
    text = f"{digits * scale:.2g}"
    return text if float(text) >= rate else f"{(digits + 1) * scale:.2g}"


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _read(pictures: Sequence[Listed], on_error: OnError, progress: bool | None) -> tuple[list[Fingerprint], Features]:
    results = read_all(pictures, fingerprint, white=None, on_error=on_error, progress=progress)
    prints = [found for _, found in results if not isinstance(found, Skipped)]
    return prints, all_described(prints)


def _with_one_match(matches: Matches, count: int) -> tuple[Proposals, npt.NDArray[np.bool_]]:
    """Add to the pairs that are proposed others with a single match; and tell which are proposed."""
    proposed = proposals(matches)
    keys = (matches.first * count + matches.second).numpy()
    rows = np.unique(keys, return_index=True)[1]
    rows = rows[~np.isin(keys[rows], (proposed.first * count + proposed.second).numpy())]
    if len(rows) > _MAX_OTHERS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MAX_OTHERS, replace=False))
    more = torch.from_numpy(rows)
    both = Proposals(
        torch.cat([proposed.first, matches.first[more]]),
        torch.cat([proposed.second, matches.second[more]]),
        torch.cat([proposed.support, torch.ones_like(more)]),
        torch.cat([proposed.transform, matches.transform[more]]),
    )
    return both, np.arange(len(both.first)) < len(proposed.first)
