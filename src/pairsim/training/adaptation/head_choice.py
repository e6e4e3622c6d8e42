"""Choose the head of a frozen backbone by cross-validation over classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from pairsim.data.random import random_bits, stream_key
from pairsim.models.heads.closed_form import SHRINKAGE, WithinClass, computed_head
from pairsim.models.heads.head_modules import HeadName, embedding_dim_of
from pairsim.training.adaptation.class_figures import ClassFigures, class_figures
from pairsim.training.adaptation.trained_heads import train_head

HeadChoiceName: TypeAlias = Literal["auto"] | HeadName

_MAX_FOLDS, _CLASSES_OF_A_FOLD = 4, 2
_STRENGTHS = (0.8, 0.5, 0.3, 0.1)
_STANDARD_ERROR = 0.683
"""Coverage of an interval of one standard error to either side."""


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Features that heads are fitted to.

    Attributes:
        features: `[N, F]`, float32.
        labels: Class numbers `[N]`.
        dim: Length of an embedding; by default that of the head.
        seed: Seed of trained heads.
    """

    features: Tensor
    labels: Tensor
    dim: int | None = None
    seed: int = 0

    @cached_property
    def _within_class(self) -> WithinClass:
        """How images of a class differ, which is computed once for all whitenings."""
        dim = embedding_dim_of("whiten", self.features.shape[1], self.dim)
        return WithinClass.of(self.features, self.labels, dim)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A kind of head, with its strength.

    Attributes:
        name: The kind.
        shrinkage: Of `"whiten"`, in (0, 1]; `None` for others.
    """

    name: HeadName
    shrinkage: float | None = None

    def __str__(self) -> str:
        return self.name if self.shrinkage is None else f"{self.name}, shrinkage {self.shrinkage:g}"

    def fitted(self, data: TrainingFeatures) -> tuple[nn.Module, int]:
        """Fit a head to features. Training of `"linear"` starts from the whitening.

        Args:
            data: Features and labels.

        Returns:
            The head, from `[N, F]` to `[N, D]`, and D.
        """
        features, labels, dim = data.features, data.labels, data.dim
        if self.name == "none":
            return nn.Identity(), embedding_dim_of(self.name, features.shape[1], dim)
        if self.name == "mlp":
            return train_head(self.name, features, labels, dim or 128, seed=data.seed), dim or 128
        if self.name == "standardize":
            return computed_head(self.name, features, labels, dim)
        shrinkage = self.shrinkage or SHRINKAGE
        head, length = computed_head("whiten", features, labels, dim, shrinkage=shrinkage, within=data._within_class)
        if self.name == "linear":
            head = train_head(self.name, features, labels, length, seed=data.seed, start=head)
        return head, length


@dataclass(frozen=True, kw_only=True)
class HeadResult:
    """A head and its figures on classes that it was not fitted to.

    Attributes:
        head: The head.
        figures: Mean over the folds of the cross-validation.
        difference: 95 % interval of its EER minus that of the chosen head.
    """

    head: Head
    figures: ClassFigures
    difference: tuple[float, float]

    def __str__(self) -> str:
        return self.figures.line(str(self.head), self.difference)


def candidates(name: HeadChoiceName, *, other_length: bool = False) -> list[Head]:
    """List the heads to choose from, the simplest first; one for a head without a strength.

    Args:
        name: A head, or `"auto"` for all.
        other_length: Whether embeddings are to have another length than the features.
    """
    whitened = [Head(name="whiten", shrinkage=strength) for strength in _STRENGTHS]
    if name == "whiten":
        return whitened
    if name != "auto":
        return [Head(name=name)]
    plain = [] if other_length else [Head(name="none"), Head(name="standardize")]
    return [*plain, *whitened, Head(name="linear"), Head(name="mlp")]


def choose_head(
    features: Tensor,
    labels: Tensor,
    heads: Sequence[Head],
    *,
    dim: int | None = None,
    seed: int = 0,
    recorded: str | None = None,
) -> tuple[Head, list[HeadResult]]:
    """Choose the simplest head whose EER on classes that it was not fitted to is within a standard error of the best.

    Classes are divided into up to four folds. Each head is fitted to the classes of the other folds, and judged on all
    pairs of the images of its own.

    Args:
        features: `[N, F]`, float32.
        labels: Class numbers `[N]`.
        heads: Those to choose from, the simplest first.
        dim: Length of an embedding; by default that of each head.
        seed: Seed of the folds and of trained heads.
        recorded: The kind of head that a resumed run was begun with, of which one is taken: figures differ a little
            between machines.

    Returns:
        The chosen head, and the figures of each; with fewer than four classes the first of `heads` and no figures.

    References:
        Breiman et al.: Classification and regression trees, 1984 (the rule of one standard error).
    """
    codes = torch.unique(labels, return_inverse=True)[1]
    folds = class_folds(codes, seed)
    if len(heads) == 1 or folds is None:
        return heads[0], []
    figures = cross_validated(heads, TrainingFeatures(features, codes, dim, seed), folds)
    allowed = [number for number, head in enumerate(heads) if recorded in (None, head.name)] or range(len(heads))
    chosen = allowed[simplest([figures[number] for number in allowed])]
    results = [
        HeadResult(head=head, figures=one, difference=one.difference(figures[chosen]))
        for head, one in zip(heads, figures, strict=True)
    ]
    return heads[chosen], results


def cross_validated(heads: Sequence[Head], data: TrainingFeatures, folds: Tensor) -> list[ClassFigures]:
    """Fit heads to the classes of all folds but one, and judge them on that one, for each.

    Args:
        heads: To be fitted.
        data: Features of all folds; labels are from 0 without gaps.
        folds: The fold of each class, see `class_folds`.

    Returns:
        The figures of each head.
    """
    judged: list[list[tuple[Tensor, Tensor]]] = [[] for _ in heads]
    for fold in range(int(folds.max()) + 1):
        inside = folds[data.labels] == fold
        rest = dataclasses.replace(data, features=data.features[~inside], labels=data.labels[~inside])
        for head, sets in zip(heads, judged, strict=True):
            fitted, _ = head.fitted(rest)
            with torch.no_grad():
                sets.append((fitted(data.features[inside]), data.labels[inside]))
    return [class_figures(sets) for sets in judged]


def simplest(figures: Sequence[ClassFigures]) -> int:
    """Return the first whose EER is within a standard error of the best.

    Args:
        figures: Of the same images, those of the simplest first.
    """
    best = min(figures, key=lambda one: one.eer)
    return next(
        number for number, one in enumerate(figures) if one is best or one.difference(best, _STANDARD_ERROR)[0] <= 0
    )


def class_folds(codes: Tensor, seed: int) -> Tensor | None:
    """Divide classes into folds, of at least two classes with two images.

    Args:
        codes: Class number of each image `[N]`, from 0 without gaps.
        seed: Any whole number.

    Returns:
        The fold of each class; `None` if there are too few classes for two folds.

    Example:
        >>> class_folds(torch.arange(8).repeat(2), seed=0).bincount().tolist()
        [2, 2, 2, 2]
        >>> class_folds(torch.arange(3).repeat(2), seed=0) is None
        True
    """
    counts = torch.bincount(codes)
    several = torch.nonzero(counts > 1).flatten()
    num_folds = min(_MAX_FOLDS, len(several) // _CLASSES_OF_A_FOLD)
    if num_folds < 2:
        return None
    keys = torch.from_numpy((random_bits(stream_key("head folds", seed), several.numpy()) >> 1).astype("int64"))
    folds = torch.arange(len(counts)) % num_folds  # of classes with one image
    folds[several[torch.argsort(keys)]] = torch.arange(len(several)) % num_folds
    return folds
