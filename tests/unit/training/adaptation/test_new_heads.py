"""Heads in closed form that a `Trainer` computes."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer, adapt
from pairsim.data import ImageTensors
from pairsim.encoding.features import backbone_features
from pairsim.models.heads.closed_form import standardization


def make_images() -> ImageTensors:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(6)
    means = 255 * torch.rand(10, 1, 10, 10, generator=generator)
    pixels = means[labels] + 40 * torch.randn(60, 1, 10, 10, generator=generator)
    return ImageTensors(pixels.clamp(0, 255).to(torch.uint8), labels.numpy())


def make_net(head: Any, **options: Any) -> EmbeddingNet:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 12, 3, stride=2), nn.ReLU(), nn.Flatten())
    return EmbeddingNet(backbone, head=head, in_channels=1, image_size=10, **options)


def config(**options: Any) -> TrainConfig:
    return TrainConfig(epochs=1, precision="fp32", device="cpu", progress=False, **options)


def test_standardize_is_computed_from_the_images_that_train() -> None:
    model, images = SimilarityModel(make_net("standardize")), make_images()
    trainer = Trainer(model, config(), train=images)
    split = trainer.data.split
    assert split is not None
    kept = torch.from_numpy(np.delete(np.arange(60), split.held_out))
    weight, bias = standardization(backbone_features(model, images)[kept])
    found = dict(model.embedding_net.named_parameters())
    torch.testing.assert_close(found["head.weight"].detach(), weight.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["head.bias"].detach(), bias.float(), rtol=1e-4, atol=1e-4)
    assert any(note.startswith("Head standardize, computed from") for note in trainer.history.notes)


def test_whitening_has_the_length_asked_for_and_is_loaded_again(tmp_path: Any) -> None:
    model = SimilarityModel(make_net("whiten", embedding_dim=9))
    Trainer(model, config(freeze="backbone", out=tmp_path / "run"), train=make_images(), val=make_images()).fit()
    loaded = SimilarityModel.from_pretrained(tmp_path / "run", embedding_net=make_net("whiten", embedding_dim=9))
    images = make_images().images
    torch.testing.assert_close(loaded.encode(images), model.encode(images))
    weights = dict(loaded.embedding_net.named_parameters())["head.weight"].clone()
    Trainer(loaded, config(), train=make_images())  # it is not computed a second time
    assert torch.equal(dict(loaded.embedding_net.named_parameters())["head.weight"], weights)


def test_pairs_have_no_classes() -> None:
    with pytest.raises(ValueError, match=r'labelled images to compute head "whiten" from, got pairs\. Use head'):
        Trainer(SimilarityModel(make_net("whiten")), config(objective="pairs"), train=PairDataset(make_images(), 20))


def test_after_an_adaptation_that_failed_the_head_is_still_not_computed() -> None:
    model = SimilarityModel(make_net("whiten"))
    with pytest.raises(ValueError, match="Expected freeze to name parts of the backbone"):
        adapt(model, config(freeze="absent"), train=make_images(), head="whiten")
    with pytest.raises(ValueError, match=r'^Expected head "whiten" to be computed'):
        model.encode(make_images().images)
    adapt(model, config(freeze="backbone"), train=make_images(), head="whiten", embedding_dim=np.int64(9))  # type: ignore[arg-type]
    assert isinstance(model.embedding_net, EmbeddingNet)
    assert type(model.embedding_net.embedding_dim) is int
    assert len(model.encode(make_images().images)) == 60
