"""The judge of all arms: exact figures over all pairs of embeddings, by a code of its own and not the library's."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import Row

_ROWS = 1024  # rows of the similarity matrix held at once


@dataclass(frozen=True)
class Quality:
    """Figures over all pairs.

    Attributes:
        balanced_accuracy: Mean of the accuracies of positive and of negative pairs at probability 0.5.
        eer: Where false match rate and false non-match rate are equal, to within one positive pair.
        auc: Probability that a positive pair is more similar than a negative one, ties counting one half.
        num_positive: Positive pairs.
        num_negative: Negative pairs.
    """

    balanced_accuracy: float
    eer: float
    auc: float
    num_positive: int
    num_negative: int

    def row(self) -> Row:
        """The figures as a row."""
        return asdict(self)


def judge(embeddings: Tensor, labels: Tensor, *, weight: float, bias: float) -> Quality:
    """Judge embeddings by all N(N-1)/2 pairs.

    Args:
        embeddings: Unit length `[N, D]`, each image embedded once.
        labels: `[N]`, with positive and negative pairs among them.
        weight: Slope of the projection from similarity to logit.
        bias: Its offset.
    """
    found = embeddings.detach().float().cpu()
    kinds: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, len(found), _ROWS):
        similarity = found[start : start + _ROWS] @ found[start:].T
        later = torch.ones_like(similarity, dtype=torch.bool).triu(diagonal=1)
        same = labels[start : start + _ROWS, None] == labels[None, start:]
        kinds[0].append(similarity[later & same])
        kinds[1].append(similarity[later & ~same])
    positive, negative = (np.sort(torch.cat(parts).numpy()) for parts in kinds)
    below = np.searchsorted(negative, positive, side="left")  # negatives less similar than each positive
    not_above = np.searchsorted(negative, positive, side="right")
    # the cut at each positive: positives below it are missed, negatives from it on are let in
    missed = np.searchsorted(positive, positive, side="left") / len(positive)
    let_in = 1.0 - below / len(negative)
    crossing = int(np.argmax(missed >= let_in)) if bool((missed >= let_in).any()) else len(positive) - 1
    right = [np.mean(weight * positive + bias > 0), np.mean(weight * negative + bias <= 0)]
    return Quality(
        balanced_accuracy=float(np.mean(right)),
        eer=float((missed[crossing] + let_in[crossing]) / 2),
        auc=float((below + not_above).mean() / (2 * len(negative))),
        num_positive=len(positive),
        num_negative=len(negative),
    )
