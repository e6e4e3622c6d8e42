from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from identities import filled, rows

from pairsim.search import gallery as gallery_module
from pairsim.search.identification.outcomes import leave_one_out, mated_and_non_mated, outcomes
from pairsim.search.identification.templates import Templates


def test_leave_one_out_against_loops() -> None:
    gallery = filled(7, 3)
    searches, counts = leave_one_out(gallery, max_searches=10**6)
    vectors = gallery.embeddings.astype(np.float64)
    shown = gallery.identities
    for row, (query, name) in enumerate(zip(vectors, shown, strict=True)):
        scores = {}
        for identity in dict.fromkeys(shown):
            of = [vectors[k] for k in range(len(shown)) if shown[k] == identity and k != row]
            mean = np.mean(of, axis=0)
            scores[identity] = float(query @ mean / np.linalg.norm(mean))
        own = scores.pop(name)
        assert searches.own[row] == pytest.approx(own, abs=1e-6)
        assert searches.others[row] == pytest.approx(max(scores.values()), abs=1e-6)
        assert searches.ranks[row] == 1 + sum(score >= own for score in scores.values())
        nearest, following = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
        assert searches.nearest is not None
        assert searches.next_others is not None
        assert gallery.templates()[1][int(searches.nearest[row])] == nearest
        assert searches.next_others[row] == pytest.approx(scores[following], abs=1e-6)
    assert counts.sum() == 21 * 6
    assert searches.num_enrolled == 7


def test_means_of_identities_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Templates] = []

    def counted(*rows: Any) -> Templates:
        made.append(Templates(*rows))
        return made[-1]

    monkeypatch.setattr(gallery_module, "Templates", counted)
    gallery = filled(7, 3)
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    outcomes(gallery, gallery.rows, gallery.identities)
    assert (len(made), searches.num_mated) == (1, 21)


def test_images_of_known_identities() -> None:
    gallery = filled(15, 4)
    queries = torch.cat((rows(15, 2, seed=0), rows(30, 2, seed=5)))
    shown = [f"p{number}" for number in range(15) for _ in range(2)] + [f"x{number // 2}" for number in range(60)]
    found, counts = outcomes(gallery, queries, shown)
    assert (found.num_mated, found.num_non_mated, counts.sum()) == (30, 60, 60 * 15)
    templates, names = gallery.templates()
    similarities = (queries.double() @ templates.double().T).numpy()
    for row, name in enumerate(shown):
        scores = dict(zip(names, similarities[row].tolist(), strict=True))
        own = scores.pop(name, math.nan)
        assert found.own[row] == pytest.approx(own, abs=1e-6, nan_ok=True)
        assert found.others[row] == pytest.approx(max(scores.values()), abs=1e-6)
        rank = 0 if math.isnan(own) else 1 + sum(score >= own for score in scores.values())
        assert found.ranks[row] == rank
    assert np.unique(found.queried).size == 45


def test_non_mated_searches_of_other_images() -> None:
    gallery = filled(15, 4)
    own, _ = leave_one_out(gallery, max_searches=10**6)
    others, _ = outcomes(gallery, rows(30, 2, seed=5), [f"x{number // 2}" for number in range(60)])
    both = mated_and_non_mated(own, others)
    assert (both.num_mated, both.num_non_mated) == (60, 60)
    np.testing.assert_array_equal(both.own[both.mated], own.own)
    np.testing.assert_array_equal(both.others[both.non_mated], others.others)
    assert np.unique(both.queried).size == 45
