from __future__ import annotations

import pytest

from pairsim.evaluation import PairCounts, PairFigures, PairScores


@pytest.mark.parametrize("form", [PairScores, PairCounts])
def test_numbers_of_pairs(form: type[PairScores | PairCounts]) -> None:
    pairs: PairFigures = form.from_scores([0.5, 0.5, 0.1, -0.25, 0.0], [1, 1, 0, 0, 0])
    assert (pairs.num_positive, pairs.num_negative, pairs.num_pairs) == (2, 3, 5)


def test_it_has_no_scores_of_its_own() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PairFigures()  # type: ignore[abstract]
