"""Small nets for drawings and other small images, trained from scratch: pairsim's own backbones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from itertools import pairwise

from torch import Tensor, nn

from pairsim.models.backbones.building import PRETRAINED, BackboneRequest, read_weights
from pairsim.models.weight_names import check_kinds

EXTRA = None
"""They need no other package."""

_IMAGE_SIZE = 28
_MIN_SIZE = 16
"""Four poolings halve the sides four times."""


class Conv4(nn.Sequential):
    """Four blocks of 3x3 convolution, batch norm, max-pooling and ReLU, with 64, 64, 128 and 128 channels.

    The last two blocks of the papers have 64 channels. Pooling before ReLU gives the same values in less time. The
    features are all values of the last block, so that their places count; they fit images of one size.

    Args:
        in_channels: Channels of the images.

    Attributes:
        takes_one_size: `True`.

    References:
        Vinyals et al., "Matching networks for one shot learning", NeurIPS 2016.
        Snell, Swersky, Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.
    """

    takes_one_size = True

    def __init__(self, in_channels: int) -> None:
        channels = (in_channels, 64, 64, 128, 128)
        blocks = (
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ReLU()
            )
            for before, after in pairwise(channels)
        )
        super().__init__(OrderedDict((f"block{number}", block) for number, block in enumerate(blocks, start=1)))
        self.add_module("flatten", nn.Flatten())


class ResNet12(nn.Sequential):
    """Four residual blocks of three 3x3 convolutions each, with 32, 64, 128 and 256 channels.

    The blocks are those of few-shot learning; the papers have 64 channels or more in the first block, for larger
    photographs.

    Args:
        in_channels: Channels of the images.

    References:
        Oreshkin, Rodriguez, Lacoste, "TADAM: Task dependent adaptive metric for improved few-shot learning", NeurIPS
        2018.
        Lee et al., "Meta-learning with differentiable convex optimization", CVPR 2019.
    """

    def __init__(self, in_channels: int) -> None:
        channels = (in_channels, 32, 64, 128, 256)
        blocks = (ResidualBlock(before, after) for before, after in pairwise(channels))
        super().__init__(OrderedDict((f"block{number}", block) for number, block in enumerate(blocks, start=1)))


class ResidualBlock(nn.Module):
    """Three convolutions beside a 1x1 convolution; their sum is pooled.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (in_channels, channels, channels):
            layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        self.convolutions: nn.Sequential = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Sequential = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.pool: nn.MaxPool2d = nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        """Map `[N, in_channels, H, W]` to `[N, channels, H // 2, W // 2]`."""
        pooled: Tensor = self.pool(self.convolutions(images) + self.shortcut(images))
        return pooled.relu()


_NETS = {"conv4": Conv4, "resnet12": ResNet12}


def names() -> Collection[str]:
    """Return the names of its nets."""
    return _NETS


def build(name: str, request: BackboneRequest) -> tuple[nn.Module, None]:
    """Build a net; see `named_backbone`. Its preprocessing follows from the images that it is trained on."""
    size = request.image_size or (_IMAGE_SIZE, _IMAGE_SIZE)
    if min(size) < _MIN_SIZE:
        raise ValueError(
            f"Expected image_size of at least {_MIN_SIZE} for {name}, got {size[0]} x {size[1]}. Enlarge the images, "
            "or leave the backbone out for the reference network."
        )
    if request.weights == PRETRAINED:
        raise ValueError(
            f"Expected no pretrained weights for {name}: there are none. Leave weights out to train it from scratch, "
            "or give weights=FILE."
        )
    module: nn.Module = _NETS[name](request.in_channels or 1)
    if request.weights is not None:
        try:
            state = read_weights(request.weights)
            check_kinds(state, module.state_dict(), request.weights)
            module.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise request.not_fitting(error) from error
    return module, None


def adapt(module: nn.Module) -> None:  # noqa: ARG001
    """Return `None`: its nets have no classifier to remove and no preprocessing of their own."""
    return
