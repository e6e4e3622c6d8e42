"""Map how much each region of two images adds to their similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.images import PictureLike
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model

SaliencyMethod: TypeAlias = Literal["occlusion", "gradient"]
Map: TypeAlias = npt.NDArray[np.float32]

_PATCHES_ACROSS = 7
"""Patches side by side along the shorter side, if no size is given."""

_BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class PairSaliency:
    """The result of `similarity_saliency`.

    Attributes:
        first: Map of the first image `[H, W]`, float32: positive where a region raises the similarity, negative where
            it lowers it.
        second: Map of the second image.
        similarity: Similarity of the two images, in [-1, 1].
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels; 0 for `"gradient"`.
    """

    first: Map
    second: Map
    similarity: float
    method: SaliencyMethod
    patch: int


def similarity_saliency(
    model: SimilarityModel,
    first: PictureLike,
    second: PictureLike,
    *,
    method: SaliencyMethod = "occlusion",
    patch: int | None = None,
    stride: int | None = None,
) -> PairSaliency:
    """Map how much each region of two images adds to their similarity.

    `"occlusion"` works for any model. It replaces one patch of one image by its local mean (that of each channel over a
    window three patches wide) and takes by how much the similarity falls. A pixel gets the mean over all patches that
    cover it. `"gradient"` is faster and noisier: the derivative of the similarity by each preprocessed value, times
    that value, summed over the channels.

    Args:
        model: Run in eval mode and not changed.
        first: A preprocessed tensor `[C, H, W]` or `[1, C, H, W]`, a uint8 tensor of the same shapes, or a path, PIL
            image or uint8 array, which is resized to the model's size.
        second: As `first`; its size may differ if the net takes any size.
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels, from 1 to the shorter side; by default a seventh of that, at least 2. For
            `"occlusion"` only.
        stride: Pixels from one patch to the next, 1 to `patch`; by default half a patch. The last patch of a row ends
            at the edge.

    Returns:
        The maps, of the size of the images that go into the net; of their central part if the model sees only that.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: If the method is unknown, more than one image is given, `patch` or `stride` is out of range or given
            for `"gradient"`, or images do not fit the model.

    Example:
        >>> image = torch.rand(1, 28, 28)
        >>> maps = similarity_saliency(SimilarityModel(), image, image.flip(2))
        >>> maps.first.shape, maps.second.shape, maps.patch
        ((28, 28), (28, 28), 4)

    References:
        M. D. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014 (occlusion).
        A. Shrikumar et al., Not just a black box, arXiv:1605.01713, 2016 (gradient times input).
    """
    check_model(model)
    if method not in ("occlusion", "gradient"):
        raise ValueError(f'Expected method to be "occlusion" or "gradient", got {method!r}.')
    images = [prepared_image(model, first, "first"), prepared_image(model, second, "second")]
    embeddings = [model.encode(image)[0].double() for image in images]
    similarity = float((embeddings[0] @ embeddings[1]).clamp(-1.0, 1.0))
    side = 0
    if method == "gradient":
        if patch is not None or stride is not None:
            raise ValueError('Expected no patch or stride for method "gradient", which has no patches.')
        maps = [_by_gradient(model, images[k], embeddings[1 - k]) for k in range(2)]
    else:
        shorter = min(min(image.shape[2:]) for image in images)
        side = _checked(patch, "patch", min(max(shorter // _PATCHES_ACROSS, 2), shorter), shorter)
        step = _checked(stride, "stride", max(side // 2, 1), side)
        maps = [_by_occlusion(model, images[k], embeddings[1 - k], similarity, side=side, step=step) for k in range(2)]
    return PairSaliency(first=maps[0], second=maps[1], similarity=similarity, method=method, patch=side)


def prepared_image(model: SimilarityModel, image: PictureLike, name: str) -> Tensor:
    """Preprocess one image for a model.

    Args:
        model: Its preprocessing is applied to an image that is not yet preprocessed.
        image: As for `similarity_saliency`.
        name: Name of the argument, for messages.

    Returns:
        `[1, C, H, W]` in floating point, on the model's device.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        ValueError: If there is not exactly one image, or it does not fit the model.
    """
    if not isinstance(image, Tensor):
        image = model.preprocessing.read(image)
    batch = image if image.ndim == 4 else image[None]
    if batch.ndim != 4:
        raise ValueError(f"Expected {name} to have shape [C, H, W], got {list(image.shape)}. Use x[None].")
    if len(batch) != 1:
        raise ValueError(f"Expected one image as {name}, got {len(batch)}. Map one pair at a time.")
    return model.preprocessing(batch.detach().to(model.device))


def _checked(value: int | None, name: str, default: int, maximum: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int | np.integer) or not 1 <= value <= maximum:
        raise ValueError(
            f"Expected {name} to be a whole number from 1 to {maximum}, got {value!r}. Use {default}, for example."
        )
    return int(value)


def _by_gradient(model: SimilarityModel, image: Tensor, other: Tensor) -> Map:
    values = image.clone().requires_grad_()
    with model.evaluating(), torch.enable_grad():
        similarity = (model.embed(values)[0].double() * other.detach()).sum()
        (gradient,) = torch.autograd.grad(similarity, values)
    saliency: Map = (gradient * image).sum(dim=1)[0].float().cpu().numpy()
    return saliency


def _by_occlusion(
    model: SimilarityModel, image: Tensor, other: Tensor, similarity: float, *, side: int, step: int
) -> Map:
    height, width = image.shape[2:]
    corners = [(top, left) for top in _starts(height, side, step) for left in _starts(width, side, step)]
    occluded = model.encode_batches(_occluded(image, corners, side), len(corners), progress=False)
    drops = similarity - (occluded.double() @ other).clamp(-1.0, 1.0)
    total, covered = np.zeros((2, height, width))
    for (top, left), drop in zip(corners, drops.tolist(), strict=True):
        total[top : top + side, left : left + side] += drop
        covered[top : top + side, left : left + side] += 1
    return (total / covered).astype(np.float32)


def _occluded(image: Tensor, corners: list[tuple[int, int]], side: int) -> Iterator[Tensor]:
    """Batches of copies of an image, each with the patch at one of `corners` replaced by its local mean."""
    for start in range(0, len(corners), _BATCH_SIZE):
        part = corners[start : start + _BATCH_SIZE]
        batch = image.repeat(len(part), 1, 1, 1)
        for row, (top, left) in enumerate(part):
            window = image[0, :, max(top - side, 0) : top + 2 * side, max(left - side, 0) : left + 2 * side]
            batch[row, :, top : top + side, left : left + side] = window.mean(dim=(1, 2))[:, None, None]
        yield batch


def _starts(length: int, side: int, step: int) -> list[int]:
    starts = list(range(0, length - side + 1, step))
    return starts if starts[-1] == length - side else [*starts, length - side]
