"""The choice of the central part of images."""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pairsim.training.adaptation.part_choice import FRACTIONS, choose_central_fraction, compared_images


def features_by(
    noise: dict[float, float],
) -> tuple[list[tuple[float, int]], Tensor, Callable[[float, Tensor], Tensor]]:
    """Features of 24 classes, with noise that depends on the part of the image."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(24).repeat(8)
    means = torch.randn(24, 8, generator=generator)[codes]
    plain = {fraction: torch.randn(len(codes), 8, generator=generator) for fraction in noise}
    asked: list[tuple[float, int]] = []

    def features_of(fraction: float, images: Tensor) -> Tensor:
        asked.append((fraction, len(images)))
        return (means + noise[fraction] * plain[fraction])[images]

    return asked, codes, features_of


def test_the_part_is_chosen_that_is_best_on_new_classes() -> None:
    asked, codes, features_of = features_by({1.0: 1.6, 0.8: 0.5, 0.6: 1.2})
    chosen, results = choose_central_fraction(features_of, codes)
    assert chosen == 0.8
    assert asked == [(fraction, 192) for fraction in FRACTIONS]
    eers = [one.figures.eer for one in results]
    assert min(eers) == eers[1] < eers[0]
    assert [one.difference for one in results][1] == (0.0, 0.0)
    assert results[0].difference[0] > 0
    assert str(results[0]).startswith("whole  ")
    assert str(results[1]).startswith("central 80%  ")
    assert "differs" in str(results[2])
    assert "differs" not in str(results[1])


def test_the_whole_is_chosen_where_parts_are_no_better() -> None:
    _, codes, features_of = features_by({1.0: 0.5, 0.8: 1.5, 0.6: 1.0})
    assert choose_central_fraction(features_of, codes)[0] == 1
    assert choose_central_fraction(lambda _, images: features_of(0.8, images), codes)[0] == 1


def test_the_whole_is_not_left_without_a_clear_reason() -> None:
    _, codes, features_of = features_by({1.0: 0.8, 0.8: 0.85, 0.6: 0.85})
    chosen, (whole, *parts) = choose_central_fraction(features_of, codes)
    best = min(parts, key=lambda part: part.figures.eer).figures
    assert whole.figures.difference(best, 0.683)[0] > 0 > whole.figures.difference(best)[0]
    assert chosen == 1


def test_the_recorded_part_is_taken_whatever_the_figures() -> None:
    _, codes, features_of = features_by({1.0: 1.6, 0.8: 0.5, 0.6: 1.2})
    for recorded in FRACTIONS:
        chosen, results = choose_central_fraction(features_of, codes, recorded=recorded)
        assert chosen == recorded
        assert results[FRACTIONS.index(recorded)].difference == (0.0, 0.0)


def test_nothing_is_computed_for_too_few_classes() -> None:
    asked, _, features_of = features_by(dict.fromkeys(FRACTIONS, 0.5))
    assert choose_central_fraction(features_of, torch.arange(3).repeat(5)) == (1.0, [])
    assert choose_central_fraction(features_of, torch.arange(50)) == (1.0, [])
    assert asked == []


@settings(max_examples=50)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=900))
def test_compared_images_are_few_and_have_partners(labels: list[int]) -> None:
    codes = torch.tensor(labels)
    kept = compared_images(codes)
    assert len(kept) <= 384
    assert kept.tolist() == sorted(set(kept.tolist()))
    counts = codes[kept].unique(return_counts=True)[1]
    assert bool((counts > 1).all())
    if len(labels) <= 384 and len(set(labels)) <= 96:
        several = [k for k, label in enumerate(labels) if labels.count(label) > 1]
        largest = max((labels.count(label) for label in set(labels)), default=0)
        if largest <= 4:
            assert kept.tolist() == several
