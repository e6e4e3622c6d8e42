"""Labelled images to report on, and the numbers in a page."""

from __future__ import annotations

import json
import re
from typing import Any

import torch

from pairsim.data import ImageTensors


def labelled_images(num_classes: int, count: int = 60, size: int = 8) -> ImageTensors:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return ImageTensors(pixels, [number % num_classes for number in range(count)])


def counts_of(page: str) -> dict[str, Any]:
    """The counts that the slider of a page reads."""
    found = re.search(r'<script type="application/json" id="counts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values
