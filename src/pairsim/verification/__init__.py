"""Evaluate, compare and calibrate models; verdicts on lists of pairs."""

from pairsim.verification.model_calibration import calibrate
from pairsim.verification.model_comparison import ModelComparison, compare_models
from pairsim.verification.model_evaluation import evaluate
from pairsim.verification.pair_verdicts import PairVerdicts, verify_pairs
from pairsim.verification.verification_report import VerificationReport

__all__ = [
    "ModelComparison",
    "PairVerdicts",
    "VerificationReport",
    "calibrate",
    "compare_models",
    "evaluate",
    "verify_pairs",
]
