"""Pictures like photographs: shapes of all sizes that hide each other, with shades and a little grain."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

Pixels: TypeAlias = npt.NDArray[np.uint8]


def photograph(seed: int, height: int = 180, width: int = 240) -> Pixels:
    """Draw a picture, uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGB", (width, height), tuple(int(one) for one in generator.integers(60, 200, 3)))
    draw = ImageDraw.Draw(picture)
    for size in np.geomspace(0.5, 0.04, 150) * max(height, width):
        y, x = generator.random(2) * (height, width)
        half = size * generator.uniform(0.3, 0.7, 2)
        corners = (x - half[0], y - half[1], x + half[0], y + half[1])
        grey, colour = generator.integers(30, 200), generator.integers(-25, 56, 3)
        shape = draw.ellipse if generator.random() < 0.5 else draw.rectangle
        shape(corners, fill=tuple(int(max(grey + one, 0)) for one in colour))
    shade = Image.fromarray(generator.integers(0, 40, (6, 8), dtype=np.uint8)).resize((width, height))
    grain = generator.normal(0, 0.6, (height, width, 1))
    light = np.asarray(picture) * 0.8 + np.asarray(shade)[:, :, None] + grain
    pixels: Pixels = light.clip(0, 255).astype(np.uint8)
    return pixels


def smooth_photograph(seed: int, height: int = 180, width: int = 240) -> Pixels:
    """Draw shades with faint structure, in which few blobs are found, uint8 `[height, width, 3]`."""
    generator = np.random.default_rng(seed)
    layers = []
    for shape, low, high in (((3, 4, 3), 90, 170), ((30, 40, 3), 0, 20)):
        values = generator.integers(low, high, shape, dtype=np.uint8)
        layers.append(np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)))
    pixels: Pixels = layers[0] // 5 * 4 + layers[1]
    return pixels


def photograph_tensor(seed: int, height: int = 180, width: int = 240) -> Tensor:
    """The same as uint8 `[3, height, width]`."""
    return torch.from_numpy(photograph(seed, height, width)).permute(2, 0, 1).contiguous()
