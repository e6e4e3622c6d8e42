"""Galleries of embeddings and exact or approximate nearest-neighbour search."""

from pairsim.search.gallery import Gallery as Gallery
from pairsim.search.gallery import SearchResult as SearchResult
from pairsim.search.gallery_results import ClassPrediction as ClassPrediction

__all__ = [
    "ClassPrediction",
    "Gallery",
    "SearchResult",
]
