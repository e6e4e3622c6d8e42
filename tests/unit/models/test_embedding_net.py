from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet, Gallery, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.models.embedding_net import eval_mode

REFERENCE = {
    "conv.0.weight": (32, 1, 5, 5), "conv.0.bias": (32,), "conv.1.weight": (32,), "conv.1.bias": (32,),
    "conv.1.running_mean": (32,), "conv.1.running_var": (32,), "conv.1.num_batches_tracked": (),
    "conv.4.weight": (64, 32, 5, 5), "conv.4.bias": (64,), "conv.5.weight": (64,), "conv.5.bias": (64,),
    "conv.5.running_mean": (64,), "conv.5.running_var": (64,), "conv.5.num_batches_tracked": (),
    "fc.1.weight": (128, 3136), "fc.1.bias": (128,), "fc.2.weight": (128,), "fc.2.bias": (128,),
    "fc.2.running_mean": (128,), "fc.2.running_var": (128,), "fc.2.num_batches_tracked": (),
}  # fmt: skip


def test_the_references_names_and_shapes() -> None:
    assert {name: tuple(value.shape) for name, value in EmbeddingNet().state_dict().items()} == REFERENCE


@pytest.mark.parametrize("image_size", [4, 17, 28, (20, 36)])
@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_any_size_and_channels(image_size: Any, in_channels: int) -> None:
    net = EmbeddingNet(image_size=image_size, in_channels=in_channels, embedding_dim=70).eval()
    embeddings = net(torch.rand(3, in_channels, *net.image_size))
    assert embeddings.shape == (3, 70)
    lengths = embeddings.norm(dim=1)
    assert bool(((lengths - 1).abs() < 1e-5).all())


class Backbone(nn.Module):
    """Features with or without space, batch norm and dropout inside."""

    def __init__(self, spatial: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout(0.5))
        self.spatial = spatial

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features if self.spatial else features.flatten(1)


@pytest.mark.parametrize(("spatial", "size"), [(True, 6), (False, 6 * 8 * 8)])
def test_backbone_feature_size_is_found_and_its_state_left_alone(spatial: bool, size: int) -> None:
    backbone = Backbone(spatial)
    backbone.layers[2].eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    net = EmbeddingNet(backbone, in_channels=3, image_size=10, embedding_dim=5)
    assert net.head.in_features == size
    assert net(torch.rand(2, 3, 10, 10)).shape == (2, 5)
    assert backbone.training
    assert not backbone.layers[2].training
    net = EmbeddingNet(Backbone(spatial), in_channels=3, image_size=10)
    assert all(torch.equal(before[n], v) for n, v in before.items())
    assert int(net.backbone.state_dict()["layers.1.num_batches_tracked"]) == 0  # type: ignore[union-attr]


def test_torchvision_backbone() -> None:
    from torchvision.models import resnet18

    net = EmbeddingNet(resnet18(weights=None), in_channels=3, image_size=32, embedding_dim=16)
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 16)


def test_backbone_that_does_not_fit() -> None:
    with pytest.raises(
        ValueError, match=r"take images of shape \[2, 1, 28, 28\], but it failed.*Set in_channels and image_size"
    ):
        EmbeddingNet(nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"Expected the backbone to give features \[N, F\] .* got \[2, 28, 28\]"):
        EmbeddingNet(nn.Flatten(1, 2))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (
            torch.rand(28, 28),
            r"shape \[N, C, H, W\], got \[28, 28\]\. Add batch and channel dimensions: x\[None, None\]\.$",
        ),
        (torch.rand(1, 28, 28), r"shape \[N, C, H, W\], got \[1, 28, 28\]\. Add a batch dimension"),
        (torch.rand(2, 3, 28, 28), r"with 1 channel \[N, 1, H, W\], got \[2, 3, 28, 28\]\."),
        (torch.rand(2, 1, 32, 32), r"of 28 x 28 pixels, got \[2, 1, 32, 32\]\."),
        (
            torch.zeros(2, 1, 28, 28, dtype=torch.uint8),
            r"as preprocessed floating point, got torch\.uint8\. Give",
        ),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), r"as preprocessed floating point, got torch\.int64\."),
    ],
)
def test_images_that_the_net_alone_does_not_take(images: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected images (to have )?{said}"):
        EmbeddingNet().eval()(images)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_the_check_of_images_is_not_traced() -> None:
    net, images = EmbeddingNet().eval(), torch.rand(2, 1, 28, 28)
    more = torch.rand(3, 1, 28, 28)
    program = torch.export.export(net, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for traced in (program.module(), torch.compile(net, backend="eager", fullgraph=True), torch.jit.trace(net, images)):
        torch.testing.assert_close(traced(more), net(more))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64, torch.complex64])
def test_features_of_another_format_are_named_at_once(dtype: torch.dtype) -> None:
    class Converting(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).to(dtype)

    said = rf"^Expected the backbone to give features in torch\.float32, got {dtype}\. Convert them at its end\.$"
    with pytest.raises(ValueError, match=said):
        EmbeddingNet(Converting(1, 4, 3))
    if dtype.is_floating_point:
        net = EmbeddingNet(Converting(1, 4, 3), head="none")
        assert net(torch.rand(2, 1, 28, 28)).shape == (2, 4)


