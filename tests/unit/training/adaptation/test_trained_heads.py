"""Heads that are trained on features."""

import copy

import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.errors import TrainingError
from pairsim.models.heads.head_modules import HeadName
from pairsim.training.adaptation import trained_heads
from pairsim.training.adaptation.class_figures import eer_and_recall
from pairsim.training.adaptation.head_choice import TrainingFeatures, candidates
from pairsim.training.adaptation.trained_heads import train_head
from pairsim.training.optimize.step import TrainingStep


def make_features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12).repeat(10)
    means = torch.randn(12, 16, generator=generator)
    return means[labels] + 1.5 * torch.randn(120, 16, generator=generator), labels


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_classes_of_training_are_told_apart_better(name: HeadName) -> None:
    features, labels = make_features()
    (head,) = candidates(name)
    trained, dim = head.fitted(TrainingFeatures(features, labels))
    with torch.no_grad():
        embeddings = trained(features)
    assert embeddings.shape[1] == dim
    assert eer_and_recall(embeddings, labels)["eer"] < eer_and_recall(features, labels)["eer"] - 0.03


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_scale_of_features_does_not_matter(name: HeadName) -> None:
    features, labels = make_features()
    (head,) = candidates(name)
    trained, scaled = (head.fitted(TrainingFeatures(size * features, labels, 8))[0] for size in (1, 256))
    with torch.no_grad():
        embeddings, others = trained(features), scaled(256 * features)
    torch.testing.assert_close(others, embeddings, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("num_images", "steps"), [(8, 60), (128, 60), (200, 39 * 2), (2_000, 10 * 16)])
def test_few_images_have_as_many_epochs_as_steps(monkeypatch: pytest.MonkeyPatch, num_images: int, steps: int) -> None:
    rates = list[float]()
    own = TrainingStep.__call__

    def noted(self: TrainingStep, *given: Tensor, update: bool) -> Tensor:
        rates.append(self.optimizer.param_groups[0]["lr"])
        return own(self, *given, update=update)

    monkeypatch.setattr(TrainingStep, "__call__", noted)
    train_head("linear", torch.rand(num_images, 4), torch.arange(num_images) % 4, 4, seed=0)
    assert len(rates) == pytest.approx(steps, rel=0.1)
    assert max(rates) == pytest.approx(1e-3, rel=0.01)
    assert rates[-1] < 1e-3 * max(rates)


def test_the_trainer_gives_the_same_weights_after_as_many_epochs() -> None:
    features, labels = make_features()
    features /= features.std()
    net = EmbeddingNet(nn.Identity(), head="linear", in_channels=16, image_size=1, embedding_dim=4)
    start = copy.deepcopy(net.head)
    vectors = ImageTensors(features[:, :, None, None], labels.numpy())
    config = TrainConfig(
        epochs=60, batch_size=128, learning_rate=1e-3, optimizer="adamw", precision="fp32", device="cpu"
    )
    for _ in Trainer(SimilarityModel(net), config, train=vectors, val=vectors).epochs():
        last = copy.deepcopy(net.head)
    head = train_head("linear", features, labels, 4, seed=0, start=start)
    for found, wanted in zip(head.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_weights_that_are_not_finite_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_heads, "_RATE", 1e38)
    with pytest.raises(
        TrainingError, match=r"Expected finite values of .*head.* in head linear, found NaN or infinity"
    ):
        train_head("linear", *make_features(), 4, seed=0)


def test_the_seed_gives_the_weights() -> None:
    features, labels = make_features()
    (head,) = candidates("mlp")
    first, second, other = (
        head.fitted(TrainingFeatures(features, labels, 4, seed))[0].state_dict()["0.weight"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
