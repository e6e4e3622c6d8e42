"""Backbones are found by name in torchvision and timm, and modules are used as they are."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from backbone_nets import IMAGENET, images, same_state, timm_net, torchvision_net
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import MissingExtraError, RunError
from pairsim.images import Preprocessing
from pairsim.models.backbones import backbone_names, given_backbone, named_backbone, registry


def test_names() -> None:
    names = backbone_names()
    assert names[:2] == ["conv4", "resnet12"]
    assert {"resnet18", "vit_b_16"} <= set(names)
    assert "fasterrcnn_resnet50_fpn" not in names
    assert all("MobileNet".lower() in name for name in backbone_names("MobileNet"))
    assert backbone_names("no such net") == []
    pytest.importorskip("timm")
    assert {"timm/resnet10t", "timm/resnet18.a1_in1k"} <= set(names)


def test_unknown_names_are_told_with_near_ones() -> None:
    with pytest.raises(ValueError, match=r"got 'resnet81'\. Did you mean .*resnet18.*backbone_names"):
        EmbeddingNet("resnet81")
    pytest.importorskip("timm")
    with pytest.raises(ValueError, match="Did you mean timm/mobilenetv3_small_050"):
        EmbeddingNet("mobilenetv3_small_050")
    with pytest.raises(ValueError, match=r"got 'timm/resnet18.no_such_tag'. Did you mean timm/resnet18"):
        EmbeddingNet("timm/resnet18.no_such_tag")
    for name in ("timm/hf-hub:someone/net", "hf-hub:someone/net", "fasterrcnn_resnet50_fpn"):
        with pytest.raises(ValueError, match="Expected the name of a backbone"):
            EmbeddingNet(name)


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"backbone timm/resnet10t needs the package timm.*pairsim\[timm\]"):
        EmbeddingNet("timm/resnet10t")
    assert "resnet18" in backbone_names()
    assert backbone_names("timm/") == []


def test_without_a_network_pretrained_weights_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def fail(*args: Any, **settings: Any) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr(torch.hub, "_hub_dir", "/absent/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/absent/cache")
    monkeypatch.setenv("PAIRSIM_DATA", "/absent/data")
    monkeypatch.setattr(timm, "create_model", lambda *args, **settings: pytest.fail("retries for a minute"))
    for name in ("resnet18", "timm/resnet10t"):
        with pytest.raises(
            RunError,
            match=rf"pretrained weights of {name} in /absent/data/weights, /absent/data, /absent/hub/checkpoints, "
            r"/absent/cache or from the network, but loading them failed: .*not known\. Connect to",
        ) as caught:
            named_backbone(name, weights="pretrained")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet10t"])
def test_weights_of_another_net_are_refused(tmp_path: Path, name: str) -> None:
    pytest.importorskip("timm")
    torch.save(torchvision_net("mobilenet_v3_small").state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=rf"Expected weights of {name} in .*w.pth, .*: Missing key.*; Unexpected key"
    ) as c:
        named_backbone(name, weights=tmp_path / "w.pth")
    assert len(str(c.value)) < 700


def test_a_part_of_the_weights_is_refused(tmp_path: Path) -> None:
    for name, net in (("resnet18", torchvision_net()), ("timm/resnet10t", timm_net())):
        state = {key: value for key, value in net.state_dict().items() if key != "layer1.0.conv1.weight"}
        torch.save(state, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=r'Missing key\(s\) in state_dict: "layer1.0.conv1.weight"'):
            named_backbone(name, weights=tmp_path / "w.pth")


GIVEN = [lambda: torchvision_net("resnet18"), lambda: torchvision_net("mobilenet_v3_small"), timm_net]


@pytest.mark.parametrize("make", GIVEN)
def test_a_given_net_loses_its_classifier_in_a_copy_that_shares_weights(make: Any) -> None:
    module = make()
    before = copy.deepcopy(module)
    given = module(images())
    found = given_backbone(module)
    assert found.name is None
    assert torch.equal(module(images()), given)
    assert same_state(module, before)
    features = found.module.eval()(images())
    assert features.shape[1] in (512, 1024)
    theirs = dict(module.named_parameters())
    ours = dict(found.module.named_parameters())
    assert ours.keys() < theirs.keys()
    assert all(theirs[name] is value for name, value in ours.items())
    known = found.preprocessing
    assert known is not None
    assert (known.channels, known.mean) == (3, IMAGENET[0])


def test_a_net_given_without_classifier_stays_the_same_object() -> None:
    module = torchvision_net()
    module.fc = nn.Identity()
    assert given_backbone(module).module is module
    bare = timm_net(num_classes=0)
    assert given_backbone(bare).module is bare


def test_ones_own_net_keeps_its_last_layer() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(16, 10)

        def forward(self, pictures: Tensor) -> Tensor:
            features: Tensor = self.fc(pictures.flatten(1))
            return features

    own = Own()
    net = EmbeddingNet(own, image_size=4)
    assert net.backbone is own
    assert net.head.in_features == 10
    assert (net.in_channels, net.preprocessing) == (1, None)
    assert EmbeddingNet(nn.Conv2d(1, 2, 3)).image_size == (28, 28)


def test_a_given_net_of_other_channels() -> None:
    module = torchvision_net()
    module.conv1 = nn.Conv2d(1, 64, 7, stride=2)
    net = EmbeddingNet(module, image_size=32)
    assert net.in_channels == 1
    assert net.preprocessing is not None
    assert net.preprocessing.mean == pytest.approx((sum(IMAGENET[0]) / 3,))


def test_a_net_that_was_built_by_its_name_is_loaded_by_it(tmp_path: Path) -> None:
    net = EmbeddingNet("resnet18", image_size=(32, 24), embedding_dim=3)
    assert (net.backbone_name, net.image_size, net.in_channels, net.pretrained) == ("resnet18", (32, 24), 3, False)
    model = SimilarityModel(net).eval()
    model.save_pretrained(tmp_path)
    loaded = SimilarityModel.from_pretrained(tmp_path)
    pixels = torch.randint(0, 256, (2, 3, 32, 24), dtype=torch.uint8)
    assert torch.equal(loaded.encode(pixels), model.encode(pixels))


def test_a_source_is_added_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = ModuleType("toy_nets")
    known = Preprocessing(image_size=(8, 8), channels=3)
    added: dict[str, Any] = {
        "EXTRA": None,
        "names": lambda: ["flat"],
        "build": lambda name, request: (nn.Flatten(), known),
        "adapt": lambda module: None,
    }
    vars(toy).update(added)
    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, ("toy/", toy)))
    assert registry.backbone_names("toy/") == ["toy/flat"]
    assert registry.is_backbone_name("toy/flat")
    net = EmbeddingNet("toy/flat", embedding_dim=4)
    assert net.preprocessing == known
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"got 'toy/flt'\. Did you mean toy/flat"):
        EmbeddingNet("toy/flt")


def test_embeddings_of_another_model_are_a_backbone() -> None:
    net = EmbeddingNet("embeddings", in_channels=5, image_size=1, embedding_dim=3)
    given = torch.randn(4, 5, 1, 1)
    assert isinstance(net.head, nn.Linear)
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(3, 5))
        net.head.bias.zero_()
    assert torch.allclose(net(given), torch.nn.functional.normalize(given[:, :3, 0, 0]), atol=1e-6)
    assert net.preprocessing is not None
    assert net.preprocessing.of_vectors
    with pytest.raises(ValueError, match="Expected in_channels, the length of an embedding, for embeddings, got none"):
        EmbeddingNet("embeddings")
