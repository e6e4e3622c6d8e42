"""Models with each head: saved, loaded and exported."""

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.export import export_onnx, load_onnx
from pairsim.models.heads.head_modules import HeadName

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)


@pytest.mark.parametrize("head", get_args(HeadName))
def test_saved_and_loaded_by_name(head: HeadName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet("shufflenet_v2_x0_5", image_size=32, head=head)).eval()
    for name, parameter in model.embedding_net.named_parameters():
        if name.startswith("head."):
            nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / "model")
    loaded = SimilarityModel.from_pretrained(tmp_path / "model")
    assert torch.equal(loaded.embed(IMAGES), model.embed(IMAGES))
    assert isinstance(loaded.embedding_net, EmbeddingNet)
    assert (loaded.embedding_net.head_name, loaded.embedding_net.embedding_dim) == (head, model.embed(IMAGES).shape[1])


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
