"""`Identification`: who an image shows, of those enrolled, or none of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairsim._common.unit_similarity import lowest_match
from pairsim.models import SimilarityModel
from pairsim.search.gallery_ids import Id
from pairsim.search.identification.gallery_calibration import GalleryCalibration

_PRIOR = 0.5
"""Share of searches for enrolled identities that is assumed where none is stated."""


@dataclass(frozen=True)
class Identification:
    """The answer to a search for the identity of an image.

    Attributes:
        id: The identity, or `None`: none of these.
        similarity: Similarity to the nearest identity, in [-1, 1].
        probability: That the image shows the nearest identity, and neither another one nor somebody unknown, in
            [0, 1]. From the gallery's calibration if it has one that says so, else from the model's evidence about
            pairs, for as many searches for enrolled as for unknown identities.
        fpir: Share of searches for unknown identities that would find somebody in this gallery at this threshold, or
            `None` if it is not known, such as for identities that replaced those of the calibration.
        nearest: The most similar identity.
    """

    id: Id | None
    similarity: float
    probability: float
    fpir: float | None
    nearest: Id

    def __str__(self) -> str:
        rate = "" if self.fpir is None else f"; {self.fpir:.2%} of unknown ones are assigned an identity"
        who = str(self.id) if self.id is not None else f"none of these (nearest: {self.nearest})"
        return f"{who}: similarity {self.similarity:.4f}, probability {self.probability:.4f}{rate}"


def identifications(
    nearest: Sequence[Id],
    similarities: Tensor,
    *,
    threshold: float,
    calibration: GalleryCalibration | None,
    model: SimilarityModel,
    num_identities: int,
) -> list[Identification]:
    """Decide searches.

    Args:
        nearest: The most similar identity of each query `[Q]`.
        similarities: Their similarity `[Q]`, float32.
        threshold: Similarity that an identity has to reach.
        calibration: That of the gallery; its rates hold at its own threshold only.
        model: Whose evidence about pairs gives probabilities where the calibration gives none.
        num_identities: Identities in the gallery, at least 1.
    """
    fpir = None
    if calibration is not None and calibration.threshold == threshold:
        predicted = None if calibration.is_replaced(num_identities) else calibration.fpir_at(num_identities)
        fpir = None if predicted is None else predicted.fpir
    floor = lowest_match(threshold)
    if calibration is not None and calibration.weight is not None:
        probabilities = calibration.probability(similarities, num_identities)
    else:
        probabilities = probability_of_nearest(model, similarities, num_identities)
    return [
        Identification(name if similarity >= floor else None, similarity, probability, fpir, name)
        for name, similarity, probability in zip(nearest, similarities.tolist(), probabilities.tolist(), strict=True)
    ]


def probability_of_nearest(model: SimilarityModel, similarities: Tensor, num_identities: int) -> Tensor:
    """Compute the probability of the nearest of G identities by Bayes' rule from the model's evidence about pairs.

    Each identity is as likely as any other, and somebody unknown as likely as all of them together. With the
    likelihood ratio L of the nearest one, and 1 of each other one, as it is in the mean for different identities,
    P = pi L / (pi (L + G - 1) + (1 - pi) G), pi = 1/2.

    Args:
        model: The model; without a calibration its projection gives the evidence.
        similarities: Of any shape.
        num_identities: G.

    Returns:
        Of the same shape.
    """
    with torch.no_grad():
        calibration = model.calibration
        evidence = model.logits(similarities) if calibration is None else calibration.log_likelihood_ratio(similarities)
    others = math.log((_PRIOR * (num_identities - 1) + (1 - _PRIOR) * num_identities) / _PRIOR)
    return torch.sigmoid(evidence.double() - others).to(similarities.dtype)
