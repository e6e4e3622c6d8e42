from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from identities import DIM, MODEL, filled, rows
from small_models import small_model

from pairsim import Calibration, Gallery, calibrate_gallery
from pairsim._common.unit_similarity import lowest_match
from pairsim.data import ImageTensors
from pairsim.errors import DataError
from pairsim.search.identification.calibrating import gallery_calibration, with_probabilities
from pairsim.search.identification.outcomes import leave_one_out


def test_images_that_are_alone_are_searched_as_unknown_only() -> None:
    gallery = filled(12, 1)
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    assert (searches.num_mated, searches.num_non_mated) == (0, 12)
    calibration = gallery_calibration(searches, _, 0.3)
    assert (calibration.fnir, calibration.weight) == (None, None)
    some, _ = leave_one_out(gallery, max_searches=5)
    assert len(some) == 5


@pytest.mark.parametrize("target", [0.05, 0.2])
def test_stored_threshold_has_the_rate(target: float) -> None:
    gallery = filled(40, 4)
    calibration = calibrate_gallery(gallery, target_fpir=target)
    assert gallery.calibration == calibration
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    measured = searches.fpir(lowest_match(calibration.threshold))
    assert measured <= target
    assert calibration.fpir == pytest.approx(target)
    assert calibration.fpir <= target
    low, high = calibration.fpir_interval
    assert 0 < low < calibration.fpir < high < 1
    assert calibration.fnir == searches.fnir(lowest_match(calibration.threshold))
    sizes = [entry.num_identities for entry in calibration.predictions]
    assert (sizes[0], sizes[-1]) == (40, 800)
    assert [entry.fpir for entry in calibration.predictions] == sorted(entry.fpir for entry in calibration.predictions)


def test_unknown_identities_are_not_named_like_enrolled_ones() -> None:
    gallery, images = Gallery(MODEL), torch.randint(0, 256, (40, 8, 8), dtype=torch.uint8)
    gallery.add(images[:20, None], identities=[f"p{number // 2}" for number in range(20)])
    for first, said in ((9, "found p9 in"), (8, "found p8 and 1 more in")):
        unknown = ImageTensors(images[20:], [f"p{first + number % 10}" for number in range(20)])
        with pytest.raises(DataError, match=f"Expected unknown identities, none of which is enrolled, {said} the gall"):
            calibrate_gallery(gallery, target_fpir=0.2, unknown=unknown)
    assert gallery.calibration is None


