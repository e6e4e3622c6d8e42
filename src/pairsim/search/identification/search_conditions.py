"""How the searches of a report were made: decision policy, origin of the threshold, images, and failures."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from pairsim.search.identification.gallery_calibration import GalleryCalibration

POLICY = (
    "an image is compared with the mean embedding of each enrolled identity; the most similar one is its identity if "
    "similarity >= threshold, else it has no identity"
)


@dataclass(frozen=True, kw_only=True)
class ImagesEach:
    """How many images some identities have.

    Attributes:
        num_identities: Number of identities.
        num_images: Images of all of them.
        min: Images of the identity with the fewest; 0 without identities, as are the others.
        median: Median over identities.
        max: Images of the identity with the most.
    """

    num_identities: int
    num_images: int
    min: int
    median: float
    max: int

    @classmethod
    def of(cls, identities: Iterable[Hashable]) -> ImagesEach:
        """Count the images of each identity.

        Args:
            identities: What each image shows.
        """
        sizes = list(Counter(identities).values()) or [0]
        found = len(sizes) if sizes != [0] else 0
        return cls(
            num_identities=found, num_images=sum(sizes), min=min(sizes), median=float(np.median(sizes)), max=max(sizes)
        )


@dataclass(frozen=True, kw_only=True)
class SearchConditions:
    """How searches were made, as ISO/IEC 19795-1 asks a report to state.

    Attributes:
        policy: What is compared, and when an image is of an identity, in a line.
        threshold_origin: Where the threshold comes from, in words.
        enrolled: Images of the identities in the gallery.
        known: Images that were searched for enrolled identities.
        unknown: Images that were searched for others.
        num_failed_to_enrol: Pictures that were to be enrolled, could not be read or were refused, and were not since.
        failure_to_enrol: Their share of all pictures that were to be enrolled.
        num_failed_to_acquire: Pictures that could not be read and were not searched.
        failure_to_acquire: Their share of all pictures that were to be searched.
        generalized_fpir: FPIR of all searches, with those of such pictures, which find nobody.
        generalized_fnir: FNIR likewise.
    """

    policy: str
    threshold_origin: str
    enrolled: ImagesEach
    known: ImagesEach
    unknown: ImagesEach
    num_failed_to_enrol: int = 0
    failure_to_enrol: float = 0.0
    num_failed_to_acquire: int = 0
    failure_to_acquire: float = 0.0
    generalized_fpir: float = math.nan
    generalized_fnir: float = math.nan


def origin_in_words(threshold: float | None, calibration: GalleryCalibration | None) -> str:
    """Say where the threshold of a report comes from.

    Args:
        threshold: The one that was given, if any.
        calibration: That of the gallery, if any.
    """
    if threshold is not None:
        return "given"
    if calibration is None:
        return "none: the gallery has no threshold"
    source = calibration.source
    if os.path.isabs(source):  # folders of this machine are nobody's business
        source = os.path.basename(os.path.normpath(source))
    return (
        f"chosen for an FPIR of at most {calibration.target_fpir:g} with {calibration.num_identities:,} identities "
        f"enrolled, by {calibration.num_searches:,} searches for {calibration.num_unknown:,} others "
        f"({source})"
    )
