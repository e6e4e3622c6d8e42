"""Rotate, scale, shear and shift images, each by its own random amount."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


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
        return resample(images, self.maps(len(images), height, width, generator))

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


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """Sample images at mapped positions: bilinear, with the nearest border pixel outside.

    Args:
        images: `[N, C, H, W]`, uint8 or floating point.
        maps: Affine maps `[N, 2, 3]` on the CPU, as of `RandomAffine.maps`.

    Returns:
        Images of the same shape, dtype and device; uint8 is rounded.
    """
    grid = _grid(maps.to(images.device, non_blocking=True), *images.shape[2:])
    pixels = images.to(torch.float32)
    sampled = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (sampled.round_() if images.dtype == torch.uint8 else sampled).to(images.dtype)


def _grid(maps: Tensor, height: int, width: int) -> Tensor:
    """Compute `functional.affine_grid` with sums, not matrix products: several times as fast on CPU, never in TF32."""
    columns, rows = ((torch.arange(size, device=maps.device) * 2 + 1) / size - 1 for size in (width, height))
    grid = torch.empty((len(maps), height, width, 2), device=maps.device)
    for axis in range(2):
        part = maps[:, axis, :, None]
        along, across = part[:, 0] * columns, part[:, 1] * rows + part[:, 2]
        torch.add(along[:, None, :], across[:, :, None], out=grid[..., axis])
    return grid
