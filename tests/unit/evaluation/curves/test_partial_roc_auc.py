from __future__ import annotations

import numpy as np
import pytest

from pairsim import evaluation


def test_partial_area_by_hand() -> None:
    scores, targets = [0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]
    # TMR is 1/2 up to FMR 1/2: the area is 1/4, of 1/8 (diagonal) to 1/2 (no error).
    assert evaluation.partial_roc_auc(scores, targets, 0.5) == pytest.approx(0.5 * (1 + (1 / 4 - 1 / 8) / (3 / 8)))
    assert evaluation.partial_roc_auc(scores, targets, 1.0) == evaluation.roc_auc(scores, targets)
    assert evaluation.partial_roc_auc([0.5] * 4, targets, 0.01) == pytest.approx(0.5, abs=1e-15)
    assert evaluation.partial_roc_auc([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.01) == 1.0
    assert evaluation.partial_roc_auc([np.inf, -np.inf], [1, 0], 0.5) == 1.0


def test_partial_area_of_one_class_and_its_messages() -> None:
    assert np.isnan([evaluation.partial_roc_auc([0.1], [mark], 0.1) for mark in (0, 1)]).all()
    with pytest.raises(ValueError, match=r"Expected max_fmr above 0, got 0.0: there is no area there"):
        evaluation.partial_roc_auc([0.1], [1], 0.0)
    with pytest.raises(ValueError, match=r"Expected max_fmr to be a rate from 0 to 1, got 1.5"):
        evaluation.partial_roc_auc([0.1], [1], 1.5)
