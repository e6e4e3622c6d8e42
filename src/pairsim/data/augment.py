"""Augment whole batches of training images on the device that trains.

An augmentation keeps the dtype: uint8 pixels stay uint8, so that the model's preprocessing normalises augmented images
like all others. Preprocessed floating point stays floating point.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pairsim._common.choices import AugmentName
from pairsim.data.generators import seeded_generators
from pairsim.data.random import stream_key
from pairsim.errors import DataError

AugmentFunction: TypeAlias = Callable[[Tensor, torch.Generator], Tensor] | Callable[[Tensor], Tensor]
"""`(images [N, C, H, W], generator) -> images`; a module, such as a torchvision v2 transform, gets the images alone."""


@dataclass(frozen=True, kw_only=True)
class RandomAffine:
    """Rotate, scale, shear and shift each image of a batch by its own random amount.

    Sampling is bilinear; areas outside the image get the colour of the nearest border pixel, which suits any
    background. torchvision's `v2.RandomAffine` draws one change for a whole batch and fills with a given colour.

    Args:
        degrees: Largest rotation either way, in [0, 180].
        scale: Largest change of size as a share of it, in [0, 1): 0.1 scales by 0.9 to 1.1.
        translate: Largest shift as a share of width and of height, in [0, 1].
        shear: Largest horizontal shear either way in degrees, in [0, 90).

    Raises:
        ValueError: If an amount is out of range.

    Example:
        >>> shift = RandomAffine(degrees=0, scale=0, translate=0.5)
        >>> shift(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(0)).dtype
        torch.uint8
    """

    degrees: float = 10.0
    scale: float = 0.1
    translate: float = 0.1
    shear: float = 0.0

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("degrees", 0 <= self.degrees <= 180, "in [0, 180]"),
            ("scale", 0 <= self.scale < 1, "in [0, 1)"),
            ("translate", 0 <= self.translate <= 1, "in [0, 1]"),
            ("shear", 0 <= self.shear < 90, "in [0, 90)"),
        ):
            if not holds:
                raise ValueError(f"Expected {name} to be {expected}, got {getattr(self, name)}.")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: `[N, C, H, W]`, uint8 or floating point, on any device.
            generator: On the CPU, so that the amounts are the same on all devices.

        Returns:
            Images of the same shape, dtype and device; uint8 is rounded.
        """
        height, width = images.shape[2:]
        maps = self.maps(len(images), height, width, generator).to(images.device, non_blocking=True)
        pixels, grid = images.to(torch.float32), _grid(maps, height, width)
        sampled = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (sampled.round_() if images.dtype == torch.uint8 else sampled).to(images.dtype)

    def maps(self, num: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw the affine map of each image.

        Args:
            num: Number of images.
            height: Height in pixels.
            width: Width in pixels.
            generator: On the CPU.

        Returns:
            Affine maps float32 `[num, 2, 3]` from positions in the new image to positions in the old one, both in
            [-1, 1], as for `torch.nn.functional.affine_grid`.
        """
        draws = torch.rand(5, num, generator=generator) * 2 - 1
        angle = draws[0] * math.radians(self.degrees)
        size = 1 + draws[1] * self.scale
        across, down = 2 * self.translate * draws[2], 2 * self.translate * draws[3]
        slant = torch.tan(draws[4] * math.radians(self.shear))
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        # The inverse of scaling, shearing, then rotating. The rotation is one of pixels, so the sides' ratio enters.
        first = torch.stack((cos + slant * sin, (sin - slant * cos) * (height / width)), dim=1)
        second = torch.stack((-sin * (width / height), cos), dim=1)
        linear = torch.stack((first, second), dim=1)
        shift = -(linear[:, :, 0] * across[:, None] + linear[:, :, 1] * down[:, None])
        return torch.cat((linear, shift[:, :, None]), dim=2)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Compute `functional.affine_grid` with sums, not matrix products: several times as fast on CPU, never in TF32."""
    columns, rows = ((torch.arange(size, device=maps.device) * 2 + 1) / size - 1 for size in (width, height))
    grid = torch.empty((len(maps), height, width, 2), device=maps.device)
    for axis in range(2):
        part = maps[:, axis, :, None]
        along, across = part[:, 0] * columns, part[:, 1] * rows + part[:, 2]
        torch.add(along[:, None, :], across[:, :, None], out=grid[..., axis])
    return grid


class Augmentation:
    """An augmentation with a seed: its random numbers depend only on seed, epoch and batch number.

    They are the same on all devices, for any number of workers and after a resume. Pixels computed on another device
    may differ in their last bit.

    Args:
        function: `(images, generator) -> images` with a generator on the CPU. A module or a torchvision transform is
            called with the images alone and draws from the global generators, which are seeded for it and restored
            afterwards; torchvision's transforms draw once for a whole batch.
        seed: Any whole number.

    Example:
        >>> noise = Augmentation(lambda images, generator: images + torch.rand((), generator=generator), seed=1)
        >>> images = torch.zeros(1, 1, 1, 1)
        >>> bool(noise(images, epoch=3, number=7) == noise(images, epoch=3, number=7))
        True
    """

    def __init__(self, function: AugmentFunction, seed: int) -> None:
        self.function = function
        self.seed = seed
        origin = type(function).__module__.partition(".")[0]
        self._takes_images_alone = isinstance(function, nn.Module) or origin == "torchvision"

    def __call__(self, images: Tensor, epoch: int, number: int) -> Tensor:
        """Augment batch `number` of `epoch`.

        Raises:
            DataError: If the result is not a tensor, or differs from the batch in shape or dtype.
        """
        key = stream_key("augment", self.seed, epoch, number)
        function = cast("Callable[..., Any]", self.function)
        with torch.no_grad():
            if self._takes_images_alone:
                with seeded_generators(key, images.device):
                    changed = function(images)
            else:
                changed = function(images, torch.Generator().manual_seed(key))
        if not isinstance(changed, Tensor):
            raise DataError(f"Expected augment to return a tensor of images, got {type(changed).__name__}.")
        if changed.shape != images.shape or changed.dtype != images.dtype:
            raise DataError(
                f"Expected augment to return images as it got them, {list(images.shape)} {images.dtype}, found "
                f"{list(changed.shape)} {changed.dtype}. Keep size and dtype: the model normalises uint8 pixels itself."
            )
        return changed


def make_augmentation(augment: AugmentName | AugmentFunction, seed: int) -> Augmentation | None:
    """Return the augmentation of a name or function; `None` for "none".

    Args:
        augment: "none", "affine" (`RandomAffine()`), or a function.
        seed: Any whole number.
    """
    if not isinstance(augment, str):
        return Augmentation(augment, seed)
    return Augmentation(RandomAffine(), seed) if augment == "affine" else None
