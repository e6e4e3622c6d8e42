"""Check data and models: duplicates, leaks, wrong labels, saliency."""

from pairsim.audits.duplicate_report import Duplicate as Duplicate
from pairsim.audits.duplicate_report import DuplicateCluster as DuplicateCluster
from pairsim.audits.duplicate_report import DuplicateReport as DuplicateReport
from pairsim.audits.duplicate_search import find_duplicates as find_duplicates
from pairsim.audits.label_audit import LabelAudit as LabelAudit
from pairsim.audits.label_audit import audit_labels as audit_labels
from pairsim.audits.leak_report import ImageMatch as ImageMatch
from pairsim.audits.leak_report import LeakReport as LeakReport
from pairsim.audits.leak_search import find_leaks as find_leaks
from pairsim.audits.saliency import PairSaliency as PairSaliency
from pairsim.audits.saliency import similarity_saliency as similarity_saliency

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
