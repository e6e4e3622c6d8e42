"""Figures on classes, against scikit-learn and brute force."""

import numpy as np
import torch
from sklearn.metrics import roc_curve

from pairsim.training.adaptation.class_figures import class_figures, eer_and_recall, judged_images


def make_set(seed: int, num_classes: int = 6, each: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat(each)
    means = torch.randn(num_classes, 4, generator=generator)
    return 3 * (means[labels] + torch.randn(len(labels), 4, generator=generator)), labels


def brute_force(embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    vectors = torch.nn.functional.normalize(embeddings.double(), dim=1)
    similarity = (vectors @ vectors.T).numpy()
    first, second = np.triu_indices(len(labels), 1)
    same = (labels[first] == labels[second]).numpy()
    fmr, tmr, _ = roc_curve(same, similarity[first, second], drop_intermediate=False)
    place = np.argmin(np.abs(fmr - (1 - tmr)))
    np.fill_diagonal(similarity, -2)
    return (fmr[place] + 1 - tmr[place]) / 2, float((labels[similarity.argmax(axis=1)] == labels).double().mean())


def test_figures_are_those_of_brute_force() -> None:
    embeddings, labels = make_set(0)
    eer, recall = brute_force(embeddings, labels)
    figures, plain = class_figures([(embeddings, labels)]), eer_and_recall(embeddings, labels)
    np.testing.assert_allclose([figures.eer, plain["eer"]], eer, atol=0.01)  # the curve has steps
    np.testing.assert_allclose([figures.recall_at_1, plain["recall_at_1"]], recall)


def test_of_several_sets_they_are_the_mean() -> None:
    sets = [make_set(1), make_set(2, each=7)]
    figures = class_figures(sets)
    np.testing.assert_allclose(figures.eer, np.mean([class_figures([one]).eer for one in sets]))
    assert len(figures.draws) == 300


def test_a_difference_to_itself_is_zero() -> None:
    figures = class_figures([make_set(3)])
    assert figures.difference(figures) == (0.0, 0.0)


def test_a_much_better_one_differs_at_any_confidence() -> None:
    embeddings, labels = make_set(4, num_classes=12)
    good = torch.eye(12)[labels] + 0.05 * torch.randn(len(labels), 12, generator=torch.Generator().manual_seed(0))
    low, high = class_figures([(good, labels)]).difference(class_figures([(embeddings, labels)]))
    assert low < high < 0


def test_large_sets_are_judged_by_the_same_number_of_each_class() -> None:
    labels = torch.cat((torch.zeros(5000), torch.ones(400), torch.full((3,), 2))).long()
    kept = judged_images(labels)
    assert labels[kept].bincount().tolist() == [333, 333, 3]
    assert torch.equal(kept, kept.unique())
