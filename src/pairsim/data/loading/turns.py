"""Quarter turns of images as classes of their own: four times as many classes from the same images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pairsim.data.image_sets import LabelledImages
from pairsim.data.random import Int64Array
from pairsim.errors import DataError

TURNS = 4
"""Quarter turns, 0 included."""


def turned_labels(images: LabelledImages) -> LabelledImages:
    """Label every image four times: once for each number of quarter turns.

    Args:
        images: N images of C classes.

    Returns:
        The same images with the labels of 4 N: number `i + k N` is image i after k quarter turns, and its label is
        that of class c after k turns, `4 c + k`, c being the place of the class among the sorted labels. Groups are
        numbered likewise.

    Example:
        >>> turned_labels(LabelledImages.of([("a.png", 3), ("b.png", 7)])).targets.tolist()
        [0, 4, 1, 5, 2, 6, 3, 7]
    """

    def turned(numbers: Int64Array) -> Int64Array:
        return np.concatenate([TURNS * numbers + turn for turn in range(TURNS)])

    groups = None if images.groups is None else turned(np.unique(images.groups, return_inverse=True)[1])
    return LabelledImages(images.dataset, turned(images.index.codes.astype(np.int64)), groups=groups)


def check_square(height: int, width: int) -> None:
    """Check that images stay as they are wide after a quarter turn.

    Raises:
        DataError: If they are not square.
    """
    if height != width:
        raise DataError(
            f"Expected square images for turns, found {height} x {width}. Set image_size to one number, or leave turns "
            "out."
        )


def quarter_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image of a batch anticlockwise, without waiting for the device.

    Args:
        images: Square `[N, C, S, S]`, any dtype, on any device.
        turns: Quarter turns, from 0 to 3 `[N]`, int64, on the same device.

    Returns:
        Images of the same shape, dtype and device.

    Example:
        >>> quarter_turned(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([1])).tolist()
        [[[[2, 4], [1, 3]]]]
    """
    odd, half = ((turns % 2 == 1).view(-1, 1, 1, 1), (turns >= 2).view(-1, 1, 1, 1))
    turned = torch.where(odd, images.transpose(2, 3).flip(2), images)
    return torch.where(half, turned.flip(2, 3), turned)
