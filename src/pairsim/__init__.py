"""Learn how alike two images are, from pairs of labelled images: similarity, probability, decision."""

from pairsim.data import PairDataset as PairDataset
from pairsim.encoding import encode_dataset as encode_dataset
from pairsim.models import EmbeddingNet as EmbeddingNet
from pairsim.models import SimilarityModel as SimilarityModel
from pairsim.models import Verdict as Verdict
from pairsim.training import Callback as Callback
from pairsim.training import History as History
from pairsim.training import TrainConfig as TrainConfig
from pairsim.training import Trainer as Trainer
from pairsim.verification import VerificationReport as VerificationReport
from pairsim.verification import evaluate as evaluate

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "EmbeddingNet",
    "History",
    "PairDataset",
    "SimilarityModel",
    "TrainConfig",
    "Trainer",
    "Verdict",
    "VerificationReport",
    "encode_dataset",
    "evaluate",
]
