"""Nets and the similarity model. Knows tensors, never datasets."""

from pairsim.models.calibration import Calibration as Calibration
from pairsim.models.embedding_net import EmbeddingNet as EmbeddingNet
from pairsim.models.embedding_net import unit_length as unit_length
from pairsim.models.similarity_model import SimilarityModel as SimilarityModel
from pairsim.models.verdict import OperatingPoint as OperatingPoint
from pairsim.models.verdict import Verdict as Verdict

__all__ = ["Calibration", "EmbeddingNet", "OperatingPoint", "SimilarityModel", "Verdict", "unit_length"]
