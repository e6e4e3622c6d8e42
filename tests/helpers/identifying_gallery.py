"""A gallery that identifies, whether or not `Gallery` of this version does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pairsim import Gallery


@dataclass(frozen=True)
class Found:
    """What `Gallery.identify_embeddings` returns for an image."""

    id: str | int | None
    similarity: float
    probability: float
    fpir: float | None


class NearestGallery(Gallery):
    """Takes the nearest image where it reaches the threshold."""

    def identify_embeddings(self, embeddings: Any, threshold: float | None = None) -> list[Any]:
        """Identify each image."""
        if threshold is None:
            raise ValueError("Expected a threshold or a gallery with a calibration, got neither.")
        found = self.search_embeddings(embeddings, 1)
        rows = zip(found.ids, found.similarities[:, 0].tolist(), found.probabilities[:, 0].tolist(), strict=True)
        return [Found(ids[0] if one >= threshold else None, one, chance, None) for ids, one, chance in rows]