@pytest.mark.parametrize("settings", [{"image_size": 3}, {"in_channels": 0}, {"embedding_dim": 0}])
def test_bad_sizes(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected .* to be at least"):
        EmbeddingNet(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"image_size": "a"}, TypeError, r"Expected image_size to be a whole number or \(height, width\), got 'a'"),
        ({"image_size": (28, 28, 1)}, TypeError, r"or \(height, width\), got \(28, 28, 1\)"),
        ({"image_size": 28.0}, TypeError, r"Expected image_size to be a whole number of at least 4, got 28\.0"),
        ({"image_size": (28, 2)}, ValueError, "Expected image_size to be at least 4, got 2"),
        ({"backbone": 3}, TypeError, 'Expected backbone to be a module, a name such as "resnet18" or None, got int'),
        ({"backbone": nn.Flatten}, TypeError, "got the class Flatten"),
        ({"head": "x"}, ValueError, "Expected head to be one of none, standardize, whiten, linear, mlp, got 'x'"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        EmbeddingNet(**settings)


def test_sizes_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    net = EmbeddingNet(in_channels=np.int64(1), image_size=np.int64(8), embedding_dim=np.int64(4))  # type: ignore[arg-type]
    SimilarityModel(net).save_pretrained(tmp_path)
    assert SimilarityModel.from_pretrained(tmp_path).encode(torch.rand(3, 1, 8, 8)).shape == (3, 4)


def test_without_normalisation() -> None:
    net = EmbeddingNet(normalize=False).eval()
    lengths = net(torch.rand(4, 1, 28, 28)).detach().norm(dim=1)
    assert float((lengths - 1).abs().max()) > 1e-3


def test_pooling_before_relu_is_the_notebooks_order() -> None:
    net = EmbeddingNet()
    notebook = EmbeddingNet()
    notebook.load_state_dict(net.state_dict(), strict=True)
    layers = list(notebook.conv)
    notebook.conv = nn.Sequential(*(layers[place] for place in (0, 1, 3, 2, 4, 5, 7, 6)))
    assert [type(layer).__name__ for layer in notebook.conv][:4] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    weight = torch.randn(128)
    for training in (True, False):
        images = torch.randn(16, 1, 28, 28)
        inputs, outputs, gradients = [], [], []
        for one in (net, notebook):
            one.train(training).zero_grad()
            inputs.append(images.clone().requires_grad_())
            outputs.append(one(inputs[-1]))
            (outputs[-1] @ weight).sum().backward()
            gradients.append([p.grad for p in one.fc.parameters()] + [p.grad for p in one.conv.parameters()])
        assert torch.equal(outputs[0], outputs[1])
        for a, b in zip(gradients[0], gradients[1], strict=True):
            assert a is not None
            assert b is not None
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=0, atol=0)


class Given(nn.Module):
    """A net that makes something else of its `[N, 4]` features."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.change = change

    def forward(self, images: Tensor) -> Any:
        return self.change(self.conv(images).mean((2, 3)))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda x: x[:, :, None, None], ValueError, r"\[N, D\], got \[\d+, 4, 1, 1\]\. Append .*nn\.Flatten\(\) to it"),
        (lambda x: x[:, :, None], ValueError, r"\[N, D\], got \[\d+, 4, 1\]\. Append nn\.Flatten\(\) to it"),
        (lambda x: x[:, 0], ValueError, r"\[N, D\], got \[\d+\]\. Return one row for each image"),
        (Tensor.sum, ValueError, r"\[N, D\], got \[\]\. Return one row for each image"),
        (lambda x: x.to(torch.complex64), ValueError, r"real numbers, got torch\.complex64\. Return torch\.view"),
        (lambda x: (x, x), TypeError, r"as a tensor \[N, D\], got tuple\. Return one tensor"),
        (lambda x: SimpleNamespace(last=x), TypeError, r"as a tensor \[N, D\], got SimpleNamespace\."),
    ],
)
def test_a_net_that_does_not_return_embeddings_is_named(
    change: Callable[[Tensor], Any], error: type[Exception], said: str
) -> None:
    model = SimilarityModel(Given(change)).eval()
    pixels = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    data = ImageTensors(pixels[:4], [0, 0, 1, 1])
    calls: list[Callable[[], Any]] = [
        lambda: model.embed(pixels),
        lambda: model(pixels, pixels),
        lambda: model.get_raw_similarity(pixels, pixels),
        lambda: model.encode(pixels[:1]),
        lambda: model.encode(pixels),
        lambda: model.verify(pixels[:1], pixels[1:2]),
        lambda: Gallery(model).add(pixels, list("abcde")),
        lambda: Trainer(model, TrainConfig(epochs=1, batch_size=4), train=data, val=data).fit(),
    ]
    for call in calls:
        with pytest.raises(error, match=f"^Expected Given to return .*{said}"):
            call()


def test_embeddings_are_checked_while_traced_and_mapped() -> None:
    model = SimilarityModel(Given(lambda features: features)).eval()
    images = torch.rand(3, 2, 1, 28, 28)
    with torch.no_grad():
        expected = torch.stack([model.embed(batch) for batch in images])
        torch.testing.assert_close(torch.func.vmap(model.embed)(images), expected)
        compiled = torch.compile(model.embed, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images[0]), expected[0])


def partly_in_eval_mode() -> nn.Sequential:
    made = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.ReLU()))
    made[1].eval()
    return made


def test_each_part_gets_its_own_mode_back() -> None:
    module = partly_in_eval_mode()
    before = [part.training for part in module.modules()]
    with eval_mode(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
    module.eval()
    with eval_mode(module):
        pass
    assert not any(part.training for part in module.modules())


def test_after_an_error_too() -> None:
    module = partly_in_eval_mode()
    with pytest.raises(ValueError, match="stop"), eval_mode(module):
        raise ValueError("stop")
    assert module.training
    assert not module[1].training
