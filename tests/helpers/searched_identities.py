"""Reports on made searches, of identities of whom some are enrolled."""

from __future__ import annotations

import dataclasses

import numpy as np

from pairsim import IdentificationReport
from pairsim.evaluation import Searches
from pairsim.search.identification.identification_report import identification_report
from pairsim.search.identification.search_conditions import POLICY, ImagesEach, SearchConditions


def search_report(
    *,
    num_enrolled: int = 21,
    num_mated: int = 336,
    num_non_mated: int = 405,
    threshold: float = 0.62,
    gap: float = 0.25,
    confused: bool = True,
    seed: int = 0,
) -> IdentificationReport:
    """A report on searches whose similarities are normal; without confusion the right identity is always first."""
    rng = np.random.default_rng(seed)
    own, others = rng.normal(0.7, 0.12, num_mated), rng.normal(0.7 - gap, 0.12, num_non_mated)
    nearest = rng.normal(0.45, 0.1, num_mated) if confused else np.full(num_mated, -1.0)
    queried = np.concatenate((np.arange(num_mated) % num_enrolled, num_enrolled + np.arange(num_non_mated) % 20))
    ranks = 1 + (nearest > own) * rng.integers(1, 8, num_mated)
    searches = Searches(
        own=np.concatenate((own, np.full(num_non_mated, np.nan))),
        others=np.concatenate((nearest, others)),
        ranks=np.concatenate((ranks, np.zeros(num_non_mated, np.int64))),
        non_mated=np.arange(num_mated + num_non_mated) >= num_mated,
        queried=queried,
        groups=queried,
        num_enrolled=num_enrolled,
    )
    return identification_report(searches, threshold)


def with_conditions(*, threshold: float, num_mated: int = 336, num_non_mated: int = 405) -> IdentificationReport:
    """A report that says how its searches were made, with failures."""
    report = search_report(threshold=threshold, num_mated=num_mated, num_non_mated=num_non_mated)
    each = ImagesEach(num_identities=21, num_images=105, min=3, median=5.0, max=8)
    conditions = SearchConditions(
        policy=POLICY,
        threshold_origin="chosen for an FPIR of at most 0.1 with 21 identities enrolled, by 105 searches for 21 others",
        enrolled=each,
        known=each,
        unknown=each,
        num_failed_to_enrol=2,
        failure_to_enrol=2 / 107,
        num_failed_to_acquire=3,
        failure_to_acquire=3 / 744,
        generalized_fpir=0.06,
        generalized_fnir=0.27,
    )
    return dataclasses.replace(report, conditions=conditions)
