"""Choose the central part of images that a frozen backbone sees, by cross-validation over classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pairsim.models.heads.closed_form import SHRINKAGE
from pairsim.training.adaptation.class_figures import ClassFigures
from pairsim.training.adaptation.head_choice import Head, TrainingFeatures, class_folds, cross_validated, simplest

FRACTIONS = (1.0, 0.8, 0.6)
"""Shares of height and width to choose from, the whole first."""
_MAX_IMAGES, _MIN_OF_CLASS = 384, 4


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """A central part and its figures on classes that its head was not fitted to.

    Attributes:
        central_fraction: Share of height and width.
        figures: Mean over the folds of the cross-validation.
        difference: 95 % interval of its EER minus that of the chosen part.
    """

    central_fraction: float
    figures: ClassFigures
    difference: tuple[float, float]

    def __str__(self) -> str:
        name = "whole" if self.central_fraction == 1 else f"central {self.central_fraction:.0%}"
        return self.figures.line(name, self.difference)


def choose_central_fraction(
    features_of: Callable[[float, Tensor], Tensor], codes: Tensor, *, seed: int = 0, recorded: float | None = None
) -> tuple[float, list[PartResult]]:
    """Choose how much of the image a net sees.

    It is the largest part whose EER on new classes is within a standard error of the best. The whole image is taken
    instead unless the 95 % interval says that its EER is higher, as later images lose what is outside the part. At most
    384 images are compared, with a whitening that is fitted to the classes of the other folds.

    Args:
        features_of: Called with a share of height and width and numbers of images, it returns their features `[n, F]`.
        codes: Class number of each image `[N]`.
        seed: Seed of the folds.
        recorded: The share that a resumed run was begun with, which is taken: figures differ a little between machines.

    Returns:
        The chosen share, and the figures of each; with fewer than four classes 1 and no figures.
    """
    kept = compared_images(codes)
    own = torch.unique(codes[kept], return_inverse=True)[1]
    folds = class_folds(own, seed)
    if folds is None:
        return FRACTIONS[0], []
    heads = [Head(name="whiten", shrinkage=SHRINKAGE)]
    figures = [
        cross_validated(heads, TrainingFeatures(features_of(fraction, kept), own), folds)[0] for fraction in FRACTIONS
    ]
    if recorded in FRACTIONS:
        chosen = FRACTIONS.index(recorded)
    else:
        chosen = simplest(figures)
        if not figures[0].difference(figures[chosen])[0] > 0:  # also of NaN
            chosen = 0
    return FRACTIONS[chosen], [
        PartResult(central_fraction=fraction, figures=one, difference=one.difference(figures[chosen]))
        for fraction, one in zip(FRACTIONS, figures, strict=True)
    ]


def compared_images(codes: Tensor) -> Tensor:
    """Return the numbers of at most 384 images: of some classes with two images and more, evenly spread.

    Args:
        codes: Class number of each image `[N]`.

    Example:
        >>> compared_images(torch.tensor([0, 1, 0, 2, 2])).tolist()
        [0, 2, 3, 4]
    """
    _, inverse, counts = torch.unique(codes, return_inverse=True, return_counts=True)
    several = torch.nonzero(counts > 1).flatten()
    some = several[torch.linspace(0, len(several) - 1, min(len(several), _MAX_IMAGES // _MIN_OF_CLASS)).long()]
    each = _MAX_IMAGES // max(len(some), 1)
    parts = torch.argsort(inverse, stable=True).split(counts.tolist())
    kept = [parts[k][torch.linspace(0, len(parts[k]) - 1, min(each, len(parts[k]))).long()] for k in some.tolist()]
    return torch.cat(kept).sort().values if kept else torch.zeros(0, dtype=torch.int64)
