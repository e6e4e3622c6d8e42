"""Results of a gallery: what was not enrolled, the nearest images, and the class that they vote for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.encoding.pictures import Flawed, Skipped
from pairsim.search.gallery_ids import Id

Labels: TypeAlias = Mapping[Any, Any] | Sequence[Any] | npt.NDArray[Any] | Tensor
"""Classes of a gallery's images: by id, or in the order of its ids."""


class Enrolment(tuple[Skipped, ...]):
    """The pictures that failed to enrol, as a tuple: those that could not be read, or were refused for their quality.

    Args:
        skipped: These pictures.
        flawed: Pictures of poor quality.

    Attributes:
        flawed: Pictures of poor quality, refused or not; none where quality was not measured.
    """

    flawed: tuple[Flawed, ...]

    def __new__(cls, skipped: Iterable[Skipped], flawed: tuple[Flawed, ...]) -> Self:
        """Make the tuple."""
        made = super().__new__(cls, skipped)
        made.flawed = flawed
        return made


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The images of a gallery that are most similar to each of Q queries.

    K is the requested `k`, or the size of the gallery if that is smaller. Neighbours are in order of descending
    similarity; those that tie, in the order in which they were added. An exact search (see `Gallery.exact`) finds the
    nearest of all, an approximate one the nearest of those that its index found; similarities are the same in both.

    Attributes:
        ids: The neighbours of each query, Q lists of K ids.
        similarities: Their similarity `[Q, K]`, float32 in [-1, 1], on the model's device.
        probabilities: The model's probability that they show the same thing `[Q, K]`, float32 in [0, 1].
    """

    ids: list[list[Id]]
    similarities: Tensor
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class ClassPrediction:
    """The class of each of Q queries, by a vote of its nearest neighbours.

    Attributes:
        labels: The class with the most votes for each query, as labels were given.
        scores: Its share of the votes `[Q]`, float32 in [0, 1], on the model's device.
        neighbours: The images that voted; the number of votes is the probability that one shows the same thing.
    """

    labels: list[Any]
    scores: Tensor
    neighbours: SearchResult

    def __len__(self) -> int:
        return len(self.labels)


def labels_by_id(labels: Labels, ids: Sequence[Id]) -> Mapping[Any, Any]:
    """Return the labels of a gallery's images by their ids.

    Args:
        labels: By id, or one for each image in the order of `ids`; arrays and tensors too.
        ids: The ids `[N]`.

    Returns:
        The labels by id; of a mapping, those of other ids too.

    Raises:
        ValueError: If there are not as many labels as ids.

    Example:
        >>> labels_by_id([3, 5], ["a", "b"])
        {'a': 3, 'b': 5}
    """
    if isinstance(labels, Mapping):
        return labels
    values = list(labels) if isinstance(labels, Sequence) else labels.tolist()
    if len(values) != len(ids):
        raise ValueError(
            f"Expected one label for each of the gallery's {len(ids)} images, got {len(values)}. Give them in the "
            "order of gallery.ids, or as a dictionary of ids and labels."
        )
    return dict(zip(ids, values, strict=True))


def class_votes(neighbours: SearchResult, labels: Mapping[Any, Any]) -> ClassPrediction:
    """Count the votes of neighbours for their class, each with the probability that it shows the same thing.

    Args:
        neighbours: Of each query.
        labels: The label of each of them by id, of any kind that a dictionary takes as a key.

    Returns:
        The class with the most votes, ties to that with the nearer neighbour; if all probabilities are 0, each
        neighbour has one vote.

    Raises:
        ValueError: If a neighbour has no label.

    Example:
        >>> neighbours = SearchResult([["a", "b", "c"]], torch.ones(1, 3), torch.tensor([[0.5, 0.4, 0.3]]))
        >>> prediction = class_votes(neighbours, {"a": "cat", "b": "dog", "c": "dog"})
        >>> prediction.labels, round(prediction.scores.item(), 4)
        (['dog'], 0.5833)
    """
    winners, scores = [], []
    for names, weights in zip(neighbours.ids, neighbours.probabilities.double().tolist(), strict=True):
        votes: dict[Any, float] = {}  # in the order of the nearest of each class, which decides ties
        for name, weight in zip(names, weights if any(weights) else [1.0] * len(weights), strict=True):
            if name not in labels:
                raise ValueError(
                    f"Expected a label for every image of the gallery, found none for {name!r}. Add it to labels, or "
                    "remove the image from the gallery."
                )
            votes[labels[name]] = votes.get(labels[name], 0.0) + weight
        winner = max(votes, key=votes.__getitem__)
        winners.append(winner)
        scores.append(votes[winner] / sum(votes.values()))
    return ClassPrediction(winners, torch.tensor(scores, device=neighbours.probabilities.device), neighbours)
