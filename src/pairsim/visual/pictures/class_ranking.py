"""A figure of one image beside one example of every class, ranked by the similarity of a model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim.data.image_sets import in_memory
from pairsim.data.labels import read_labels
from pairsim.models import SimilarityModel
from pairsim.visual.page.pixels import ImageTensorLike, fetch_separate, one_image, separate_images
from pairsim.visual.page.text_styles import Names, name_of
from pairsim.visual.pictures.embedding import embed_shown
from pairsim.visual.pictures.ranking import draw_ranking

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def draw_class_ranking(
    model: SimilarityModel,
    query: Tensor,
    examples: ImageTensorLike | Any,
    *,
    names: Names = None,
    true_label: int | str | None = None,
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Compare one image with one example of every class, and draw the classes by similarity, the highest first.

    Draws with `draw_ranking`: each class has its example, rank, name, a bar, the similarity and probability as numbers,
    and a circle that is full for a match. Of more than `MAX_CLASSES` (20) classes the nearest are drawn; the title
    then gives the total.

    Args:
        model: Computes similarity and probability; also has the threshold if none is given.
        query: One image `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 pixels of any size or preprocessed.
        examples: One image for each class as a tensor or a sequence of tensors, with the labels 0, 1 and so on; or a
            labelled dataset, whose first image of every class is used.
        names: Names of the classes, by label (`names[label]`); other labels are written as they are.
        true_label: Label of the query; its class is marked with a star.
        threshold: Threshold of similarity in [-1, 1]; by default the model's own, if it has one.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Its axes are labelled `query`, `example 0` and so on by rank, `bars`, and
        `scale`.

    Raises:
        TypeError: If `model` is not a `SimilarityModel`, or images are not tensors.
        ValueError: If there is not exactly one query, there is no class, images do not fit the model, the threshold
            is not finite, or `true_label` has no example.
        DataError: If the labels of a dataset cannot be read, or its items are not images.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
        >>> figure = draw_class_ranking(SimilarityModel(), images[0], images[1:], names=["cat", "dog"], true_label=1)
        >>> [axes.get_label() for axes in figure.axes]
        ['query', 'example 0', 'example 1', 'bars', 'scale']
    """
    image = one_image(query, "query")
    pictures, labels = _examples(examples, model)
    if not labels:
        raise ValueError("Expected an example of at least one class, got none. Check what selected the examples.")
    if true_label is not None and true_label not in labels:
        raise ValueError(
            f"Expected true_label to be the label of an example, got {true_label!r}. Leave it out if there is none."
        )
    similarity = (embed_shown(model, [image], "query") @ embed_shown(model, pictures, "examples").T)[0].clamp(-1.0, 1.0)
    if threshold is None and math.isfinite(model.threshold):
        threshold = model.threshold
    return draw_ranking(
        image,
        pictures,
        [name_of(label, names) for label in labels],
        similarity,
        model.probability(similarity),
        threshold=threshold,
        preprocessing=model.preprocessing,
        true_name=None if true_label is None else name_of(true_label, names),
        title=title,
    )


def _examples(examples: ImageTensorLike | Any, model: SimilarityModel) -> tuple[list[Tensor], list[Any]]:
    """Return one image for each class, and its label."""
    if hasattr(examples, "__getitem__") and not hasattr(examples, "ndim") and not isinstance(examples, list | tuple):
        dataset = in_memory(examples)
        labels, indices = np.unique(read_labels(dataset, None), return_index=True)
        return fetch_separate(dataset, indices.tolist(), model.preprocessing), labels.tolist()
    pictures = separate_images(examples, "examples")
    return pictures, list(range(len(pictures)))
