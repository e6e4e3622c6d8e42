"""What the service answers; the OpenAPI schema is made from it."""

from __future__ import annotations

from dataclasses import dataclass

from pairsim.images import Flaw


@dataclass(frozen=True)
class Compared:
    """The decision on two pictures, as `pairsim compare` gives it."""

    match: bool
    similarity: float
    probability: float
    threshold: float | None
    fmr: float | None


@dataclass(frozen=True)
class Encoded:
    """The embedding of each picture, of unit length."""

    embeddings: list[list[float]]


@dataclass(frozen=True)
class Identified:
    """Whom or what a picture shows; `id` is null for none of these, `fpir` where it is not known."""

    id: str | int | None
    similarity: float
    probability: float
    fpir: float | None


@dataclass(frozen=True)
class Identifications:
    """One for each picture, in order."""

    results: list[Identified]


@dataclass(frozen=True)
class PoorQuality:
    """A picture of poor quality, and why; it is enrolled all the same."""

    id: str
    reasons: list[Flaw]


@dataclass(frozen=True)
class Enrolled:
    """The ids that were enrolled, the pictures that the gallery has now, and which of those enrolled are poor."""

    ids: list[str]
    num_images: int
    quality: list[PoorQuality]


@dataclass(frozen=True)
class Changed:
    """The ids of the pictures that were removed, and the pictures that the gallery has now."""

    ids: list[str]
    num_images: int


@dataclass(frozen=True)
class Health:
    """That the service runs."""

    status: str


@dataclass(frozen=True)
class Problem:
    """What was expected, what was found, and what to do."""

    detail: str
