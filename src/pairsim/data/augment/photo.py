"""Changes that photographs of one thing differ by: cut, mirrored, in other light, partly hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairsim.data.augment.affine import resample
from pairsim.errors import DataError

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a colour (ITU-R BT.601), as for Pillow and torchvision."""


def _check(part: Any, expected: str, **holds: bool) -> None:
    """Reject the first amount that does not hold."""
    for name, is_right in holds.items():
        if not is_right:
            raise ValueError(f"Expected {name} to be in {expected}, got {getattr(part, name)}.")


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cut a random window out of each image and enlarge it to the size of the image.

    The sides of a window are one share of the sides of the image, drawn evenly between `smallest` and 1. Sampling is
    bilinear.

    Args:
        smallest: Smallest share of the sides that is kept, in (0, 1]. The default of 0.74 cuts 13 % off on average.

    Raises:
        ValueError: If the share is out of range.

    Example:
        >>> crop = RandomCrop(smallest=0.5)
        >>> crop(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """

    smallest: float = 0.74

    def __post_init__(self) -> None:
        _check(self, "(0, 1]", smallest=0 < self.smallest <= 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: `[N, C, H, W]`, uint8 or floating point, on any device.
            generator: On the CPU.

        Returns:
            Images of the same shape, dtype and device; uint8 is rounded.
        """
        draws = torch.rand(3, len(images), generator=generator)
        side = 1 - draws[0] * (1 - self.smallest)
        maps = torch.zeros(len(images), 2, 3)
        for axis in range(2):
            maps[:, axis, axis] = side
            maps[:, axis, 2] = (1 - side) * (2 * draws[1 + axis] - 1)
        return resample(images, maps)


@dataclass(frozen=True, kw_only=True)
class RandomFlip:
    """Mirror some images: left becomes right.

    Args:
        chance: Probability that an image is mirrored, in [0, 1].

    Raises:
        ValueError: If the chance is out of range.

    Example:
        >>> mirrored = RandomFlip(chance=1)(torch.tensor([[[[1, 2]]]]), torch.Generator())
        >>> mirrored.tolist()
        [[[[2, 1]]]]
    """

    chance: float = 0.5

    def __post_init__(self) -> None:
        _check(self, "[0, 1]", chance=0 <= self.chance <= 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: `[N, C, H, W]` of any dtype, on any device.
            generator: On the CPU.

        Returns:
            Images of the same shape, dtype and device.
        """
        mirrored = torch.rand(len(images), generator=generator) < self.chance
        return torch.where(_per_image(mirrored, images), images.flip(3), images)


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Change brightness, contrast and saturation of each image by its own random factors.

    A factor is drawn evenly between 1 - amount and 1 + amount. Contrast is the distance from the mean brightness of the
    image, saturation that of each pixel's colour from grey. Brightness is changed first, saturation last; values are
    cut to 0 and 255 once, at the end.

    Args:
        brightness: Amount, in [0, 1].
        contrast: Amount, in [0, 1].
        saturation: Amount, in [0, 1]; images that have not 3 channels have no saturation.

    Raises:
        ValueError: If an amount is out of range.

    Example:
        >>> jitter = ColorJitter(brightness=0.5, contrast=0, saturation=0)
        >>> jitter(torch.full((2, 3, 4, 4), 100, dtype=torch.uint8), torch.Generator().manual_seed(0)).dtype
        torch.uint8
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        _check(
            self,
            "[0, 1]",
            brightness=0 <= self.brightness <= 1,
            contrast=0 <= self.contrast <= 1,
            saturation=0 <= self.saturation <= 1,
        )

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: uint8 `[N, C, H, W]`, on any device.
            generator: On the CPU.

        Returns:
            Images of the same shape, dtype and device, rounded.

        Raises:
            DataError: If images are not uint8: the range of other values is not known.
        """
        if images.dtype != torch.uint8:
            raise DataError(
                f"Expected uint8 pixels for ColorJitter, found {images.dtype}. Give uint8 images, which the model "
                'normalises itself, or use augment="crop".'
            )
        amounts = torch.tensor([[self.brightness], [self.contrast], [self.saturation]])
        factors = 1 + amounts * (2 * torch.rand(3, len(images), generator=generator) - 1)
        brightness, contrast, saturation = factors.to(images.device, non_blocking=True)
        num, channels, height, width = images.shape
        pixels = images.reshape(num, channels, height * width).to(torch.float32)
        if channels == 3:
            grey = pixels.new_tensor(_GREY)
            mean = pixels.mean(dim=2) @ grey
            # All three changes are linear in the three values of a pixel: one matrix for each image.
            mix = saturation[:, None, None] * torch.eye(3, device=grey.device) + (1 - saturation)[:, None, None] * grey
            mix = mix * (brightness * contrast)[:, None, None]
        else:
            mean = pixels.mean(dim=(1, 2))
            mix = (brightness * contrast)[:, None, None] * torch.eye(channels, device=images.device)
        offset = (brightness * (1 - contrast) * mean)[:, None, None]
        changed = torch.baddbmm(offset, mix, pixels)
        return changed.round_().clamp_(0, 255).to(torch.uint8).view(images.shape)


@dataclass(frozen=True, kw_only=True)
class RandomErasing:
    """Cover a random rectangle of some images with the image's mean colour.

    Args:
        chance: Probability that an image is changed, in [0, 1].
        largest: Largest share of the area that is covered, in [0, 1]; drawn evenly from 0. The ratio of the sides is
            between 1 / 2 and 2.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> erase = RandomErasing(chance=1, largest=0.5)
        >>> erase(torch.eye(8)[None, None], torch.Generator().manual_seed(0)).shape
        torch.Size([1, 1, 8, 8])

    References:
        Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """

    chance: float = 0.5
    largest: float = 0.2

    def __post_init__(self) -> None:
        _check(self, "[0, 1]", chance=0 <= self.chance <= 1, largest=0 <= self.largest <= 1)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: `[N, C, H, W]`, uint8 or floating point, on any device.
            generator: On the CPU.

        Returns:
            Images of the same shape, dtype and device.
        """
        draws = torch.rand(5, len(images), generator=generator)
        area = (draws[1] * self.largest).where(draws[0] < self.chance, torch.zeros(()))
        ratio = torch.exp((2 * draws[2] - 1) * (math.log(2) / 2))
        covered = None
        for axis, share in ((2, area.sqrt() * ratio), (3, area.sqrt() / ratio)):
            size = images.shape[axis]
            sides = (share.clamp(max=1) * size).round_()
            start = (draws[axis + 1] * (size - sides + 1)).floor_()
            place = torch.arange(size)
            inside = (place >= start[:, None]) & (place < (start + sides)[:, None])
            shape = [len(images), 1, size, 1] if axis == 2 else [len(images), 1, 1, size]
            inside = inside.view(shape).to(images.device, non_blocking=True)
            covered = inside if covered is None else covered & inside
        assert covered is not None
        mean = images.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)
        mean = (mean.round_() if images.dtype == torch.uint8 else mean).to(images.dtype)
        return torch.where(covered, mean, images)


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device, non_blocking=True).view(-1, 1, 1, 1)
