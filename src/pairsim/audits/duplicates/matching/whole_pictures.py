"""Find pictures that are alike as a whole, for those with so few features that an edit leaves too few matches.

The description of a whole picture gives back its coarse grey values. Whether they rise or fall from one to the next
changes little by light, contrast, blur, a border, a text or a slight rotation.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from pairsim.audits.duplicates.matching.local_features import Features, coarse_values
from pairsim.audits.duplicates.matching.orientations import inverses, oriented
from pairsim.audits.picture_matching import coarse_matches

FEW_FEATURES = 12
"""Features of a picture that is sought as a whole too, at most."""
_GRID = 8
"""Rows and columns of the coarse values."""
_AGREEING = 0.8
"""Share of the steps between neighbours that have the same sign, at least."""
_MOST = 12
"""Pictures that are alike with one, at most."""
_SCALE = 1 << 12
"""Weights are rounded to multiples of its inverse, so that sums are exact."""


def alike_as_wholes(features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find pictures in the same orientation that are alike as a whole, of which one has few features.

    Args:
        features: Of all pictures, the whole coming first.

    Returns:
        Rows of the whole pictures that are alike, `[M]` and `[M]`; by which the first ones have to be turned from their
        standard orientation `[M, 3]`; and the shares of steps that agree `[M]`.
    """
    counts = torch.bincount(features.picture)
    wholes = counts.cumsum(0) - counts
    signs = _signs(features.description[wholes], features.orientation[wholes])
    few = counts <= FEW_FEATURES
    asked = few.nonzero()[:, 0]
    least = (2 * _AGREEING - 1) * signs.shape[1]
    parts = [torch.zeros(0, 2, dtype=torch.int64)]
    for query, match in coarse_matches(signs[asked][:, None], signs[:, None], least, limit=_MOST + 1):
        pairs = torch.stack([asked[torch.from_numpy(query)], torch.from_numpy(match)], dim=1)
        once = (pairs[:, 0] < pairs[:, 1]) | ((pairs[:, 0] > pairs[:, 1]) & ~few[pairs[:, 1]])
        parts.append(pairs[once])
    first, second = torch.cat(parts).unbind(dim=1)
    agreeing = (1 + (signs[first] * signs[second]).mean(dim=1)) / 2
    own, other = features.orientation[wholes[first]], features.orientation[wholes[second]]
    transposed = own[:, :1] ^ other[:, :1]
    change = torch.where(transposed, own[:, [0, 2, 1]], own) ^ other
    return wholes[first], wholes[second], change, agreeing


def _signs(descriptions: Tensor, orientations: Tensor) -> Tensor:
    """Tell where the coarse values of whole pictures rise and fall, 1 and -1, float32 `[N, D]`."""
    upright = oriented(descriptions, inverses(orientations)).double()
    steps = upright @ _steps()
    return torch.where(steps > 0, 1.0, -1.0)


@cache
def _steps() -> Tensor:
    """Weights of the coefficients in each step to the right and down, `[D, 2 G (G - 1)]`."""
    values = coarse_values(_GRID)
    across, down = values[:, :, 1:] - values[:, :, :-1], values[:, 1:] - values[:, :-1]
    return (torch.cat([across.flatten(1), down.flatten(1)], dim=1) * _SCALE).round()
