"""Place copies in one frame: what each shows, which way round, and in how many pixels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairsim.audits.duplicates.choice.changes import Geometry, content_size, geometry
from pairsim.audits.duplicates.matching.affine_maps import composed, inverse
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint

_SAME_SCALE = 0.05
"""Logarithm of the scale within which two pictures have the same pixels: registration is not more exact."""
_SAME_AREA = 0.95
_TINY = 1e-6
SAME_ANGLE = 0.8
"""Degrees within which two copies are not rotated against each other."""


@dataclass(frozen=True)
class Place:
    """How a copy lies in a picture of the most usual frame.

    Attributes:
        frame: Number of the frame. Copies of one frame have the same size and lie on each other.
        orientation: Words such as "mirrored".
        angle: Degrees, clockwise, that it was rotated by, besides.
        extent: What is inside its border, to what is inside that of the usual frame.
        area: The whole with its border, to the whole usual frame.
        scale: Pixels along a side, to those of the usual frame.
    """

    frame: int
    orientation: tuple[str, ...]
    angle: float
    extent: float
    area: float
    scale: float


def placed(pictures: Sequence[Fingerprint], transforms: Tensor) -> list[Place]:
    """Place copies in the frame that most of them have, or in the one that shows most if none is usual.

    What is inside a border is not exactly the same in all copies, as noise or other tones hide a part of its edge. So
    the copies of one frame get the same place, which is the median of theirs.

    Args:
        pictures: `m` copies.
        transforms: Coordinates of one frame to those of each, `[m, 2, 3]`.
    """
    widest = max(range(len(pictures)), key=lambda k: _extent(pictures[k], transforms[k]))
    members = _frames(pictures, transforms, widest)
    usual = max(members, key=len)
    reference = widest if len(usual) == 1 else usual[0]
    maps = _maps_from(reference, transforms)
    places: dict[int, Place] = {}
    for number, frame in enumerate(members):
        lie = [_lie(pictures[reference], pictures[k], maps[k]) for k in frame]
        values = [
            (one.angle, one.shown / max(one.showing, _TINY), one.inside / max(one.around, _TINY), one.scale)
            for one in lie
        ]
        place = Place(number, lie[0].orientation, *(float(value) for value in np.median(values, axis=0)))
        places |= dict.fromkeys(frame, place)
    return [places[k] for k in range(len(pictures))]


def _frames(pictures: Sequence[Fingerprint], transforms: Tensor, widest: int) -> list[list[int]]:
    """Gather the copies that have the same size and lie on each other."""
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    maps = _maps_from(widest, transforms)
    for k, picture in enumerate(pictures):
        alike[picture.size, geometry(pictures[widest], picture, maps[k]).orientation].append(k)
    found: list[list[int]] = []
    for some in alike.values():
        left = some
        while left:
            maps = _maps_from(left[0], transforms)
            others = [k for k in left[1:] if _on_each_other(_lie(pictures[left[0]], pictures[k], maps[k]))]
            found.append([left[0], *others])
            left = sorted(set(left) - set(found[-1]))
    return found


def _on_each_other(lie: Geometry) -> bool:
    return min(lie.inside, lie.around) >= _SAME_AREA and abs(lie.angle) < SAME_ANGLE


def _maps_from(reference: int, transforms: Tensor) -> Tensor:
    return composed(transforms, inverse(transforms[reference]))


def _lie(reference: Fingerprint, picture: Fingerprint, transform: Tensor) -> Geometry:
    """Return how a copy lies in another one, of the same scale if it is nearly so."""
    lie = geometry(reference, picture, transform)
    if abs(math.log(lie.scale)) > _SAME_SCALE:
        return lie
    return geometry(reference, picture, torch.cat([transform[:, :2] / lie.scale, transform[:, 2:]], dim=1))


def _extent(picture: Fingerprint, transform: Tensor) -> float:
    height, width = content_size(picture)
    return min(height, width) / max(height, width) / abs(float(torch.linalg.det(transform[:, :2])) or 1.0)
