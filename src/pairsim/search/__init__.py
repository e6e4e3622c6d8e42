"""Galleries of embeddings and exact or approximate nearest-neighbour search."""

from pairsim.search.gallery import Gallery
from pairsim.search.gallery_results import ClassPrediction, SearchResult

__all__ = [
    "ClassPrediction",
    "Gallery",
    "SearchResult",
]
