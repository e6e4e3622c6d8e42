"""Which regions of two images make a model find them alike, and whether that comes from what the model has learnt."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.images import PictureLike
from pairsim.models import SimilarityModel

SaliencyMethod: TypeAlias = Literal["occlusion", "gradient"]
Map: TypeAlias = npt.NDArray[np.float32]

_PATCHES_ACROSS = 7
"""Patches side by side along the shorter side, where nobody chooses their size."""

_BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class PairSaliency:
    """What `similarity_saliency` found.

    Attributes:
        first: Map of the first image `[H, W]`, float32: positive where a region makes the images more alike for the
            model, negative where it makes them less alike.
        second: Map of the second image, likewise.
        similarity: Similarity of the two images, in [-1, 1].
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels; 0 for `"gradient"`.
    """

    first: Map
    second: Map
    similarity: float
    method: SaliencyMethod
    patch: int


@dataclass(frozen=True, eq=False)
class RandomisationCheck:
    """What `randomisation_check` found.

    Attributes:
        saliency: The maps of the model itself.
        randomised: The maps of each model with randomised weights.
        correlations: Spearman's rank correlation of the model's map and that of each randomised model `[R, 2]`, for the
            first and the second image; NaN where a map has one value everywhere.
    """

    saliency: PairSaliency
    randomised: tuple[PairSaliency, ...]
    correlations: npt.NDArray[np.float64]

    @property
    def mean_correlation(self) -> tuple[float, float]:
        """Mean correlation for the first and the second image, without what is NaN; NaN if all are."""
        known = np.isfinite(self.correlations)
        sums, counts = np.where(known, self.correlations, 0.0).sum(axis=0), known.sum(axis=0)
        first, second = (float(s / n) if n else float("nan") for s, n in zip(sums, counts, strict=True))
        return first, second


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

    `"occlusion"`, for any model: the similarity of the pair minus that with one patch of one image replaced by its
    local mean, that of each channel over a window three patches wide. A pixel gets the mean over all patches that
    cover it. `"gradient"`, faster and noisier: the derivative of the similarity by each
    preprocessed value, times that value, summed over the channels.

    Args:
        model: Run in eval mode, and left as it is.
        first: A preprocessed tensor `[C, H, W]` or `[1, C, H, W]`, a uint8 tensor of the same shapes, or a path, PIL
            image or uint8 array, which is resized to the model's size.
        second: Likewise; its size may differ if the net takes any.
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels, 1 to the shorter side; by default a seventh of that, at least 2. For
            `"occlusion"` only.
        stride: Pixels from one patch to the next, 1 to `patch`; by default half a patch. The last patch of a row ends
            at the edge.

    Returns:
        The maps, as large as the images that the net is given.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: If there is no such method, more than one image is given, `patch` or `stride` is out of range or
            given for `"gradient"`, or images do not fit the model.

    Example:
        >>> image = torch.rand(1, 28, 28)
        >>> maps = similarity_saliency(SimilarityModel(), image, image.flip(2))
        >>> maps.first.shape, maps.second.shape, maps.patch
        ((28, 28), (28, 28), 4)

    References:
        M. D. Zeiler, R. Fergus, Visualizing and understanding convolutional networks, ECCV 2014 (occlusion).
        A. Shrikumar et al., Not just a black box, arXiv:1605.01713, 2016 (gradient times input).
    """
    if not isinstance(model, SimilarityModel):
        raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. Wrap the net in one.")
    if method not in ("occlusion", "gradient"):
        raise ValueError(f'Expected method to be "occlusion" or "gradient", got {method!r}.')
    images = [prepared_image(model, image, name) for image, name in ((first, "first"), (second, "second"))]
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


def randomisation_check(
    model: SimilarityModel,
    first: PictureLike,
    second: PictureLike,
    *,
    method: SaliencyMethod = "occlusion",
    patch: int | None = None,
    stride: int | None = None,
    num_models: int = 3,
    seed: int = 0,
) -> RandomisationCheck:
    """Compare a model's maps with those of copies whose weights are randomised.

    In a copy the values of each parameter with more than one dimension are shuffled, which keeps their distribution and
    takes away all that was learnt. Maps that look the same for both, with a rank correlation near 1, show the images
    and not what the model has learnt of them.

    Args:
        model: The model, which is left as it is.
        first: As for `similarity_saliency`.
        second: As for `similarity_saliency`.
        method: As for `similarity_saliency`.
        patch: As for `similarity_saliency`.
        stride: As for `similarity_saliency`.
        num_models: Copies to make, at least 1.
        seed: Any whole number; copy k depends on it and k alone.

    Returns:
        The maps and their correlations.

    Raises:
        ValueError: If `num_models` is below 1, or as for `similarity_saliency`.
        TypeError: As for `similarity_saliency`.

    Example:
        >>> image = torch.rand(1, 28, 28)
        >>> check = randomisation_check(SimilarityModel(), image, image.flip(2), method="gradient", num_models=2)
        >>> check.correlations.shape
        (2, 2)

    References:
        J. Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018.
    """
    if num_models < 1:
        raise ValueError(f"Expected num_models to be at least 1, got {num_models}. Use 3, say.")
    own = similarity_saliency(model, first, second, method=method, patch=patch, stride=stride)
    others = tuple(
        similarity_saliency(_randomised(model, seed, k), first, second, method=method, patch=patch, stride=stride)
        for k in range(num_models)
    )
    correlations = [
        [rank_correlation(own.first, other.first), rank_correlation(own.second, other.second)] for other in others
    ]
    return RandomisationCheck(own, others, np.array(correlations))


def rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Spearman's rank correlation of two maps; values that tie share their mean rank.

    Args:
        a: Numbers of any shape.
        b: As many.

    Returns:
        The correlation in [-1, 1]; NaN where either has one value only.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> rank_correlation(np.array([1, 2, 3]), np.array([10, 20, 15]))
        0.5
    """
    if a.shape != b.shape:
        raise ValueError(f"Expected two maps of one shape, got {list(a.shape)} and {list(b.shape)}.")
    ranks = []
    for values in (a.ravel(), b.ravel()):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        mean_ranks = np.cumsum(counts) - (counts + 1) / 2
        ranks.append(mean_ranks[places] - (values.size - 1) / 2)
    spread = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum() / spread) if spread > 0 else float("nan")


def prepared_image(model: SimilarityModel, image: PictureLike, name: str) -> Tensor:
    """One image as the net is given it.

    Args:
        model: Its preprocessing is applied to what is not preprocessed yet.
        image: As for `similarity_saliency`.
        name: What messages call it.

    Returns:
        `[1, C, H, W]` in floating point, on the model's device.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        ValueError: If there is not exactly one image, or it does not fit the model.
    """
    if not isinstance(image, Tensor):
        image = model.preprocessing.read(image)
    if image.ndim == 4 and len(image) != 1:
        raise ValueError(f"Expected one image as {name}, got {len(image)}. Map one pair at a time.")
    batch = image if image.ndim == 4 else image[None]
    if batch.ndim != 4:
        raise ValueError(f"Expected {name} to have shape [C, H, W], got {list(image.shape)}. Use x[None].")
    return model.preprocessing(batch.detach().to(model.device))


def _checked(value: int | None, name: str, default: int, most: int) -> int:
    if value is None:
        return default
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= most:
        raise ValueError(f"Expected {name} to be a whole number from 1 to {most}, got {value!r}. Use {default}, say.")
    return number


def _by_gradient(model: SimilarityModel, image: Tensor, other: Tensor) -> Map:
    values = image.clone().requires_grad_()
    with model.evaluating(), torch.enable_grad():
        similarity = (model.embed(values)[0].double() * other.detach()).sum()
        (slope,) = torch.autograd.grad(similarity, values)
    found: Map = (slope * image).sum(dim=1)[0].float().cpu().numpy()
    return found


def _by_occlusion(
    model: SimilarityModel, image: Tensor, other: Tensor, similarity: float, *, side: int, step: int
) -> Map:
    height, width = image.shape[2:]
    places = [(top, left) for top in _starts(height, side, step) for left in _starts(width, side, step)]
    occluded = model.encode_batches(_occluded(image, places, side), len(places), progress=False)
    drops = similarity - (occluded.double() @ other).clamp(-1.0, 1.0)
    total, covered = np.zeros((2, height, width))
    for (top, left), drop in zip(places, drops.tolist(), strict=True):
        total[top : top + side, left : left + side] += drop
        covered[top : top + side, left : left + side] += 1
    found: Map = (total / covered).astype(np.float32)
    return found


def _occluded(image: Tensor, places: list[tuple[int, int]], side: int) -> Iterator[Tensor]:
    for start in range(0, len(places), _BATCH_SIZE):
        part = places[start : start + _BATCH_SIZE]
        batch = image.repeat(len(part), 1, 1, 1)
        for row, (top, left) in enumerate(part):
            around = image[0, :, max(top - side, 0) : top + 2 * side, max(left - side, 0) : left + 2 * side]
            batch[row, :, top : top + side, left : left + side] = around.mean(dim=(1, 2))[:, None, None]
        yield batch


def _starts(length: int, side: int, step: int) -> list[int]:
    starts = list(range(0, length - side + 1, step))
    return starts if starts[-1] == length - side else [*starts, length - side]


def _randomised(model: SimilarityModel, seed: int, number: int) -> SimilarityModel:
    """A copy whose weights are shuffled; which way depends on nothing but the seed and the number."""
    changed = copy.deepcopy(model)
    rng = np.random.default_rng([seed % 2**63, number])
    with torch.no_grad():
        for parameter in changed.embedding_net.parameters():
            if parameter.ndim > 1:
                order = torch.from_numpy(rng.permutation(parameter.numel())).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return changed
