"""AUC and equal error rate on all pairs of 10,000 images: scikit-learn beside pairsim, on the same embeddings.

The embeddings are those of MNIST's test images by a model after one pass of objective "all-pairs", so scores lie as
they do in use: positives near 1, negatives near 0, with ties. Two comparisons:

- from embeddings: scikit-learn is given the similarities of all pairs by one matrix product and the upper triangle of
  it, in float32; pairsim has `all_pair_scores`;
- from scores: both get the same arrays of scores and targets. scikit-learn's arm calls `roc_curve` once and takes both
  figures from it, which is its fastest way; pairsim's sorts with `PairScores.from_scores`.

Both give an exact AUC. The equal error rate is where the two rates cross: scikit-learn has no function for it, so its
arm takes the point of the curve where they are nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.mnist import load, trained_model
from benchmarks.optional import missing, optional
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, timing_rows
from pairsim.evaluation import PairScores, all_pair_scores

SKLEARN, PAIRSIM = "scikit-learn", "pairsim"

Figures = tuple[float, float]
"""AUC and equal error rate."""


def run(options: Options) -> list[Table]:
    """Time both ways."""
    test = load(options, "test").dataset
    embeddings = trained_model(options).encode(test.images, precision="fp32").cpu().numpy()
    labels = test.targets
    metrics = optional("scikit-learn", "sklearn.metrics")
    scores, targets = pairs_of(embeddings, labels)
    whole: dict[str, Callable[[], Figures]] = {}
    part: dict[str, Callable[[], Figures]] = {}
    if metrics is not None:
        whole[SKLEARN] = lambda: sklearn_figures(metrics, *pairs_of(embeddings, labels))
        part[SKLEARN] = lambda: sklearn_figures(metrics, scores, targets)
    whole[PAIRSIM] = lambda: pairsim_figures(all_pair_scores(embeddings, labels))
    part[PAIRSIM] = lambda: pairsim_figures(PairScores.from_scores(scores, targets))
    notes = ("Ratio: to the first row.", *(() if metrics is not None else (missing("scikit-learn"),)))
    rounds = options.rounds or (1 if options.quick else 3)
    return [
        _table(f"AUC and EER of all {len(scores):,} pairs, from embeddings", whole, rounds, len(scores), notes),
        _table(f"AUC and EER of {len(scores):,} given scores", part, rounds, len(scores), notes),
    ]


def _table(
    title: str, arms: dict[str, Callable[[], Figures]], rounds: int, num_pairs: int, notes: tuple[str, ...]
) -> Table:
    figures: dict[str, Figures] = {}

    def keeping(name: str, arm: Callable[[], Figures]) -> Callable[[], object]:
        def call() -> None:
            figures[name] = arm()

        return call

    timings = interleave(
        {name: keeping(name, arm) for name, arm in arms.items()},
        rounds=rounds,
        work=dict.fromkeys(arms, float(num_pairs)),
    )
    rows = timing_rows(timings, unit="pairs")
    for row in rows:
        row["auc"], row["eer"] = figures[row["arm"]]
    return Table(title, rows, notes)


def pairs_of(
    embeddings: npt.NDArray[np.float32], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Scores and targets of all pairs, each once."""
    upper = np.triu(np.ones((len(labels), len(labels)), dtype=bool), k=1)
    return (embeddings @ embeddings.T)[upper], (labels[:, None] == labels[None, :])[upper]


def sklearn_figures(metrics: Any, scores: npt.NDArray[np.float32], targets: npt.NDArray[np.bool_]) -> Figures:
    """Both figures from one curve."""
    fmr, matched, _ = metrics.roc_curve(targets, scores)
    nearest = np.argmin(np.abs(fmr - (1 - matched)))
    return float(metrics.auc(fmr, matched)), float((fmr[nearest] + 1 - matched[nearest]) / 2)


def pairsim_figures(pairs: PairScores) -> Figures:
    """Both figures from sorted scores."""
    return pairs.roc_auc(), pairs.equal_error_rate()
