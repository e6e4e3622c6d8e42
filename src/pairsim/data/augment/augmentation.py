"""Augmentations as pure functions of seed, epoch and batch number.

An augmentation keeps the dtype: uint8 pixels stay uint8, so that the model's preprocessing normalises augmented images
like all others. Preprocessed floating point stays floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from pairsim._common.choices import AugmentName
from pairsim.data.augment.affine import RandomAffine
from pairsim.data.augment.photo import ColorJitter, RandomCrop, RandomErasing, RandomFlip
from pairsim.data.generators import seeded_generators
from pairsim.data.random import stream_key
from pairsim.errors import DataError

AugmentFunction: TypeAlias = Callable[[Tensor, torch.Generator], Tensor] | Callable[[Tensor], Tensor]
"""`(images [N, C, H, W], generator) -> images`; a module, such as a torchvision v2 transform, gets the images alone."""


@dataclass(frozen=True)
class Compose:
    """Several augmentations, one after the other.

    Args:
        parts: Functions `(images, generator) -> images`, such as `RandomCrop()`.

    Example:
        >>> from pairsim.data import RandomCrop, RandomFlip
        >>> both = Compose([RandomCrop(), RandomFlip()])
        >>> both(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """

    parts: Sequence[Callable[[Tensor, torch.Generator], Tensor]]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change a batch.

        Args:
            images: `[N, C, H, W]`.
            generator: On the CPU; the parts draw from it in turn.

        Returns:
            The images that the last part returns.
        """
        for part in self.parts:
            images = part(images, generator)
        return images


_CROP_AND_FLIP = Compose((RandomCrop(), RandomFlip()))
_BY_NAME: dict[str, AugmentFunction] = {
    "affine": RandomAffine(),
    "crop": _CROP_AND_FLIP,
    "photo": Compose((*_CROP_AND_FLIP.parts, ColorJitter(), RandomErasing())),
}


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
        augment: "none", "affine" (`RandomAffine()`), "crop" (`RandomCrop()`, `RandomFlip()`), "photo" (also
            `ColorJitter()` and `RandomErasing()`), or a function.
        seed: Any whole number.
    """
    function = _BY_NAME.get(augment) if isinstance(augment, str) else augment
    return None if function is None else Augmentation(function, seed)
