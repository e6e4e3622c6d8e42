"""Wilson's interval of a share."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Float64Array


def wilson_interval(hits: npt.ArrayLike, totals: npt.ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Compute Wilson's 95 % interval of each share.

    Args:
        hits: Number of hits, of any shape.
        totals: Number of trials, of the same shape.

    Returns:
        The lower and the upper ends; from 0 to 1 without a trial.

    Example:
        >>> low, high = wilson_interval(8, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.49, 0.943)

    References:
        E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the American
        Statistical Association 22, 1927.
    """
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    z2 = NormalDist().inv_cdf(0.975) ** 2
    center = (k + z2 / 2) / (n + z2)
    margin = np.sqrt(z2 * (k * (n - k) / np.maximum(n, 1) + z2 / 4)) / (n + z2)
    # Without a hit and with hits only, the ends are 0 and 1, up to rounding.
    return np.where(k > 0, np.maximum(center - margin, 0.0), 0.0), np.where(
        k < n, np.minimum(center + margin, 1.0), 1.0
    )
