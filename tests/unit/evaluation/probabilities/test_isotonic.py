from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from pairsim.evaluation import PairScores, fit_isotonic


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60).filter(
        lambda pairs: 0 < sum(target for _, target in pairs) < len(pairs)
    )
)
def test_isotonic_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    targets = np.array([target for _, target in pairs], dtype=np.float64)
    fitted = fit_isotonic(PairScores.from_scores(scores, targets))
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, targets).predict(scores)
    inside = (oracle > 0) & (oracle < 1)
    found = fitted(scores)
    np.testing.assert_allclose(found[inside], oracle[inside], rtol=0, atol=1e-12)
    # the ends stay inside, and on the same side of everything else
    assert ((found > 0) & (found < 1)).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found[order]) >= -1e-12).all()


def test_isotonic_ends_say_how_many_pairs_they_saw() -> None:
    found = fit_isotonic(PairScores.from_scores([0.1] * 9 + [0.9] * 4, [0] * 9 + [1] * 4))
    np.testing.assert_allclose(found(np.array([-1.0, 0.1, 0.9, 2.0])), [1 / 20, 1 / 20, 9 / 10, 9 / 10])
