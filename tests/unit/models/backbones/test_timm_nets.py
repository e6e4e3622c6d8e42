"""Nets of timm lose their classifier, and are built for any channels and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from backbone_nets import IMAGENET, images, timm_net

from pairsim import EmbeddingNet
from pairsim.models.backbones import named_backbone


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t"])
def test_timm_by_name_takes_weights_from_a_file_but_for_the_classifier(tmp_path: Path, name: str) -> None:
    theirs = timm_net(name)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    found = named_backbone(f"timm/{name}", weights=tmp_path / "w.safetensors", image_size=(48, 48))
    theirs.reset_classifier(0)
    assert torch.equal(found.module.eval()(images(size=48)), theirs(images(size=48)))
    known, config = found.preprocessing, theirs.pretrained_cfg
    assert known is not None
    assert (known.image_size, known.mean, known.std) == ((48, 48), config["mean"], config["std"])
    assert known.interpolation == config["interpolation"] == "bicubic"
    assert "state_dict" not in found.module.pretrained_cfg  # type: ignore[operator]


def test_timm_for_other_channels() -> None:
    timm_net()
    grey = EmbeddingNet("timm/resnet10t", in_channels=1, image_size=32).eval()
    known = grey.preprocessing
    assert known is not None
    assert known.channels == grey.in_channels == 1
    assert known.mean == pytest.approx((sum(IMAGENET[0]) / 3,))
    assert known.std == pytest.approx((sum(IMAGENET[1]) / 3,))
    assert grey(images(channels=1)).shape == (2, 128)
    five = EmbeddingNet("timm/resnet10t", in_channels=5, image_size=32)
    assert five.preprocessing is not None
    assert (five.preprocessing.channels, five.preprocessing.mean) == (5, None)


def test_a_transformer_is_built_for_the_size_asked_for() -> None:
    timm_net()
    net = EmbeddingNet("timm/vit_tiny_patch16_224", image_size=32, embedding_dim=8).eval()
    assert net(images()).shape == (2, 8)
    assert net.preprocessing is not None
    assert net.preprocessing.mean == (0.5, 0.5, 0.5)
