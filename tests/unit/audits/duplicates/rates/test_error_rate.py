"""The threshold for a false rate: stated intervals cover known rates, and refusals say what is possible."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pairsim.audits.duplicates import duplicate_search
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.duplicates.rates import edit_recall
from pairsim.audits.duplicates.rates.edits import EDITS, Edit
from pairsim.audits.duplicates.rates.error_rate import FalseRates, checked_target
from pairsim.errors import DataError

SCALE = 0.064
"""Of the excesses of atanh, as unrelated photographs have them."""
REGISTERED, COPIES = 0.02, 0.3
"""Share of pairs that are alike at all, and of these that could be copies by how they lie."""


def drawn(seed: int, pictures: int, *, odd: float = 0.0, scale: float = SCALE) -> FalseRates:
    """Similarities of known distribution; with `odd`, some pictures are alike with more others than the rest is."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(pictures, 1)
    weight = generator.gamma(1 / odd, odd, pictures) if odd else np.ones(pictures)
    chosen = generator.random(len(first)) < REGISTERED * weight[first] * weight[second]
    similarity = np.tanh(generator.exponential(scale, int(chosen.sum())))
    below = similarity < 0.8  # pairs from the ceiling on are left out as copies
    copies = generator.random(int(below.sum())) < COPIES
    return FalseRates.fitted(
        similarity[below],
        copies,
        first[chosen][below],
        second[chosen][below],
        num_pictures=pictures,
        ceiling=0.8,
    )


def true_rate(threshold: float, scale: float = SCALE) -> float:
    return REGISTERED * COPIES * math.exp(-math.atanh(threshold) / scale)


@pytest.mark.parametrize(
    ("odd", "scale", "threshold"), [(0.0, SCALE, 0.7), (0.0, SCALE, 0.5), (0.3, SCALE, 0.7), (0.0, 0.3, 0.75)]
)
def test_interval_covers_the_known_rate(odd: float, scale: float, threshold: float) -> None:
    """Also where it is far below one pair in all, pictures differ, or the ceiling cuts the tail."""
    truth = true_rate(threshold, scale)
    covered, estimates = [], []
    for seed in range(1000):
        estimate, low, high = drawn(seed, 200, odd=odd, scale=scale).rate(threshold)
        assert low <= estimate <= high
        covered.append(low <= truth <= high)
        estimates.append(estimate / truth)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert 0.7 < np.median(estimates) < 1.3


def test_rate_at_the_threshold_is_at_most_the_target() -> None:
    target = 1e-6
    thresholds = [drawn(seed, 200).threshold(target) for seed in range(100)]
    kept = np.mean([true_rate(threshold) <= target for threshold in thresholds])
    assert 0.95 <= kept <= 1.0  # the upper end is that of 97.5 %
    assert true_rate(float(np.median(thresholds))) > target / 100


def test_more_pictures_lower_the_threshold() -> None:
    few, many = (np.median([drawn(seed, count).threshold(1e-7) for seed in range(10)]) for count in (150, 600))
    assert 0.5 <= many < few < 1.0


def test_pairs_are_counted_where_they_have_no_tail() -> None:
    nothing = np.zeros(0)
    none = nothing.astype(np.int64)
    rates = FalseRates.fitted(nothing, none.astype(bool), none, none, num_pictures=100, ceiling=0.8)
    estimate, low, high = rates.rate(0.6)
    assert (estimate, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 4950), rel=1e-3)  # Clopper and Pearson's
    assert rates.threshold(1e-3) == 0.5
    with pytest.raises(DataError, match=r"of 1e-05, got 100; .*, and these support 0.00075 at best. .* too few"):
        rates.threshold(1e-5)
    assert rates.threshold(0.00075) == 0.5


def test_pictures_that_are_too_much_alike() -> None:
    generator = np.random.default_rng(0)
    first, second = np.triu_indices(100, 1)
    rates = FalseRates.fitted(
        generator.uniform(0.0, 0.8, 4950) ** 0.2, np.ones(4950, bool), first, second, num_pictures=100, ceiling=0.8
    )
    with pytest.raises(DataError, match="too much alike"):
        rates.threshold(1e-4)


