"""The choice of a head by cross-validation over classes."""

from unittest.mock import Mock

import pytest
import torch
from quick_heads import few_head_steps

from pairsim.models.heads.closed_form import WithinClass
from pairsim.training.adaptation.head_choice import Head, TrainingFeatures, candidates, choose_head, class_folds

PLAIN = [head for head in candidates("auto") if head.name not in ("linear", "mlp")]


def make_features(
    noise: tuple[float, ...], *, num_classes: int = 24, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of classes with a mean of size 1, and noise of its own size in each direction."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat(8)
    means = torch.randn(num_classes, len(noise), generator=generator)
    return means[labels] + torch.randn(len(labels), len(noise), generator=generator) * torch.tensor(noise), labels


def test_whitening_is_chosen_where_some_directions_are_noise() -> None:
    features, labels = make_features((0.3, 0.3, 0.3, 0.3, 6.0, 6.0, 6.0, 6.0))
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    chosen, results = choose_head(features @ rotation, labels, PLAIN)
    assert chosen.name == "whiten"
    figures = {str(one.head): one.figures.eer for one in results}
    assert figures[str(chosen)] < figures["none"] - 0.1


def test_the_simplest_is_chosen_where_all_are_alike() -> None:
    features, labels = make_features((0.3,) * 8)
    chosen, results = choose_head(features, labels, PLAIN)
    assert chosen.name == "none"
    assert [one.difference for one in results if one.head == chosen] == [(0.0, 0.0)]


def test_a_head_is_judged_on_classes_that_it_was_not_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make_features((0.3,) * 4, num_classes=8)
    fitted: list[set[int]] = []
    own = Head.fitted

    def spy(self: Head, data: TrainingFeatures) -> object:
        fitted.append(set(data.labels.tolist()))
        return own(self, data)

    monkeypatch.setattr(Head, "fitted", spy)
    choose_head(features, labels, PLAIN[:2])
    assert [len(classes) for classes in fitted] == [6] * 8
    assert set.union(*({*range(8)} - classes for classes in fitted[::2])) == {*range(8)}


def test_whitenings_share_their_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make_features((0.3,) * 4, num_classes=8)
    computed = Mock(side_effect=WithinClass.of)
    monkeypatch.setattr(WithinClass, "of", computed)
    _, results = choose_head(features, labels, candidates("whiten"))
    assert len(results) == 4
    assert computed.call_count == 4  # one for each fold


def test_the_same_in_every_call() -> None:
    features, labels = make_features((0.5, 1.0, 2.0), num_classes=10)
    with few_head_steps():
        first, second = (choose_head(features, labels, [*PLAIN[:3], Head(name="linear")], seed=3) for _ in range(2))
    assert [str(one) for one in first[1]] == [str(one) for one in second[1]]


def test_with_few_classes_the_first_is_taken() -> None:
    features, labels = make_features((0.3,) * 4, num_classes=3)
    assert choose_head(features, labels, PLAIN) == (PLAIN[0], [])


def test_folds_do_not_depend_on_the_order_of_images() -> None:
    labels = torch.arange(9).repeat(3)
    folds, again = class_folds(labels, 5), class_folds(labels.flip(0), 5)
    assert folds is not None
    assert again is not None
    assert torch.equal(folds, again)
    assert folds.bincount().tolist() == [3, 2, 2, 2]
