"""Heads that are trained on features."""

import pytest
import torch

from pairsim import Trainer
from pairsim.models.heads.head_modules import HeadName
from pairsim.training.adaptation.class_figures import eer_and_recall
from pairsim.training.adaptation.head_choice import candidates
from pairsim.training.adaptation.trained_heads import train_head


def make_features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat(10)
    means = torch.randn(12, 16, generator=generator)
    return means[labels] + 1.5 * torch.randn(120, 16, generator=generator), labels


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_classes_of_training_are_told_apart_better(name: HeadName) -> None:
    features, labels = make_features()
    (head,) = candidates(name)
    trained, dim = head.fitted(features, labels, None, 0)
    with torch.no_grad():
        embeddings = trained(features)
    assert embeddings.shape[1] == dim
    assert eer_and_recall(embeddings, labels)["eer"] < eer_and_recall(features, labels)["eer"] - 0.03


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_scale_of_features_does_not_matter(name: HeadName) -> None:
    features, labels = make_features()
    (head,) = candidates(name)
    trained, scaled = (head.fitted(size * features, labels, 8, 0)[0] for size in (1, 256))
    with torch.no_grad():
        embeddings, others = trained(features), scaled(256 * features)
    torch.testing.assert_close(others, embeddings, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("num_images", "epochs"), [(8, 60), (128, 60), (200, 39), (2_000, 10)])
def test_few_images_have_no_more_epochs_than_steps(
    monkeypatch: pytest.MonkeyPatch, num_images: int, epochs: int
) -> None:
    found = list[int | None]()
    monkeypatch.setattr(Trainer, "fit", lambda self: found.append(self.config.epochs))
    train_head("linear", torch.rand(num_images, 4), torch.arange(num_images) % 4, 4, seed=0)
    assert found == [epochs]


def test_the_seed_gives_the_weights() -> None:
    features, labels = make_features()
    (head,) = candidates("mlp")
    first, second, other = (head.fitted(features, labels, 4, seed)[0].state_dict()["0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