@pytest.mark.parametrize("target", [0.0, 1.0, -1e-3, float("nan")])
def test_target_out_of_range(target: float) -> None:
    with pytest.raises(ValueError, match=r"Expected target_false_rate to be above 0 and below 1.* Begin with 1e-7"):
        checked_target(target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty textures, and a copy of one of them."""
    place = tmp_path_factory.mktemp("rates")
    coarse = np.random.default_rng(5).integers(0, 255, (40, 5, 5, 3), dtype=np.uint8)
    for number, image in enumerate(coarse):
        Image.fromarray(image).resize((72, 72), Image.Resampling.BICUBIC).save(place / f"{number:02}.png")
    with Image.open(place / "07.png") as image:
        image.save(place / "copy.jpg", quality=70)
    return place


@pytest.mark.parametrize("edits", [EDITS[:3], pytest.param(EDITS, marks=pytest.mark.slow)], ids=["some", "all"])
def test_search_with_a_target(folder: Path, edits: tuple[Edit, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_recall, "EDITS", edits)
    report = find_duplicates(folder, target_false_rate=0.01, progress=False)
    rates = report.rates
    assert rates is not None
    assert report.threshold == rates.threshold == 0.5
    assert (rates.num_pictures, rates.num_pairs, rates.num_edited) == (40, 780, 40)  # without the copy
    assert rates.interval[0] <= rates.false_rate <= rates.interval[1] <= rates.target == 0.01
    assert [one.edit for one in rates.recall] == [edit.name for edit in edits]
    assert rates.recall[0].recall == 1.0  # the same pixels
    assert rates.recall[0].interval == pytest.approx((0.912, 1.0), abs=1e-3)
    assert rates.edited_pairs == len(edits) * (40 * 39 + 780)
    assert rates.edited_false <= rates.target * rates.edited_pairs
    assert rates.per_million_pairs[2] == pytest.approx(rates.interval[1] * 1e6)
    assert rates.per_million_pictures[2] == pytest.approx(rates.interval[1] * 1e6 * (1e6 - 1) / 2)
    assert report.pairs == (("07.png", "copy.jpg", report.pairs[0][2]),)
    stated = report.to_dict()["rates"]
    assert (stated["threshold"], stated["recall"][0]["recall"]) == (0.5, 1.0)
    text = report.describe()
    assert "threshold 0.5000 for a false rate of at most 0.01\n" in text
    assert "from 780 pairs of 40 different pictures" in text
    assert text.endswith("41 pictures compared: 1 duplicate in 1 cluster")


def test_order_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_recall, "EDITS", EDITS[:3])
    paths = sorted(folder.iterdir())[:12]
    first, second = (
        find_duplicates(some, target_false_rate=0.1, progress=False).rates for some in (paths, paths[::-1])
    )
    assert first is not None
    assert first == second


def test_too_few_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit_recall, "EDITS", EDITS[:1])
    expected = (
        r"at least 41 different pictures .* of 1.22e-06, got 40; copies are not counted\. Add pictures, or use a "
    )
    with pytest.raises(DataError, match=expected + r"target of [0-9.e-]+\.$") as caught:
        find_duplicates(folder, target_false_rate=1.22e-6, progress=False)
    suggested = float(str(caught.value).split()[-1].rstrip("."))
    rates = find_duplicates(folder, target_false_rate=suggested, progress=False).rates
    assert rates is not None
    assert rates.target == suggested


def test_too_few_pictures_are_refused_before_the_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("pictures were compared")

    monkeypatch.setattr(duplicate_search, "related", fail)
    with monkeypatch.context() as patched:
        patched.setattr(duplicate_search, "read_rows", fail)
        with pytest.raises(DataError, match=r"at least 142 .*, got 41\. Add .*") as caught:
            find_duplicates(folder, target_false_rate=1e-7, progress=False)
    assert str(caught.value).endswith("or use a higher target: as many support 1.3e-06 at best.")
    shutil.copytree(folder, tmp_path / "more")
    shutil.copy(folder / "00.png", tmp_path / "more/again.png")
    (tmp_path / "more/bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"at least 43 different pictures .*, got 41\."):  # of 43 files
        find_duplicates(tmp_path / "more", target_false_rate=1.11e-6, on_error="skip", progress=False)


def no_similar_pairs(pictures: int) -> FalseRates:
    nothing = np.zeros(0)
    none = nothing.astype(np.int64)
    return FalseRates.fitted(nothing, none.astype(bool), none, none, num_pictures=pictures, ceiling=0.8)


@pytest.mark.parametrize("pictures", [4, 5, 6, 12, 40, 100, 317, 1000])
@pytest.mark.parametrize("target", [2.1e-9, 1e-7, 1e-6])
def test_a_target_that_is_suggested_works(pictures: int, target: float) -> None:
    rates = no_similar_pairs(pictures)
    with pytest.raises(DataError, match="or use a target of ") as caught:
        rates.threshold(target)
    suggested = float(str(caught.value).split("or use a target of ")[1].rstrip("."))
    assert checked_target(suggested) > target
    assert rates.threshold(suggested) >= 0.5


def test_no_target_is_suggested_where_none_works(folder: Path) -> None:
    for target in (1e-4, 1e-3, 0.9):
        with pytest.raises(DataError, match=r"different pictures .* got 3; copies are not counted.* threshold instead"):
            no_similar_pairs(3).threshold(target)
    for paths in ([folder / "00.png", folder / "01.png"], [folder / name for name in ("00.png", "07.png", "copy.jpg")]):
        with pytest.raises(DataError, match=r"at least 3 different pictures .* got 2; copies are not counted"):
            find_duplicates(paths, target_false_rate=1e-3, progress=False)


def test_a_target_that_no_pictures_support(folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"that 1,000 pictures can show, .*, got 1e-09. Use a target of 2.1e-09 or more"
    ):
        find_duplicates(folder, target_false_rate=1e-9, progress=False)


def test_a_target_is_no_threshold(folder: Path) -> None:
    with pytest.raises(ValueError, match="target_false_rate without threshold and model"):
        find_duplicates(folder, target_false_rate=1e-3, threshold=0.9)
