"""Learn how alike two images are, from pairs of labelled images: similarity, probability, decision."""

from typing import TYPE_CHECKING

from pairsim._common import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pairsim.audits import Duplicate as Duplicate
    from pairsim.audits import DuplicateCluster as DuplicateCluster
    from pairsim.audits import DuplicateReport as DuplicateReport
    from pairsim.audits import LabelAudit as LabelAudit
    from pairsim.audits import LeakReport as LeakReport
    from pairsim.audits import PairSaliency as PairSaliency
    from pairsim.audits import audit_labels as audit_labels
    from pairsim.audits import find_duplicates as find_duplicates
    from pairsim.audits import find_leaks as find_leaks
    from pairsim.audits import similarity_saliency as similarity_saliency
    from pairsim.data import PairDataset as PairDataset
    from pairsim.encoding import EncodedPictures as EncodedPictures
    from pairsim.encoding import Skipped as Skipped
    from pairsim.encoding import encode_dataset as encode_dataset
    from pairsim.encoding import encode_pictures as encode_pictures
    from pairsim.models import Calibration as Calibration
    from pairsim.models import EmbeddingNet as EmbeddingNet
    from pairsim.models import SimilarityModel as SimilarityModel
    from pairsim.models import Verdict as Verdict
    from pairsim.search import ClassPrediction as ClassPrediction
    from pairsim.search import Gallery as Gallery
    from pairsim.search import GalleryCalibration as GalleryCalibration
    from pairsim.search import Identification as Identification
    from pairsim.search import IdentificationReport as IdentificationReport
    from pairsim.search import SearchResult as SearchResult
    from pairsim.search import calibrate_gallery as calibrate_gallery
    from pairsim.search import evaluate_gallery as evaluate_gallery
    from pairsim.training import Adaptation as Adaptation
    from pairsim.training import Callback as Callback
    from pairsim.training import History as History
    from pairsim.training import TrainConfig as TrainConfig
    from pairsim.training import Trainer as Trainer
    from pairsim.training import adapt as adapt
    from pairsim.verification import ModelComparison as ModelComparison
    from pairsim.verification import PairVerdicts as PairVerdicts
    from pairsim.verification import VerificationReport as VerificationReport
    from pairsim.verification import calibrate as calibrate
    from pairsim.verification import compare_models as compare_models
    from pairsim.verification import evaluate as evaluate
    from pairsim.verification import verify_pairs as verify_pairs
else:
    __all__, __dir__, __getattr__ = lazy.exports(__name__)
