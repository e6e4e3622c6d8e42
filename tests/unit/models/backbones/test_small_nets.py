"""pairsim's own small nets: built by name, rebuilt from a saved model, exported, drawn and folded like any other."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.models.backbones import backbone_names, named_backbone
from pairsim.models.backbones.small_nets import names
from pairsim.models.inference.folding import inference_copy

NAMES = ("conv4", "resnet12")


def net_of(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = named_backbone(name).module
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-0.3, 0.3)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    return module.eval()


def test_they_are_listed_first() -> None:
    assert tuple(names()) == NAMES
    assert set(NAMES) <= set(backbone_names())


def test_conv4_is_four_blocks_of_the_papers() -> None:
    module, images = net_of("conv4"), torch.rand(3, 1, 28, 28)
    values = images
    layers = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    assert [layer.out_channels for layer in layers[::2]] == [64, 64, 128, 128]
    for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
        values = norm(functional.conv2d(values, convolution.weight, padding=1))
        values = functional.max_pool2d(values.relu(), 2)
    assert values.shape == (3, 128, 1, 1)
    torch.testing.assert_close(module(images), values.flatten(1))


def test_resnet12_is_four_residual_blocks() -> None:
    module, values = net_of("resnet12"), torch.rand(2, 1, 32, 32)
    expected = module(values)
    for number, channels in enumerate((32, 64, 128, 256), start=1):
        part = module.get_submodule(f"block{number}")
        convolved, layers = values, list(part.get_submodule("convolutions"))  # type: ignore[call-overload]
        for place in range(0, 8, 3):
            convolved = layers[place + 1](functional.conv2d(convolved, layers[place].weight, padding=1))
            convolved = convolved.relu() if place < 6 else convolved
        shortcut = part.get_submodule("shortcut")
        values = functional.max_pool2d(convolved + shortcut(values), 2).relu()
        assert values.shape[1] == channels
    assert values.shape == (2, 256, 2, 2)
    torch.testing.assert_close(expected, values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size"), [(1, 16), (3, 28), (2, (30, 45))])
def test_images_of_other_channels_and_sizes(name: str, channels: int, size: int | tuple[int, int]) -> None:
    net = EmbeddingNet(name, in_channels=channels, image_size=size, embedding_dim=5)
    height, width = net.image_size
    assert net(torch.rand(2, channels, height, width)).shape == (2, 5)
    assert (net.preprocessing, net.has_known_backbone) == (None, False)
    model = SimilarityModel(net).eval()
    if name == "conv4":
        assert net.head.in_features == 128 * (height // 16) * (width // 16)
        with pytest.raises(ValueError, match=rf"Expected images of {height} x {width} pixels, got"):
            model.embed(torch.rand(2, channels, height + 1, width))
    else:
        assert model.embed(torch.rand(2, channels, height + 9, width)).shape == (2, 5)


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_of_28_pixels_are_the_default(name: str) -> None:
    net = EmbeddingNet(name)
    assert (net.in_channels, net.image_size, net.backbone_name) == (1, (28, 28), name)


@pytest.mark.parametrize("name", NAMES)
def test_what_they_cannot_do(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"Expected image_size of at least 16 for {name}, got 28 x 15. Enlarge"):
        EmbeddingNet(name, image_size=(28, 15))
    with pytest.raises(ValueError, match=rf"Expected no pretrained weights for {name}: there are none. Leave weights"):
        EmbeddingNet(name, weights="pretrained")
    torch.save({"other.weight": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=rf"Expected weights of {name} in .*w.pt, but they do not fit: Missing key"):
        EmbeddingNet(name, weights=tmp_path / "w.pt")


@pytest.mark.parametrize("name", NAMES)
def test_weights_from_a_file(name: str, tmp_path: Path) -> None:
    module = net_of(name)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    found = named_backbone(name, weights=tmp_path / "w.pt")
    assert found.pretrained
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(found.module.eval()(images), module(images))


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_model_is_loaded_by_the_name(name: str, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (32, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = SimilarityModel(EmbeddingNet(name, image_size=16, embedding_dim=8))
    config = TrainConfig(epochs=1, batch_size=16, out=tmp_path, precision="fp32", progress=False)
    trainer = Trainer(model, config, train=ImageTensors(pixels, [0, 1, 2, 3] * 8))
    assert (trainer.config.optimizer, trainer.config.learning_rate) == ("adam", 1e-2)
    trainer.fit()
    loaded = SimilarityModel.from_pretrained(tmp_path)
    assert loaded.preprocessing.mean is not None
    torch.testing.assert_close(loaded.encode(pixels), model.encode(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_is_folded_for_inference(name: str) -> None:
    module, images = net_of(name), torch.rand(4, 1, 28, 28)
    faster = inference_copy(copy.deepcopy(module), images)
    assert faster is not None
    assert not any(isinstance(part, nn.BatchNorm2d) for part in faster.modules())
    torch.testing.assert_close(faster(images), module(images), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv4", "resnet12"])
def test_it_is_exported(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from pairsim.export import export_onnx, load_onnx

    model = SimilarityModel(EmbeddingNet(net_of(name), embedding_dim=4)).eval()
    export_onnx(model, tmp_path / "net.onnx")
    pixels = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    with torch.no_grad():
        expected: Tensor = model.embed(pixels)
    found = load_onnx(tmp_path / "net.onnx").embed(pixels.numpy())
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_drawn(name: str) -> None:
    from pairsim.visual.nets.net_outline import outline_net

    blocks = outline_net(EmbeddingNet(name), (1, 28, 28))
    assert [block.output_shape for block in blocks][-1] == (128,)
    assert len(blocks) >= 5
    assert sum(block.num_parameters * block.repeats for block in blocks) >= 200_000
