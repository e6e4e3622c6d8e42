"""Pairs drawn a second, on one core, without touching an image.

All arms draw the same kind of pair: first image uniform, positive or negative with probability one half, a
negative's class uniform among the others. pairsim's `PairSampler` makes pair k a pure function of seed, epoch and k,
and balances exactly. The notebook's Python code gets its labels from a list instead of from decoded images, which
spares it nearly all of its cost. NumPy's own generator, in arrays of the size that pairsim works in, is the limit: it
draws in order only, and balances on average only. The Python arm draws fewer pairs, as its cost is the same for each;
arms are compared per pair. NumPy and Python use one core for this.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.notebook_recipe import draw_second
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, timing_rows
from pairsim.data import ClassIndex, PairSampler

_NUM_PAIRS, _QUICK_PAIRS = 20_000_000, 2_000_000
_CHUNK = 32_768
_SETS = {"60,000 images, 10 classes": (60_000, 10), "10,000,000 images, 1,000 classes": (10_000_000, 1_000)}


def run(options: Options) -> list[Table]:
    """Measure drawing from a small and from a large set of labels."""
    num_pairs = options.num_pairs or (_QUICK_PAIRS if options.quick else _NUM_PAIRS)
    rounds = options.rounds or (3 if options.quick else 5)
    tables = []
    for title, (num_images, num_classes) in _SETS.items():
        labels = np.random.default_rng(options.seed).integers(0, num_classes, size=num_images, dtype=np.int64)
        index = ClassIndex.from_labels(labels)
        # a negative in Python walks all classes
        num_slow = max(num_pairs // (100 if num_classes <= 10 else 1000), 1)
        arms, work = _arms(index, labels, num_pairs, num_slow, options.seed)
        timings = interleave(arms, rounds=rounds, work=work)
        notes = ("Ratio: pairs a second, to the notebook's code.",)
        tables.append(Table(f"Drawing pairs: {title}", timing_rows(timings, unit="pairs"), notes))
    return tables


def _arms(
    index: ClassIndex, labels: npt.NDArray[np.int64], num_pairs: int, num_slow: int, seed: int
) -> tuple[Mapping[str, Callable[[], object]], Mapping[str, float]]:
    names = [int(name) for name in index.classes]
    parts = np.split(index.order, index.offsets[1:-1])
    images_of = {name: part.tolist() for name, part in zip(names, parts, strict=True)}
    label_list = labels.tolist()
    sampler = PairSampler(index, seed=seed)
    rng = np.random.default_rng(seed)

    def pairsim_stream() -> None:
        drawn = sum(len(pairs) for pairs in sampler.stream(0, num_pairs))
        assert drawn == num_pairs

    def numpy_limit() -> None:
        for start in range(0, num_pairs, _CHUNK):
            numpy_pairs(rng, index, min(_CHUNK, num_pairs - start))

    arms = {
        "notebook's Python code, labels given": lambda: notebook_pairs(images_of, label_list, num_slow),
        "pairsim PairSampler.stream": pairsim_stream,
        "limit: NumPy generator": numpy_limit,
    }
    return arms, dict(zip(arms, (num_slow, num_pairs, num_pairs), strict=True))


def notebook_pairs(images_of: Mapping[int, list[int]], labels: list[int], num_pairs: int) -> None:
    """Draw pairs by the notebook's code."""
    for _ in range(num_pairs):
        first = random.randrange(len(labels))
        draw_second(images_of, labels[first])


def numpy_pairs(
    rng: np.random.Generator, index: ClassIndex, num_pairs: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """First images, second images and targets `[n]`, never an image with itself."""
    target = rng.random(num_pairs) < 0.5
    place = (rng.random(num_pairs) * index.num_images).astype(np.int64)
    first = index.order[place]
    code = index.codes[first].astype(np.int64)
    other = (rng.random(num_pairs) * (index.num_classes - 1)).astype(np.int64)
    other += other >= code
    chosen = np.where(target, code, other)
    second = index.offsets[chosen] + (rng.random(num_pairs) * (index.counts[chosen] - target)).astype(np.int64)
    second += target & (second >= place)
    return first, index.order[second], target
