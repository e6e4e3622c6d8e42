"""Evaluate, compare and calibrate models; verdicts on lists of pairs."""

from pairsim.verification.model_calibration import calibrate as calibrate
from pairsim.verification.model_comparison import ModelComparison as ModelComparison
from pairsim.verification.model_comparison import compare_models as compare_models
from pairsim.verification.model_evaluation import evaluate as evaluate
from pairsim.verification.pair_verdicts import PairVerdicts as PairVerdicts
from pairsim.verification.pair_verdicts import verify_pairs as verify_pairs
from pairsim.verification.verification_report import VerificationReport as VerificationReport

__all__ = [
    "ModelComparison",
    "PairVerdicts",
    "VerificationReport",
    "calibrate",
    "compare_models",
    "evaluate",
    "verify_pairs",
]
