"""Images as a model takes them, turned back into pixels that can be shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.images import Preprocessing

ImageTensorLike: TypeAlias = Tensor | Sequence[Tensor]
Pixels: TypeAlias = npt.NDArray[np.uint8]

_TOLERANCE = 1e-3
"""How far beyond [0, 1] still counts as inside: resizing and half precision overshoot by less than a grey level."""


def to_pixels(images: ImageTensorLike, preprocessing: Preprocessing | None = None) -> list[Pixels]:
    """Pixels of images that a figure can show: `round(255 * (x * std + mean))`, clipped to 0 to 255.

    uint8 images are pixels already and are passed on. Floating point with the mean and standard deviation of
    `preprocessing` is denormalised; values that normalisation cannot have given are clipped, never wrapped.
    Floating point without them has to lie in [0, 1], because any other stretch would be a guess.

    Args:
        images: `[N, C, H, W]`, one image `[C, H, W]` or `[H, W]`, or a sequence of such images, whose sizes may
            differ; uint8 or floating point; C is 1 (grey) or 3 (colour).
        preprocessing: What the images went through, usually `model.preprocessing`.

    Returns:
        For each image uint8 `[H, W]` (grey) or `[H, W, 3]` (colour); an empty list for `N = 0`.

    Raises:
        TypeError: If images are not tensors.
        ValueError: If a shape, a dtype or the channels do not fit, values are not finite, or floating-point values
            leave [0, 1] without a mean and standard deviation to undo.

    Example:
        >>> mnist = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
        >>> white = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
        >>> int(to_pixels(mnist(white), mnist)[0].min())
        255
    """
    parts = separate_images(images)
    if preprocessing is None or preprocessing.mean is None or preprocessing.std is None:
        _check_unit_range(parts, preprocessing)
    return [_pixels(image, preprocessing) for image in parts]


def separate_images(images: ImageTensorLike, name: str = "images") -> list[Tensor]:
    """Images as a list of `[C, H, W]`, checked.

    Args:
        images: As for `to_pixels`.
        name: What messages call them.

    Returns:
        One tensor per image, on its own device; views, not copies.

    Raises:
        TypeError: If images are not tensors.
        ValueError: If a shape, a dtype or the channels cannot be shown.
    """
    if isinstance(images, Tensor):
        return [_as_chw(image, name) for image in (images if images.ndim == 4 else [images])]
    if not isinstance(images, Sequence):
        raise TypeError(
            f"Expected {name} as a tensor [N, C, H, W] or a sequence of tensors [C, H, W], "
            f"got {type(images).__name__}. Read pictures with pairsim.images.read_image."
        )
    return [_as_chw(image, name) for image in images]


def png_data_uri(pixels: Pixels, *, largest_side: int = 96) -> str:
    """Pixels as a PNG in a `data:` URI, for HTML that needs no other file.

    Args:
        pixels: uint8 `[H, W]` or `[H, W, 3]`, as `to_pixels` gives them.
        largest_side: Pixels that the longer side has at most; a larger image is made smaller.

    Example:
        >>> png_data_uri(np.zeros((2, 2), dtype=np.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    shown = Image.fromarray(pixels)
    if max(shown.size) > largest_side:
        shown.thumbnail((largest_side, largest_side))
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _as_chw(image: Tensor, name: str) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(
            f"Expected {name} as tensors [C, H, W], got {type(image).__name__}. "
            "Read pictures with pairsim.images.read_image."
        )
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(
            f"Expected {name} as uint8 pixels or floating point, got {image.dtype}. Convert them: x.to(torch.uint8)."
        )
    if image.ndim not in (2, 3) or image.numel() == 0:
        raise ValueError(
            f"Expected {name} to have shape [N, C, H, W], or [C, H, W] for one image, got an image of shape "
            f"{list(image.shape)}."
        )
    image = image if image.ndim == 3 else image[None]
    if image.shape[0] not in (1, 3):
        raise ValueError(
            f"Expected {name} with 1 (grey) or 3 (colour) channels [C, H, W], got {list(image.shape)}. "
            "Choose the channels to show, such as x[:, :3], or add the channel dimension: x[:, None]."
        )
    return image


def _check_unit_range(images: list[Tensor], preprocessing: Preprocessing | None) -> None:
    floats = [image for image in images if image.is_floating_point()]
    if not floats:
        return
    low = min(image.amin().item() for image in floats)
    high = max(image.amax().item() for image in floats)
    # NaN and infinite values get a message of their own, in _pixels
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        lacks = "without" if preprocessing is None else "as preprocessing has no"
        advice = "preprocessing=model.preprocessing" if preprocessing is None else "the preprocessing that was used"
        raise ValueError(
            f"Expected floating-point images in [0, 1], {lacks} mean and std, found values from {low:.4g} to "
            f"{high:.4g}. Pass {advice} if they are normalised, or x.to(torch.uint8) if they are pixels 0 to 255."
        )


def _pixels(image: Tensor, preprocessing: Preprocessing | None) -> Pixels:
    image = image.detach().cpu()
    if image.dtype != torch.uint8:
        image = image.to(torch.float32)
        if not bool(torch.isfinite(image).all()):
            raise ValueError("Expected finite images, found NaN or infinite values. Check the transform.")
        if preprocessing is not None and preprocessing.mean is not None and preprocessing.std is not None:
            if len(preprocessing.mean) != len(image):
                raise ValueError(
                    f"Expected images with the {len(preprocessing.mean)} channels of preprocessing, "
                    f"got {list(image.shape)}. Pass the preprocessing of the model that they are for."
                )
            image = image * torch.tensor(preprocessing.std).view(-1, 1, 1)
            image = image + torch.tensor(preprocessing.mean).view(-1, 1, 1)
        image = (image * 255.0).round().clamp(0, 255).to(torch.uint8)
    pixels: Pixels = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    return pixels
