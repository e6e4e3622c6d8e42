from __future__ import annotations

import numpy as np
import pytest

from pairsim.evaluation import PairCounts, PairScores, roc_auc
from pairsim.evaluation.uncertainty.auc_influence import GRID, AucInfluence


@pytest.mark.parametrize("form", [PairScores, PairCounts])
def test_influence_is_how_far_each_pair_is_from_the_area(form: type[PairScores | PairCounts]) -> None:
    generator = np.random.default_rng(0)
    targets = generator.random(300) < 0.3
    # On a grid of its own, so that the table rounds no score to another cell.
    scores = np.concatenate([[0.0, 1.0], generator.integers(0, 17, 298) / 16])
    influence = AucInfluence(form.from_scores(scores, targets))
    positive, negative = scores[targets], scores[~targets]
    below = (negative < positive[:, None]).mean(axis=1) + (negative == positive[:, None]).mean(axis=1) / 2
    above = (positive > negative[:, None]).mean(axis=1) + (positive == negative[:, None]).mean(axis=1) / 2
    area = roc_auc(scores, targets)
    psi = ((below - area) / positive.size, (above - area) / negative.size)
    cells = [influence.cells(kind.astype(np.float32)) for kind in (positive, negative)]
    np.testing.assert_allclose(influence.positive[cells[0]], psi[0], atol=1e-12)
    np.testing.assert_allclose(influence.negative[cells[1]], psi[1], atol=1e-12)
    assert influence.positive[cells[0]].sum() == pytest.approx(0, abs=1e-12)
    assert influence.square_sum() == pytest.approx(sum(np.square(part).sum() for part in psi))


def test_scores_outside_of_the_range_are_in_the_cells_at_the_ends() -> None:
    influence = AucInfluence(PairScores.from_scores([0.0, 1.0], [0, 1]))
    assert influence.cells(np.array([-1e-6, 0.0, 1.0, 1.0001], dtype=np.float32)).tolist() == [0, 0, GRID - 1, GRID - 1]


def test_one_score_and_no_scores() -> None:
    assert AucInfluence(PairScores.from_scores([0.5, 0.5], [0, 1])).square_sum() == 0.0
    assert AucInfluence(PairScores.from_scores([], [])).square_sum() == 0.0
