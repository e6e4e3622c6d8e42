"""Backbones by name: what torchvision and timm give without their classifier, and what is said where that fails."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import MissingExtraError, RunError
from pairsim.images import Preprocessing
from pairsim.models.backbones import backbone_names, given_backbone, named_backbone, read_weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def images(num: int = 2, size: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(3))


def torchvision_net(name: str = "resnet18") -> Any:
    from torchvision import models

    return models.get_model(name, weights=None, num_classes=7).eval()


def timm_net(name: str = "resnet10t", **settings: Any) -> Any:
    timm = pytest.importorskip("timm")
    return timm.create_model(name, pretrained=False, **settings).eval()


def same_state(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_names() -> None:
    names = backbone_names()
    assert {"resnet18", "vit_b_16"} <= set(names)
    assert "fasterrcnn_resnet50_fpn" not in names
    assert all("MobileNet".lower() in name for name in backbone_names("MobileNet"))
    assert backbone_names("no such net") == []
    pytest.importorskip("timm")
    assert {"timm/resnet10t", "timm/resnet18.a1_in1k"} <= set(names)


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


def test_wrapped_state_dicts_are_unwrapped(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in torchvision_net().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pt")
    assert "conv1.weight" in read_weights(tmp_path / "w.pt")
    assert named_backbone("resnet18", weights=tmp_path / "w.pt").pretrained


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
    torch.save(theirs.state_dict(), cache / Path(models.ResNet18_Weights.DEFAULT.url).name)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = named_backbone("resnet18", weights="pretrained")
    assert found.pretrained
    assert torch.equal(found.module.conv1.weight, theirs.conv1.weight)  # type: ignore[union-attr, arg-type]


def test_without_a_network_pretrained_weights_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")

    def fail(*args: Any, **settings: Any) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "_hub_dir", "/absent/hub")
    monkeypatch.setattr("os.makedirs", lambda *args, **settings: None)
    monkeypatch.setattr(timm, "create_model", fail)
    for name in ("resnet18", "timm/resnet10t"):
        with pytest.raises(
            RunError, match=rf"pretrained weights of {name} .* failed: .*not known\. Connect to"
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


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"Expected weights at .*absent.pth, found no such file"):
        named_backbone("resnet18", weights=tmp_path / "absent.pth")
    file = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), file)  # a pickled module is code
    with pytest.raises(RunError, match=r"Expected a state dict in .*UnpicklingError.*pickled modules are not loaded"):
        named_backbone("resnet18", weights=file)
    torch.save([1, 2], file)
    with pytest.raises(RunError, match=r"Expected a state dict, names and tensors, in .*found something else"):
        named_backbone("resnet18", weights=file)
    for bad in (tmp_path / "text.pth", tmp_path / "text.safetensors"):
        bad.write_text("no weights at all")
        with pytest.raises(RunError, match=r"Expected a state dict in .*but reading it failed"):
            named_backbone("resnet18", weights=bad)


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


def test_images_that_a_backbone_does_not_take() -> None:
    with pytest.raises(ValueError, match=r"Expected in_channels=3 for resnet18, got 1\. Leave it out"):
        EmbeddingNet("resnet18", in_channels=1)
    with pytest.raises(ValueError, match=r"Expected vit_b_32 to take images of 30 x 30, but building it failed"):
        EmbeddingNet("vit_b_32", image_size=30)
    with pytest.raises(ValueError, match="Expected a square image_size for vit_b_32"):
        EmbeddingNet("vit_b_32", image_size=(32, 64))
    with pytest.raises(ValueError, match="Expected weights together with a backbone's name, got them with Flatten"):
        EmbeddingNet(nn.Flatten(), weights="w.pth")


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


def test_auxiliary_classifiers_are_dropped() -> None:
    from torchvision.models import googlenet

    module = googlenet(weights=None, init_weights=False)
    net = EmbeddingNet(module, image_size=32)
    assert net.train()(images()).shape == (2, 128)
    assert module.aux1 is not None
    assert module.aux_logits


def test_the_model_takes_over_the_backbones_preprocessing() -> None:
    net = EmbeddingNet("resnet18", image_size=(40, 32))
    model = SimilarityModel(net)
    assert model.preprocessing == net.preprocessing
    assert model.preprocessing.image_size == (40, 32)
    own = Preprocessing(image_size=(40, 32), channels=3)
    assert SimilarityModel(net, preprocessing=own).preprocessing == own


def test_grey_pixels_for_a_colour_net_and_colour_for_a_grey_one() -> None:
    model = SimilarityModel(EmbeddingNet("resnet18", image_size=32)).eval()
    grey = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)
    colour = grey.expand(-1, 3, -1, -1)
    for embed in (model.embed, model.encode):
        assert torch.equal(embed(grey), embed(colour))
    assert torch.equal(model(grey, grey.flip(0)), model(colour, colour.flip(0)))
    with pytest.raises(ValueError, match="Expected images with 3 channels"):
        model.embed(grey.float())
    with pytest.raises(ValueError, match="Expected images with 3 channels"):
        model.embed(torch.zeros(1, 2, 32, 32, dtype=torch.uint8))
    plain = SimilarityModel().eval()
    pixels = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(plain.embed(pixels.expand(-1, 3, -1, -1)), plain.embed(pixels), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v3_small",
        "timm/mobilenetv3_small_050",
        "timm/efficientnet_lite0",
        "timm/vit_tiny_patch16_224",
    ],
)
def test_encode_equals_embed(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    model = SimilarityModel(EmbeddingNet(name, image_size=32))
    with torch.no_grad():
        for module in model.modules():  # statistics as after training, so that folding has something to fold
            if (
                isinstance(module, nn.BatchNorm2d)
                and module.running_mean is not None
                and module.running_var is not None
            ):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    model.eval()
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(pixels), model.embed(pixels), rtol=0, atol=2e-5)


def test_colour_pixels_stay_in_colour_for_ones_own_net_that_does_not_state_its_channels() -> None:
    model = SimilarityModel(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())).eval()
    assert model.preprocessing.channels == 3
    pixels = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    assert torch.equal(model.embed(pixels), model.embed(pixels.float() / 255))


REGNETS_TO_TRY = ("regnet_x_400mf", "regnet_y_400mf")  # they cannot be built without memory, and are all of one class


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in backbone_names() if "/" not in n and "regnet" not in n] + [*REGNETS_TO_TRY]
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
