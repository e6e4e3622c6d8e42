from __future__ import annotations

import numpy as np
import pytest

from pairsim import evaluation


def test_by_hand() -> None:
    # Precision 1 at the first positive pair, 2/3 at the second.
    assert evaluation.average_precision([0.9, 0.6, 0.4], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # Tied scores share a threshold: precision 2/3 at both positive pairs.
    assert evaluation.average_precision([0.5, 0.5, 0.5], [1, 1, 0]) == pytest.approx(2 / 3)


def test_one_kind_of_pair() -> None:
    assert evaluation.average_precision([0.5, 0.2], [1, 1]) == 1.0
    assert np.isnan(evaluation.average_precision([0.5], [0]))
    assert np.isnan(evaluation.average_precision([], []))
