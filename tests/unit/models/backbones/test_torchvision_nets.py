"""Nets of torchvision lose their classifier, and take weights in any of their formats."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from backbone_nets import IMAGENET, images, torchvision_net
from torch import nn

from pairsim import EmbeddingNet
from pairsim.models.backbones import given_backbone, named_backbone, torchvision_nets


def test_torchvision_by_name_takes_weights_from_a_file_but_for_the_classifier(tmp_path: Path) -> None:
    theirs = torchvision_net()
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    found = named_backbone("resnet18", weights=file)
    assert found.pretrained
    theirs.fc = nn.Identity()
    assert torch.equal(found.module.eval()(images()), theirs(images()))
    known = found.preprocessing
    assert known is not None
    assert (known.image_size, known.channels, known.mean, known.std) == ((224, 224), 3, *IMAGENET)
    assert (known.fit, known.interpolation) == ("crop", "bilinear")


def test_old_names_in_densenet_weights(tmp_path: Path) -> None:
    theirs = torchvision_net("densenet121")
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2.") if "denselayer" in name else name: value
        for name, value in theirs.state_dict().items()
    }
    assert old.keys() != theirs.state_dict().keys()
    torch.save(old, tmp_path / "w.pth")
    theirs.classifier = nn.Identity()
    found = named_backbone("densenet121", weights=tmp_path / "w.pth")
    assert torch.equal(found.module.eval()(images()), theirs(images()))


def test_pretrained_weights_come_from_the_librarys_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    theirs = models.resnet18(weights=None)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(theirs.state_dict(), cache / "w")
    digest = hashlib.sha256((cache / "w").read_bytes()).hexdigest()
    (cache / "w").rename(cache / f"resnet18-{digest[:8]}.pth")
    monkeypatch.setenv("PAIRSIM_DATA", "")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = named_backbone("resnet18", weights="pretrained")
    assert found.pretrained
    assert torch.equal(found.module.conv1.weight, theirs.conv1.weight)  # type: ignore[union-attr, arg-type]


def test_images_that_a_backbone_does_not_take() -> None:
    with pytest.raises(ValueError, match=r"Expected in_channels=3 for resnet18, got 1\. Leave it out"):
        EmbeddingNet("resnet18", in_channels=1)
    with pytest.raises(ValueError, match=r"Expected vit_b_32 to take images of 30 x 30, but building it failed"):
        EmbeddingNet("vit_b_32", image_size=30)
    with pytest.raises(ValueError, match="Expected a square image_size for vit_b_32"):
        EmbeddingNet("vit_b_32", image_size=(32, 64))
    with pytest.raises(ValueError, match="Expected weights together with a backbone's name, got them with Flatten"):
        EmbeddingNet(nn.Flatten(), weights="w.pth")


def test_auxiliary_classifiers_are_dropped() -> None:
    from torchvision.models import googlenet

    module = googlenet(weights=None, init_weights=False)
    net = EmbeddingNet(module, image_size=32)
    assert net.train()(images()).shape == (2, 128)
    assert module.aux1 is not None
    assert module.aux_logits


REGNETS_TO_TRY = ("regnet_x_400mf", "regnet_y_400mf")  # they cannot be built without memory, and are all of one class


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in torchvision_nets.names() if "regnet" not in name] + [*REGNETS_TO_TRY]
)
def test_every_net_of_torchvision_loses_exactly_its_classifier(name: str) -> None:
    from torchvision import models

    settings = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("cpu" if name in REGNETS_TO_TRY else "meta"):
        theirs = models.get_model(name, weights=None, num_classes=7, **settings)
        ours = given_backbone(theirs).module
    gone = theirs.state_dict().keys() - ours.state_dict().keys()
    assert {key.rpartition(".")[2] for key in gone} <= {"weight", "bias"}
    assert len({key.rpartition(".")[0] for key in gone}) == 1
    assert all(len(theirs.state_dict()[key]) == 7 for key in gone)
