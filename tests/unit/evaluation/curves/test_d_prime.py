from __future__ import annotations

import numpy as np
import pytest

from pairsim import evaluation


def test_d_prime_by_hand_and_where_nothing_varies() -> None:
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [1, 1, 0, 0]) == 3.0
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [0, 0, 1, 1]) == -3.0
    assert evaluation.d_prime([0.3, 0.1, 0.1, 0.1], [1, 0, 0, 0]) == np.inf
    assert evaluation.d_prime([0.1, 0.1, 0.1, 0.3], [1, 1, 1, 0]) == -np.inf
    assert evaluation.d_prime([4e300, 2e300, 1e300, -1e300], [1, 1, 0, 0]) == pytest.approx(3.0)
    for scores, targets in (([0.1] * 4, [1, 1, 0, 0]), ([0.0] * 2, [1, 0]), ([0.1], [1]), ([0.1], [0]), ([], [])):
        assert np.isnan(evaluation.d_prime(scores, targets))
    assert np.isnan(evaluation.d_prime([np.inf, 1.0, 0.0], [1, 1, 0]))
