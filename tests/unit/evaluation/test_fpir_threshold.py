from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from identities import MODEL, filled, rows

from pairsim import Gallery
from pairsim.evaluation.fpir_threshold import fpir_threshold
from pairsim.evaluation.identification import Searches
from pairsim.search.identification.outcomes import leave_one_out

Scores = npt.NDArray[np.float64]


def unknown(others: Scores, queried: npt.NDArray[np.int64]) -> Searches:
    """Searches for identities that are not in a gallery."""
    size = others.size
    return Searches(np.full(size, np.nan), others, np.zeros(size, int), np.ones(size, bool), queried, queried, 50)


def cross_validated(similarities: Scores, queried: npt.NDArray[np.int64], share: float) -> float:
    """The FPIR where a share of the searches of others may reach the threshold: each identity left out in turn.

    Args:
        similarities: Of searches to all identities `[Q, I]`.
        queried: Of each search `[Q]`.
        share: The share.
    """
    errors = 0
    for identity in np.unique(queried):
        rest = queried != identity
        without = similarities[rest].copy()
        without[:, identity] = -np.inf
        without[np.arange(rest.sum()), queried[rest]] = -np.inf
        highest = without.max(axis=1)
        own = similarities[~rest].copy()
        own[:, identity] = -np.inf
        errors += sum(int((highest >= score).sum()) <= share * highest.size for score in own.max(axis=1))
    return errors / queried.size


@pytest.mark.parametrize("target", [0.1, 0.2, 0.35])
def test_the_rate_is_that_of_identities_left_out(target: float) -> None:
    gallery = filled(24, 4, seed=3)
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    chosen = fpir_threshold(searches, target)
    templates, _ = gallery.templates()
    similarities = (gallery.rows @ templates.T).double().numpy()
    found = int((searches.others >= chosen.threshold).sum())
    below, above = (cross_validated(similarities, searches.queried, (found + one) / 96) for one in (-5, 5))
    assert below <= target <= above
    assert chosen.fpir == pytest.approx(target)
    assert searches.fpir(chosen.threshold) < target  # on the identities that chose it, fewer
    low, high = chosen.interval
    assert 0 < low < target < high < 1


def test_searches_for_others_count_themselves_out() -> None:
    # identities 0 to 19 with two searches each, the second a little lower: 2 of 20 identities reach the threshold
    others = np.repeat(np.arange(20.0), 2) / 20 + np.tile([0.01, 0.0], 20)
    chosen = fpir_threshold(unknown(others, np.repeat(np.arange(20), 2)), 0.1)
    # the searches of identity 18 have those of 19 above them, 2 of 38
    assert chosen.fpir == pytest.approx(0.1)
    assert 0.9 <= chosen.threshold <= 0.95
    assert (others >= chosen.threshold).sum() <= 4


def test_above_all_where_one_identity_is_too_many() -> None:
    others = np.arange(10.0) / 20
    chosen = fpir_threshold(unknown(np.repeat(others, 3), np.repeat(np.arange(10), 3)), 0.05)
    assert chosen.fpir == 0.05
    # half as often as the highest of 10: the mean excess over the median times log 2
    assert chosen.threshold == pytest.approx(0.45 + np.mean(others[5:] - 0.225) * np.log(2))
    assert chosen.interval == pytest.approx((0.0, 1 - 0.025**0.1))


def test_of_similarities_that_tie_none_is_found() -> None:
    others = np.concatenate((np.full(30, 0.5), np.arange(30.0) / 100))
    chosen = fpir_threshold(unknown(others, np.arange(60)), 0.2)
    assert chosen.threshold > 0.5
    assert (others >= chosen.threshold).sum() == 0
    # just above them where a lower threshold would find all
    some = np.concatenate((np.linspace(0.51, 0.52, 6), np.full(27, 0.5), np.arange(33.0) / 100))
    chosen = fpir_threshold(unknown(some, np.tile(np.arange(33), 2)), 0.2)
    assert 0.51 < chosen.threshold < 0.511
    assert chosen.fpir == pytest.approx(6 / 66)


@pytest.mark.slow
@pytest.mark.parametrize(("num_identities", "images"), [(10, 5), (20, 5), (50, 3), (100, 2)])
def test_unknown_identities_are_found_no_more_often_than_stated(num_identities: int, images: int) -> None:
    found = []
    for seed in range(150):
        everybody = rows(num_identities + 400, images, seed=seed, noise=0.12)
        enrolled, others = everybody[: num_identities * images], everybody[num_identities * images :]
        gallery = Gallery(MODEL)
        gallery.add_embeddings(enrolled, identities=torch.arange(num_identities).repeat_interleave(images).tolist())
        searches, _ = leave_one_out(gallery, max_searches=10**6)
        # one identity more than in the searches
        threshold = fpir_threshold(searches, 0.1 * (num_identities - 1) / num_identities).threshold
        templates, _ = gallery.templates()
        found.append(float(((others @ templates.T).amax(dim=1) >= threshold).double().mean()))
    error = np.std(found) / np.sqrt(len(found))
    assert 0.06 < np.mean(found) < 0.1 + 2.5 * error


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.12, 0.25])
def test_intervals_hold_the_rate_of_unknown_identities(noise: float) -> None:
    """With many of them; a few have an error of their own, which the interval is not for."""
    held: dict[int, list[bool]] = {20: [], 600: []}
    for seed in range(200):
        everybody = rows(21 + 600, 5, seed=seed, noise=noise)
        gallery = Gallery(MODEL)
        gallery.add_embeddings(everybody[: 21 * 5], identities=torch.arange(21).repeat_interleave(5).tolist())
        searches, _ = leave_one_out(gallery, max_searches=10**6)
        chosen = fpir_threshold(searches, 0.1 * 20 / 21)
        low, high = (end * 21 / 20 for end in chosen.interval)  # one identity more than in the searches
        similarities = (everybody[21 * 5 :] @ gallery.templates()[0].T).amax(dim=1)
        for unknown, found in held.items():
            rate = float((similarities[: unknown * 5] >= chosen.threshold).double().mean())
            found.append(low <= rate <= high)
    assert 0.91 <= np.mean(held[600]) <= 0.99
    assert np.mean(held[20]) < np.mean(held[600])
