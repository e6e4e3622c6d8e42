"""Models with each head: saved, loaded and exported."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel, calibrate, evaluate
from pairsim.data import ImageTensors
from pairsim.export import export_onnx, load_onnx
from pairsim.models.heads.head_modules import CLOSED_FORM, HeadName

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)


@pytest.mark.parametrize("head", get_args(HeadName))
def test_saved_and_loaded_by_name(head: HeadName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = EmbeddingNet("shufflenet_v2_x0_5", image_size=32, head=head)
    for parameter in net.head.parameters():
        nn.init.normal_(parameter)
    net.set_head(head, net.head, net.embedding_dim)
    model = SimilarityModel(net).eval()
    model.save_pretrained(tmp_path / "model")
    loaded = SimilarityModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.embed(IMAGES), model.embed(IMAGES))
    assert isinstance(loaded.embedding_net, EmbeddingNet)
    assert (loaded.embedding_net.head_name, loaded.embedding_net.embedding_dim) == (head, model.embed(IMAGES).shape[1])


@pytest.mark.parametrize("head", CLOSED_FORM)
def test_a_head_that_was_not_computed_is_named(head: HeadName, tmp_path: Path) -> None:
    net = EmbeddingNet(nn.Conv2d(3, 7, 3), in_channels=3, image_size=32, head=head)
    model = SimilarityModel(net)
    assert model(IMAGES, IMAGES).shape == (3,)  # in a training of one's own
    model.eval()
    images = ImageTensors(torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), [0, 1] * 4)
    calls: list[Callable[[], Any]] = [
        lambda: model(IMAGES, IMAGES),
        lambda: model.get_raw_similarity(IMAGES, IMAGES),
        lambda: model.encode(IMAGES),
        lambda: model.verify(IMAGES[:1], IMAGES[1:2]),
        lambda: evaluate(model, images),
        lambda: calibrate(model, images),
        lambda: Gallery(model).add(images.images, list("abcdefgh")),
        lambda: export_onnx(model, tmp_path / "model.onnx"),
        lambda: model.save_pretrained(tmp_path / "model"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=rf'^Expected head "{head}" to be computed, .*\. Call pairsim\.adapt, '):
            call()
    assert not list(tmp_path.iterdir())
    net.load_state_dict(net.backbone.state_dict(prefix="backbone."), strict=False)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=f'^Expected head "{head}" to be computed'):
        model.encode(IMAGES)
    model.load_state_dict(SimilarityModel(copy.deepcopy(net)).state_dict())
    assert model.encode(IMAGES).shape == (3, 7)


def test_without_a_head_embeddings_are_the_features() -> None:
    backbone = nn.Conv2d(3, 7, 3)
    net = EmbeddingNet(backbone, in_channels=3, image_size=32, head="none", normalize=False)
    assert net.embedding_dim == net.num_features == 7
    torch.testing.assert_close(net(IMAGES), backbone(IMAGES).mean(dim=(2, 3)))


def test_a_linear_head_is_not_written_so_that_older_versions_load_it() -> None:
    assert "head" not in EmbeddingNet(nn.Conv2d(3, 7, 3), in_channels=3, image_size=32).architecture()


def test_a_head_needs_a_backbone() -> None:
    with pytest.raises(ValueError, match=r'a backbone for head "whiten": the reference network .*mobilenet_v2'):
        EmbeddingNet(head="whiten")


@pytest.mark.slow
@pytest.mark.parametrize("head", get_args(HeadName))
def test_exported_it_computes_the_same(head: HeadName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
    net = EmbeddingNet(backbone, head=head, in_channels=1, image_size=12)
    for name, parameter in net.named_parameters():
        if name.startswith("head."):
            nn.init.normal_(parameter)
    model = SimilarityModel(net).eval()
    images = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8)
    export_onnx(model, tmp_path / "model.onnx")
    exported = load_onnx(tmp_path / "model.onnx").embed(images.numpy())
    torch.testing.assert_close(torch.from_numpy(exported), model.encode(images), rtol=0, atol=1e-4)
