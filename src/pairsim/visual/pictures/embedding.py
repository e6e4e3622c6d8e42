"""Embeddings of the images of a figure."""

from __future__ import annotations

import torch
from torch import Tensor

from pairsim.models import SimilarityModel
from pairsim.visual.page.pixels import ImageTensorLike, separate_images


def embed_shown(model: SimilarityModel, images: ImageTensorLike, name: str) -> Tensor:
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
        >>> embed_shown(SimilarityModel(), torch.zeros(2, 1, 40, 30, dtype=torch.uint8), "images").shape
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
