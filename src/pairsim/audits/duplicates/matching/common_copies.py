"""Raise the similarity of pictures that are both copies of the same others."""

from __future__ import annotations

import numpy as np

from pairsim._common.arrays import Float64Array

COMMON = 4
"""Pictures that two have to be like, both, so that their own similarity counts no less."""
_NEAREST = 12
"""Pictures most like one that are considered."""


def with_common_copies(similarity: Float64Array) -> Float64Array:
    """Raise the similarity of each pair to the highest that both have to each of `COMMON` other pictures.

    Two edits of one picture may be less like each other than each is like the picture and its other copies. Pictures
    that are alike by chance, or of a burst, hardly have four others in common.

    Args:
        similarity: Symmetric matrix `[m, m]`, with the highest values on the diagonal.

    Returns:
        The same or higher, symmetric `[m, m]`.

    Example:
        >>> similarity = np.full((6, 6), 0.9)
        >>> similarity[0, 1] = similarity[1, 0] = 0.5
        >>> float(with_common_copies(similarity)[0, 1])
        0.9
    """
    result = similarity.copy()
    if len(similarity) < COMMON + 2:
        return result
    for row, own in enumerate(similarity):
        near = np.argsort(-own, kind="stable")
        near = near[near != row][:_NEAREST]
        through = np.minimum(own[near, None], similarity[near])
        through[np.arange(len(near)), near] = 0.0  # a picture has no part in its own pair
        raised = np.partition(through, -COMMON, axis=0)[-COMMON]
        raised[row] = own[row]
        result[row] = np.maximum(result[row], raised)
        result[:, row] = result[row]
    return result
