from __future__ import annotations

import numpy as np
import torch

from pairsim.evaluation import Logistic


def test_logistic() -> None:
    probability = Logistic(10.0, -5.0)
    scores = np.linspace(-1, 1, 101)
    np.testing.assert_allclose(probability(scores), torch.sigmoid(torch.from_numpy(10 * scores - 5)), rtol=1e-14)
    assert scores[0] == -1.0
    assert np.isfinite(Logistic(1e6, 0.0)(np.array([-1.0, 1.0]))).all()
