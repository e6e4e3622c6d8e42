"""Check data and models: duplicates, leaks, wrong labels, saliency."""

from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.label_audit import LabelAudit, audit_labels
from pairsim.audits.leak_report import ImageMatch, LeakReport
from pairsim.audits.leak_search import find_leaks
from pairsim.audits.saliency import PairSaliency, similarity_saliency

__all__ = [
    "Duplicate",
    "DuplicateCluster",
    "DuplicateReport",
    "ImageMatch",
    "LabelAudit",
    "LeakReport",
    "PairSaliency",
    "audit_labels",
    "find_duplicates",
    "find_leaks",
    "similarity_saliency",
]
