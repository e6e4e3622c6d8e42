"""Which batch norms are folded, and that a copy for inference is never another net."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pairsim import EmbeddingNet
from pairsim.models.inference.folding import PairwiseMax, fold_batch_norm, inference_copy, is_plain, parts_of


def trained(net: nn.Module) -> nn.Module:
    """In eval mode, with batch norms that do something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.running_mean is not None:
            with torch.no_grad():
                module.running_mean.normal_(0, 0.3)
                assert module.running_var is not None
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.uniform_(-1.5, 1.5)
                    module.bias.normal_(0, 0.3)
    return net.eval()


class Net(nn.Module):
    """A convolution and a batch norm of 3 channels each, joined as a function says."""

    def __init__(self, join: Callable[[nn.Module, nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.join = join

    def forward(self, images: Tensor) -> Tensor:
        return self.join(self.conv, self.norm, images).flatten(1)


def in_turn(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = norm(conv(x))
    return y


def with_look_at_shape(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    y = y.relu() if y.shape[0] > 100 else norm(y)
    return y


def skip(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    return norm(y) + y  # type: ignore[no-any-return]


def in_place_between(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    y.relu_()
    return norm(y)  # type: ignore[no-any-return]


def twice(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    return norm(conv(norm(conv(x))))  # type: ignore[no-any-return]


def norm_twice(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    return norm(norm(conv(x)))  # type: ignore[no-any-return]


def before(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    return conv(norm(x))  # type: ignore[no-any-return]


def kept_aside(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    norm(y)
    return y


def listed(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    return torch.cat([norm(y), y])[: len(x)]


def only_with_company(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = conv(x)
    return norm(y) if len(y) > 1 else y


@pytest.mark.parametrize(
    ("join", "folded"),
    [
        (in_turn, 1),
        (with_look_at_shape, 0),
        (skip, 0),
        (in_place_between, 0),
        (twice, 0),
        (norm_twice, 0),
        (before, 0),
        (kept_aside, 0),
        (listed, 0),
        (only_with_company, 0),
    ],
)
def test_only_what_alone_takes_a_layers_output_is_folded(
    join: Callable[[nn.Module, nn.Module, Tensor], Tensor], folded: int
) -> None:
    net = trained(Net(join))
    images = torch.rand(4, 3, 6, 6)
    faster = copy.deepcopy(net)
    with torch.no_grad():
        assert fold_batch_norm(faster, images) == folded
        for part in (images, images[:1]):
            torch.testing.assert_close(faster(part), net(part), rtol=0, atol=1e-5)
    assert isinstance(faster.norm, nn.Identity) == bool(folded)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, eps=0.1),
        nn.GroupNorm(1, 3),
    ],
)
def test_kinds_of_norm(norm: nn.Module) -> None:
    net = trained(nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), norm, nn.Flatten()))
    images = torch.rand(3, 3, 6, 6)
    faster = copy.deepcopy(net)
    with torch.no_grad():
        foldable = isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats
        assert fold_batch_norm(faster, images) == int(foldable)
        torch.testing.assert_close(faster(images), net(images), rtol=0, atol=1e-5)


def test_batch_norm_over_another_dimension_than_the_linear_layers() -> None:
    net = trained(nn.Sequential(nn.Flatten(2), nn.Linear(9, 3), nn.BatchNorm1d(3), nn.Flatten()))  # [N, 3, 3]: of dim 1
    images = torch.rand(2, 3, 3, 3)
    assert inference_copy(net, images) is None
    shared = nn.Linear(9, 9)
    net = trained(nn.Sequential(nn.Flatten(), shared, nn.BatchNorm1d(9), nn.ReLU(), shared))
    assert inference_copy(net, torch.rand(2, 1, 3, 3)) is None


class Dense(nn.Module):
    """Blocks as in a DenseNet, whose first batch norm takes a tensor that is freed afterwards."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [3 + 2 * number for number in range(8)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(size, 2, 1), nn.BatchNorm2d(2)) for size in sizes)

    def forward(self, images: Tensor) -> Tensor:
        for norm, block in zip(self.norms, self.blocks, strict=True):
            images = torch.cat((images, block(norm(images.relu()))), dim=1)
        return images.flatten(1)


def test_a_tensor_in_the_memory_of_an_earlier_one_is_another_tensor() -> None:
    net = trained(Dense())
    with torch.no_grad():
        assert fold_batch_norm(net, torch.rand(2, 3, 6, 6)) == 8


def test_reference_net_is_folded_whole_and_left_alone() -> None:
    net = trained(EmbeddingNet())
    state = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.randn(8, 1, 28, 28)
    faster = inference_copy(net, images)
    assert faster is not None
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d | nn.MaxPool2d) for m in faster.modules())
    assert not faster.training
    with torch.no_grad():
        more = torch.randn(64, 1, 28, 28)
        torch.testing.assert_close(faster(more), net(more), rtol=0, atol=1e-6)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_backbone_of_torchvision() -> None:
    from torchvision.models import resnet18

    net = trained(EmbeddingNet(resnet18(weights=None), in_channels=3, image_size=32, embedding_dim=16))
    images = torch.rand(3, 3, 32, 32)
    faster = inference_copy(net, images)
    assert faster is not None
    assert not any(isinstance(module, nn.BatchNorm2d) for module in faster.modules())
    with torch.no_grad():
        torch.testing.assert_close(faster(images), net(images), rtol=0, atol=1e-5)


class Views(nn.Module):
    """Takes images laid out in one way only, as `view` does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features.view(len(images), -1)


def test_net_that_does_not_take_channels_last() -> None:
    net = trained(Views())
    images = torch.rand(3, 1, 8, 8)
    faster = inference_copy(net, images)
    assert faster is not None
    with torch.no_grad():
        torch.testing.assert_close(faster(images), net(images), rtol=0, atol=1e-5)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features + torch.randn_like(features)


class NoCopies(nn.Sequential):
    def __deepcopy__(self, memo: object) -> NoCopies:
        raise RuntimeError("not this one")


def test_what_differs_or_cannot_be_copied_is_not_used() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert inference_copy(trained(Noisy()), images) is None
    net = NoCopies(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    assert inference_copy(trained(net), images) is None
    assert inference_copy(nn.Flatten().eval(), images) is None


def test_hooks_and_wrappers_are_not_plain() -> None:
    net = EmbeddingNet()
    assert is_plain(*parts_of(net))
    handle = net.fc[1].register_forward_hook(lambda *_: None)
    assert not is_plain(*parts_of(net))
    handle.remove()
    assert is_plain(*parts_of(net))
    assert not is_plain(*parts_of(nn.DataParallel(net)))
    assert not is_plain(*parts_of(nn.Sequential(nn.LazyLinear(3))))


@pytest.mark.parametrize("size", [(4, 4), (5, 8), (7, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairwise_max_is_max_pooling(size: tuple[int, int], dtype: torch.dtype) -> None:
    images = torch.randn(3, 5, *size).to(dtype)
    images[0, 0, 0, 0] = torch.nan
    images[1, 1, 1, 1] = -torch.inf
    for layout in (torch.contiguous_format, torch.channels_last):
        found = PairwiseMax()(images.contiguous(memory_format=layout))
        assert torch.equal(found.nan_to_num(7.0), nn.MaxPool2d(2)(images).nan_to_num(7.0))
        assert found.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d(2, padding=1)]
)
def test_other_pools_stay(pool: nn.Module) -> None:
    net = trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), pool, nn.Conv2d(2, 2, 2), nn.Flatten()))
    images = torch.rand(2, 1, 11, 11)
    faster = inference_copy(net, images)
    assert faster is not None
    assert any(isinstance(module, nn.MaxPool2d) for module in faster.modules())
    with torch.no_grad():
        torch.testing.assert_close(faster(images), net(images), rtol=0, atol=1e-5)
