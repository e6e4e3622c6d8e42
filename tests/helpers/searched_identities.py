"""Reports on made searches, of identities of whom some are enrolled."""

from __future__ import annotations

import numpy as np

from pairsim import IdentificationReport
from pairsim.evaluation import Searches
from pairsim.search.identification.identification_report import identification_report


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
