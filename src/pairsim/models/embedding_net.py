"""`EmbeddingNet`: images in, unit-length embeddings out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_EPS = 1e-6
"""Embeddings shorter than this count as zero: they have no direction, and no gradient that would point anywhere."""


def unit_length(vectors: Tensor) -> Tensor:
    """Scale vectors to length 1 in float32; a zero vector stays zero and passes no gradient.

    Args:
        vectors: `[N, D]`.

    Returns:
        float32 (float64 stays) `[N, D]`.
    """
    vectors = vectors if vectors.dtype == torch.float64 else vectors.float()
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    present = length > _EPS
    return vectors / torch.where(present, length, torch.ones_like(length)) * present


class EmbeddingNet(nn.Module):
    """Maps images to embeddings.

    Without a backbone this is the reference network: two blocks of 5 x 5 convolution, batch norm, pooling and ReLU
    (`conv`), then a linear layer, batch norm and ReLU (`fc`). Its closing ReLU makes embeddings non-negative, so their
    similarities lie in [0, 1].

    With a backbone, its features are averaged over space if they have any and mapped by one linear layer (`head`).

    Args:
        backbone: Any module from `[N, C, H, W]` to features `[N, F]` or `[N, F, h, w]`; F is found by trying.
        in_channels: Channels of the images, C.
        image_size: Height and width, or one number for both; at least 4 without a backbone.
        embedding_dim: Length of an embedding, D.
        normalize: Whether embeddings are scaled to unit length.

    Raises:
        ValueError: If a size is out of range, or the backbone does not take such images or gives no such features.

    Example:
        >>> EmbeddingNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        backbone: nn.Module | None = None,
        *,
        in_channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        embedding_dim: int = 128,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        smallest = 4 if backbone is None else 1
        if min(height, width) < smallest:
            raise ValueError(f"Expected image_size to be at least {smallest}, got {image_size}.")
        if in_channels < 1 or embedding_dim < 1:
            raise ValueError(
                f"Expected in_channels and embedding_dim to be at least 1, got {in_channels} and {embedding_dim}."
            )
        self.in_channels = in_channels
        self.image_size: tuple[int, int] = (int(height), int(width))
        self.embedding_dim = embedding_dim
        self.normalize = normalize
        self.backbone = backbone
        if backbone is None:
            self.conv: nn.Sequential = nn.Sequential(*_conv_block(in_channels, 32), *_conv_block(32, 64))
            features = 64 * (height // 4) * (width // 4)
            self.fc: nn.Sequential = nn.Sequential(
                nn.Flatten(), nn.Linear(features, embedding_dim), nn.BatchNorm1d(embedding_dim), nn.ReLU()
            )
        else:
            self.head: nn.Linear = nn.Linear(_feature_size(backbone, in_channels, self.image_size), embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Embed a batch.

        Args:
            images: Preprocessed images `[N, C, H, W]`.

        Returns:
            Embeddings `[N, D]`, float32 and of unit length if `normalize`.
        """
        features = self.fc(self.conv(images)) if self.backbone is None else self.head(_pooled(self.backbone(images)))
        return unit_length(features) if self.normalize else features

    def architecture(self) -> dict[str, Any]:
        """What is needed to build the net again, as JSON values; the backbone by its class name only."""
        kind = None if self.backbone is None else type(self.backbone)
        return {
            "backbone": None if kind is None else f"{kind.__module__}.{kind.__qualname__}",
            "in_channels": self.in_channels,
            "image_size": list(self.image_size),
            "embedding_dim": self.embedding_dim,
            "normalize": self.normalize,
        }


def check_images(images: Tensor, net: nn.Module) -> None:
    """Refuse what a net cannot embed.

    Args:
        images: What was given as images.
        net: If it has `in_channels`, images must have as many; the reference network also takes one size only.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it is not `[N, C, H, W]`, or of other channels or size than the net's.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"Expected images as a tensor [N, C, H, W], got {type(images).__name__}. Use encode for files.")
    if images.ndim != 4:
        advice = {
            2: " Add batch and channel dimensions: x[None, None].",
            3: " Add a batch dimension: x[None] (or a channel dimension, x[:, None], if it is [N, H, W]).",
        }.get(images.ndim, "")
        raise ValueError(f"Expected images to have shape [N, C, H, W], got {list(images.shape)}.{advice}")
    channels = getattr(net, "in_channels", images.shape[1])
    if images.shape[1] != channels:
        raise ValueError(
            f"Expected images with {channels} channel{'s' if channels != 1 else ''} [N, {channels}, H, W], "
            f"got {list(images.shape)}. Convert them, or build EmbeddingNet(in_channels={images.shape[1]})."
        )
    if isinstance(net, EmbeddingNet) and net.backbone is None and tuple(images.shape[2:]) != net.image_size:
        height, width = net.image_size
        raise ValueError(
            f"Expected images of {height} x {width} pixels, got {list(images.shape)}. "
            "Resize them, or give encode a list of pictures, which it resizes."
        )


def _conv_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=5, padding=2),
        nn.BatchNorm2d(out_channels),
        # the reference has ReLU first: the values and gradients are the same, and this rectifies a quarter as many
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]


def _pooled(features: Tensor) -> Tensor:
    return features.mean(dim=(2, 3)) if features.ndim == 4 else features


def _feature_size(backbone: nn.Module, in_channels: int, image_size: tuple[int, int]) -> int:
    """Feature size of a backbone, found with two blank images and without touching its state."""
    training = {module: module.training for module in backbone.modules()}
    parameter = next(backbone.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    blank = torch.zeros(2, in_channels, *image_size, device=device)
    try:
        with torch.no_grad():
            features = backbone.eval()(blank)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise ValueError(
            f"Expected the backbone to take images of shape {list(blank.shape)}, but it failed: {error}. "
            "Set in_channels and image_size to what it was made for."
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    if not isinstance(features, Tensor) or features.ndim not in (2, 4) or features.shape[0] != 2:
        found = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"Expected the backbone to give features [N, F] or [N, F, h, w], got {found}.")
    return int(features.shape[1])
