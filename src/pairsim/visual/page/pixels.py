"""Images of figures: read, checked, converted to pixels that can be displayed, and embedded."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.data.image_sets import fetch_images
from pairsim.images import Preprocessing
from pairsim.models import SimilarityModel

ImageTensorLike: TypeAlias = Tensor | Sequence[Tensor]
Pixels: TypeAlias = npt.NDArray[np.uint8]

_TOLERANCE = 1e-3
"""How far beyond [0, 1] values may be: resizing and half precision overshoot by less than a grey level."""


def to_pixels(images: ImageTensorLike, preprocessing: Preprocessing | None = None) -> list[Pixels]:
    """Convert images to pixels that can be displayed: `round(255 * (x * std + mean))`, clipped to 0 to 255.

    uint8 images are returned unchanged. Floating-point images are denormalised with the mean and standard deviation of
    `preprocessing`; values outside the range of pixels are clipped, never wrapped. Floating-point images without mean
    and standard deviation must be in [0, 1], because any other scale would be a guess.

    Args:
        images: `[N, C, H, W]`, one image `[C, H, W]` or `[H, W]`, or a sequence of such images, whose sizes may
            differ; uint8 or floating point; C is 1 (grey) or 3 (colour).
        preprocessing: Preprocessing that was applied to the images, usually `model.preprocessing`.

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
    return [_pixels(image, preprocessing) for image in separate_images(images)]


def separate_images(images: ImageTensorLike, name: str = "images") -> list[Tensor]:
    """Check images and return them as a list of `[C, H, W]`.

    Args:
        images: As for `to_pixels`.
        name: What messages call them.

    Returns:
        One tensor per image, on its own device; views, not copies.

    Raises:
        TypeError: If images are not tensors.
        ValueError: If a shape, a dtype or the number of channels cannot be displayed.
    """
    if isinstance(images, Tensor):
        images = list(images) if images.ndim == 4 else [images]
    return [_as_chw(image, name) for image in (images if isinstance(images, Sequence) else [images])]


def one_image(image: ImageTensorLike, name: str) -> Tensor:
    """Check a single image and return it as `[C, H, W]`.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If there is not exactly one image, or it cannot be displayed.
    """
    parts = separate_images(image, name)
    if len(parts) != 1:
        raise ValueError(f"Expected one image as {name}, got {len(parts)}. Draw one figure for each.")
    return parts[0]


def fetch_separate(dataset: Any, indices: Iterable[int], preprocessing: Preprocessing | None = None) -> list[Tensor]:
    """Read images of a dataset one by one, so that their sizes may differ.

    Args:
        dataset: As for `fetch_images`.
        indices: Indices of the images.
        preprocessing: Reads items that are pictures.

    Returns:
        One tensor `[C, H, W]` per image.

    Raises:
        DataError: If items are not images.
        ValueError: If a shape, a dtype or the number of channels cannot be displayed.
    """
    return [one_image(fetch_images(dataset, np.array([index]), preprocessing), "images") for index in indices]


def png_data_uri(pixels: Pixels, *, largest_side: int = 96) -> str:
    """Encode pixels as a PNG in a `data:` URI, for HTML that needs no other file.

    Args:
        pixels: uint8 `[H, W]` or `[H, W, 3]`, as `to_pixels` returns them.
        largest_side: Maximum of the longer side in pixels; a larger image is made smaller.

    Example:
        >>> png_data_uri(np.zeros((2, 2), dtype=np.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    shown = Image.fromarray(pixels)
    shown.thumbnail((largest_side, largest_side))  # leaves smaller ones as they are
    buffer = io.BytesIO()
    shown.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def embed(model: SimilarityModel, images: ImageTensorLike, name: str) -> Tensor:
    """Embed images that are displayed in a figure.

    Args:
        model: The model, which runs in eval mode and without gradients.
        images: `[N, C, H, W]`, one image, or a sequence of images (see `to_pixels`). uint8 images are resized to the
            model's size; floating-point images must be preprocessed and of one size.
        name: What messages call them.

    Returns:
        `[N, D]`, on the model's device.

    Raises:
        TypeError: If `model` is not a `SimilarityModel`, or images are not tensors.
        ValueError: If images do not fit the model.

    Example:
        >>> embed(SimilarityModel(), torch.zeros(2, 1, 40, 30, dtype=torch.uint8), "images").shape
        torch.Size([2, 128])
    """
    if not isinstance(model, SimilarityModel):
        raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. Wrap the net in one.")
    parts = separate_images(images, name)
    pixels = [part.dtype == torch.uint8 for part in parts]
    if all(pixels):
        return model.encode(parts)
    shapes = {tuple(part.shape) for part in parts}
    if any(pixels) or len(shapes) > 1:
        raise ValueError(
            f"Expected {name} as uint8, or preprocessed to one size, got {len(shapes)} shapes"
            f"{' and both dtypes' if any(pixels) else ''}. Give them as uint8 pixels, which are resized."
        )
    return model.encode(torch.stack(parts))


def _as_chw(image: Tensor, name: str) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(
            f"Expected {name} as tensors [N, C, H, W] or [C, H, W], got {type(image).__name__}. "
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


def _pixels(image: Tensor, preprocessing: Preprocessing | None) -> Pixels:
    image = image.detach().cpu()
    if image.dtype != torch.uint8:
        image = image.to(torch.float32)
        if not bool(torch.isfinite(image).all()):
            raise ValueError("Expected finite images, found NaN or infinite values. Check the transform.")
        if preprocessing is None or preprocessing.mean is None or preprocessing.std is None:
            low, high = image.amin().item(), image.amax().item()
            if low < -_TOLERANCE or high > 1 + _TOLERANCE:
                lacks, advice = "as preprocessing has no", "the preprocessing that was used"
                if preprocessing is None:
                    lacks, advice = "without", "preprocessing=model.preprocessing"
                raise ValueError(
                    f"Expected floating-point images in [0, 1], {lacks} mean and std, found values from {low:.4g} to "
                    f"{high:.4g}. Pass {advice} if they are normalised, or x.to(torch.uint8) if they are pixels 0 to "
                    "255."
                )
        else:
            if len(preprocessing.mean) != len(image):
                raise ValueError(
                    f"Expected images with the {len(preprocessing.mean)} channels of preprocessing, "
                    f"got {list(image.shape)}. Pass the preprocessing of the model that they are for."
                )
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
            image = image * std + mean
        image = (image * 255.0).round().clamp(0, 255).to(torch.uint8)
    pixels: Pixels = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    return pixels
