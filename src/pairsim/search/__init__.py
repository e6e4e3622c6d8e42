"""Galleries of embeddings: exact or approximate nearest neighbours, and identification."""

from pairsim.search.gallery import Gallery
from pairsim.search.gallery_results import ClassPrediction, SearchResult
from pairsim.search.identification.calibrating import calibrate_gallery
from pairsim.search.identification.decisions import Identification
from pairsim.search.identification.gallery_calibration import GalleryCalibration, PredictedFpir
from pairsim.search.identification.identification_report import IdentificationReport, evaluate_gallery

__all__ = [
    "ClassPrediction",
    "Gallery",
    "GalleryCalibration",
    "Identification",
    "IdentificationReport",
    "PredictedFpir",
    "SearchResult",
    "calibrate_gallery",
    "evaluate_gallery",
]