@pytest.mark.parametrize(("enrolled", "label"), [(int, str), (str, int)])
def test_unknown_identities_are_compared_as_text(enrolled: Callable[[int], Any], label: Callable[[int], Any]) -> None:
    gallery, images = Gallery(MODEL), torch.randint(0, 256, (40, 8, 8), dtype=torch.uint8)
    gallery.add(images[:20, None], identities=[enrolled(number // 2) for number in range(20)])
    unknown = ImageTensors(images[20:], [label(8 + number % 10) for number in range(20)])
    with pytest.raises(DataError, match="none of which is enrolled, found 8 and 1 more in the gallery"):
        calibrate_gallery(gallery, target_fpir=0.2, unknown=unknown)
    assert gallery.calibration is None


def test_unknown_images_as_a_dataset() -> None:
    gallery = Gallery(MODEL)
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8, generator=generator)
    gallery.add(images[:30, None], identities=[number // 2 for number in range(30)])
    calibration = calibrate_gallery(
        gallery, target_fpir=0.2, unknown=ImageTensors(images[30:], list(range(15)) * 2), source="others"
    )
    assert (calibration.num_searches, calibration.num_unknown, calibration.source) == (30, 15, "others")
    found = gallery.identify(images[30:, None])
    assert sum(one.id is not None for one in found) <= 6


def test_probability_is_that_of_the_right_identity() -> None:
    gallery = filled(60, 5)
    calibration = calibrate_gallery(gallery, target_fpir=0.1, prior=0.3)
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    right = searches.own[searches.ranks == 1]
    probability = calibration.probability(torch.tensor(np.concatenate((right, searches.others))), 60).numpy()
    targets = np.repeat([1.0, 0.0], [right.size, len(searches)])
    # a logistic fit is right in the mean
    share = 0.3 * right.size / searches.num_mated
    scale = np.repeat([share, 1 - share], [right.size, len(searches)]) / np.repeat(
        [right.size, len(searches)], [right.size, len(searches)]
    )
    assert float(scale @ probability) == pytest.approx(float(scale @ targets), abs=0.01)
    grown = calibration.probability(torch.tensor([0.9]), 600).item()
    assert grown < calibration.probability(torch.tensor([0.9]), 60).item()
    assert calibration.weight is not None
    # ten times as many others: a tenth of the odds
    assert math.log(grown / (1 - grown)) == pytest.approx(0.9 * calibration.weight + calibration.bias - math.log(10))


def test_similarity_that_says_nothing_gives_the_share() -> None:
    searches, counts = leave_one_out(filled(40, 2), max_searches=10**6)
    fitted = gallery_calibration(searches, counts, 0.2)
    reversed_ = dataclasses.replace(searches, own=np.where(searches.ranks == 1, -1.0, searches.own))
    calibration = with_probabilities(fitted, reversed_, 0.5)
    share = 0.5 * np.count_nonzero(searches.ranks == 1) / searches.num_mated
    assert calibration.weight == 0.0
    assert calibration.probability(torch.tensor([-1.0, 1.0]), 40).tolist() == pytest.approx([share, share])


def test_images_that_tie_are_stated_as_found() -> None:
    """No threshold is above the similarity of equal embeddings."""
    gallery = Gallery(MODEL)
    gallery.add_embeddings(rows(15, 3).repeat_interleave(2, dim=0), identities=[number % 30 for number in range(90)])
    calibration = calibrate_gallery(gallery, target_fpir=0.1)
    searches, _ = leave_one_out(gallery, max_searches=10**6)
    assert calibration.threshold <= 1.0
    assert calibration.fpir >= searches.fpir(lowest_match(calibration.threshold))
    assert calibration.fpir_interval[0] <= calibration.fpir <= calibration.fpir_interval[1]


@pytest.mark.parametrize(
    ("num_identities", "images", "target", "said"),
    [
        (1, 40, 0.1, "at least two identities, got 1"),
        (9, 40, 0.1, "at least 10 unknown identities, got 9. Enrol more, or give images of other identities"),
        (10, 2, 0.1, r"at least 30 searches for unknown identities for an FPIR of 0.1 \(rule of three\), got 20"),
        (40, 8, 0.01, r"at least 99 unknown identities for an FPIR of 0.01, got 40. Enrol more, .*, or a higher rate"),
        (12, 2, 1.5, "target_fpir to be between 0 and 1, got 1.5"),
    ],
)
def test_too_little_is_refused(num_identities: int, images: int, target: float, said: str) -> None:
    gallery = filled(num_identities, images)
    with pytest.raises(ValueError, match=said):
        calibrate_gallery(gallery, target_fpir=target)
    assert gallery.calibration is None


def test_model_without_gallery_calibration_uses_bayes_rule() -> None:
    model = small_model(dim=DIM)
    model.calibration = Calibration(method="platt", prior=0.5, weight=20.0, bias=-10.0)
    gallery = Gallery(model)
    gallery.add_embeddings(rows(9, 1))
    query = rows(9, 1)[:1]
    (found,) = gallery.identify_embeddings(query, threshold=0.5)
    ratio = math.exp(20.0 * found.similarity - 10.0)
    assert found.probability == pytest.approx(0.5 * ratio / (0.5 * (ratio + 8) + 0.5 * 9), rel=1e-4)


@pytest.mark.slow
def test_intervals_cover_the_rate_of_other_unknown_identities() -> None:
    covered = []
    for seed in range(200):
        everybody = rows(1250, 3, seed=seed, noise=0.12)
        enrolled, unknown = everybody[:150], everybody[150:]
        gallery = Gallery(MODEL)
        gallery.add_embeddings(enrolled, identities=[number // 3 for number in range(150)])
        calibration = calibrate_gallery(gallery, target_fpir=0.1)
        templates, _ = gallery.templates()
        rate = float(((unknown @ templates.T).amax(dim=1) >= calibration.threshold).double().mean())
        low, high = calibration.fpir_interval
        covered.append(low <= rate <= high)
    assert 0.92 <= np.mean(covered) <= 0.98
