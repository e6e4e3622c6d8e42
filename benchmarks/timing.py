"""Timing that survives a noisy machine: arms take turns, and are compared within each turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Clock = Callable[[], float]
Row = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Timing:
    """The timed runs of one arm.

    Attributes:
        name: Of the arm.
        seconds: Of each run, in order.
        work: How much one run does, in units that arms share (pairs, labels); arms are compared per unit.
    """

    name: str
    seconds: tuple[float, ...]
    work: float = 1.0

    @property
    def spread(self) -> Spread:
        """Of the seconds of a run."""
        return Spread.of(self.seconds)


def alternate(
    arms: Mapping[str, Callable[[], T]],
    *,
    rounds: int,
    warmup: int = 1,
    after_round: Callable[[int], object] | None = None,
) -> dict[str, list[T]]:
    """Call arms in turns, A B A B, so that a slow spell of the machine falls on all of them.

    Args:
        arms: What to call, by name.
        rounds: How often each arm is called for its results.
        warmup: How often before that, with results thrown away.
        after_round: Is told the number of rounds that are done, warm-up included.

    Returns:
        The results of each arm, one a round.
    """
    if rounds < 1:
        raise ValueError(f"Expected at least 1 round, got {rounds}.")
    results: dict[str, list[T]] = {name: [] for name in arms}
    for number in range(warmup + rounds):
        for name, arm in arms.items():
            result = arm()
            if number >= warmup:
                results[name].append(result)
        if after_round is not None:
            after_round(number + 1)
    return results


def stopwatch(
    run: Callable[[], object], *, synchronize: Callable[[], object] | None = None, clock: Clock = time.perf_counter
) -> Callable[[], float]:
    """An arm for `alternate` that gives the seconds of a run, up to the moment when the device has done its work."""

    def timed() -> float:
        if synchronize is not None:
            synchronize()
        began = clock()
        run()
        if synchronize is not None:
            synchronize()
        return clock() - began

    return timed


def interleave(
    arms: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    work: Mapping[str, float] | None = None,
    synchronize: Callable[[], object] | None = None,
    clock: Clock = time.perf_counter,
    after_round: Callable[[int], object] | None = None,
) -> list[Timing]:
    """Time arms in turns, A B A B, after a warm-up.

    Args:
        arms: What to run, by name.
        rounds: Timed runs of each arm.
        warmup: Runs of each arm before that.
        work: How much one run of an arm does; 1 where nothing is said.
        synchronize: Waits for the device, before and after each run.
        clock: Gives seconds.
        after_round: Is told the number of rounds that are done, warm-up included.
    """
    watches = {name: stopwatch(run, synchronize=synchronize, clock=clock) for name, run in arms.items()}
    seconds = alternate(watches, rounds=rounds, warmup=warmup, after_round=after_round)
    return [Timing(name, tuple(values), (work or {}).get(name, 1.0)) for name, values in seconds.items()]


def speedup(baseline: Timing, other: Timing) -> Spread:
    """How many times faster `other` does a unit of work than `baseline`.

    One ratio a round, of runs that were neighbours in time; then median, smallest and largest. A drift of the machine
    cancels out, which it would not in a ratio of two medians.
    """
    if len(baseline.seconds) != len(other.seconds):
        raise ValueError(f"Expected as many runs of both, got {len(baseline.seconds)} and {len(other.seconds)}.")
    work = other.work / baseline.work
    return Spread.of([a / b * work for a, b in zip(baseline.seconds, other.seconds, strict=True)])


def timing_rows(timings: Sequence[Timing], *, unit: str | None = None) -> list[Row]:
    """One row for each arm, with its ratio to the first.

    Args:
        timings: The baseline, then the others.
        unit: Name of a unit of work, to give a rate in it.
    """
    rows = []
    for timing in timings:
        spread, ratio = timing.spread, speedup(timings[0], timing)
        row: Row = {
            "arm": timing.name,
            "seconds": spread.median,
            "seconds_low": spread.low,
            "seconds_high": spread.high,
            "runs": len(timing.seconds),
        }
        if unit is not None:
            row |= {unit: timing.work, f"{unit}_per_s": timing.work / spread.median}
        rows.append(row | {"ratio": ratio.median, "ratio_low": ratio.low, "ratio_high": ratio.high})
    return rows


def synchronizer(device: str) -> Callable[[], None] | None:
    """What waits until a device has done all it was given; `None` for the CPU, which never lags behind."""
    return torch.cuda.synchronize if torch.device(device).type == "cuda" else None
