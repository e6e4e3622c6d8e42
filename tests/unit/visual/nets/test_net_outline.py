from __future__ import annotations

import pytest
import torch
from torch import nn

from pairsim import EmbeddingNet
from pairsim.visual.nets.net_outline import MAX_BLOCKS, num_parameters, outline_net


def test_blocks_have_the_sizes_and_parameters_of_the_net() -> None:
    net = EmbeddingNet()
    blocks = outline_net(net, (1, 28, 28))
    assert [block.output_shape for block in blocks] == [(32, 14, 14), (64, 7, 7), (128,)]
    assert blocks[0].layers == ("Conv 5 × 5", "BatchNorm", "MaxPool 2 × 2", "ReLU")
    assert sum(block.num_parameters for block in blocks) == num_parameters(net)


def test_the_mode_of_every_module_is_restored_and_hooks_are_removed() -> None:
    net = EmbeddingNet().train()
    frozen = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    outline_net(net, (1, 28, 28))
    assert [module for module in net.modules() if not module.training] == [frozen]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_repeated_blocks_are_one() -> None:
    layers = [nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True) for _ in range(3)]
    net = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 8), nn.Sequential(*layers))
    assert [block.repeats for block in outline_net(net, (1, 8, 8))] == [1, 3]


def test_the_depth_opens_modules() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), inner)
    assert [block.layers for block in outline_net(net, (1, 2, 2), depth=1)] == [("Flatten", "Linear"), ("Sequential",)]
    assert [block.layers for block in outline_net(net, (1, 2, 2), depth=2)] == [
        ("Flatten", "Linear"), ("Linear", "ReLU"), ("Linear",)
    ]  # fmt: skip


def test_without_a_depth_there_are_few_blocks() -> None:
    wide = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)) for _ in range(8)))
    blocks = outline_net(nn.Sequential(nn.Flatten(), wide), (1, 2, 2))
    assert 1 <= len(blocks) <= MAX_BLOCKS


def test_blocks_are_in_the_order_of_calls() -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(9, 4)
            self.unused = nn.Linear(5, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = self.last(self.first(images.flatten(1)))
            return values

    assert [block.output_shape for block in outline_net(Swapped(), (1, 3, 3))] == [(4,), (2,)]


def test_a_net_without_modules_is_one_block() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(9, 2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ self.weight

    (block,) = outline_net(Weighted(), (1, 3, 3))
    assert (block.layers, block.output_shape, block.num_parameters) == (("Weighted",), (2,), 18)


def test_an_output_that_is_no_tensor_has_no_shape() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = self.lstm(images[:, 0])[0][:, -1]
            return values

    assert [block.output_shape for block in outline_net(Last(), (1, 3, 3))] == [()]


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="Expected depth to be at least 1, got 0"):
        outline_net(nn.Flatten(), (1, 2, 2), depth=0)
    net = nn.Linear(3, 1)
    with pytest.raises(ValueError, match=r"to take images of shape \[1, 1, 5, 5\], but it failed"):
        outline_net(net, (1, 5, 5))
    assert not net._forward_hooks
