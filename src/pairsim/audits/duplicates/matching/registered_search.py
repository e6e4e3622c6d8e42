"""Find copies among pictures by their pixels: features propose pairs, and registration confirms them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from pairsim.audits.duplicates.matching.candidates import matching_features, proposals
from pairsim.audits.duplicates.matching.families import Family, families
from pairsim.audits.duplicates.matching.fingerprints import CANVAS, Fingerprint
from pairsim.audits.duplicates.matching.local_features import Features, describe_pictures
from pairsim.audits.duplicates.matching.registration import FrameSource

DESCRIBED_AT_ONCE = 16


def described(pictures: Sequence[Fingerprint]) -> Features:
    """Describe pictures; their indices begin at 0."""
    canvases = np.empty((len(pictures), CANVAS, CANVAS), dtype=np.float32)
    for row, picture in enumerate(pictures):
        height, width = picture.canvas.shape
        canvases[row] = np.pad(picture.canvas, ((0, CANVAS - height), (0, CANVAS - width)), mode="edge")
    sizes = torch.tensor([picture.canvas.shape for picture in pictures])
    return describe_pictures(torch.from_numpy(canvases), sizes)


def joined(parts: Iterable[Features]) -> Features:
    """Join the features of blocks of pictures, in order."""
    counts, lists = 0, []
    for part in parts:
        lists.append((part.picture + counts, part.place, part.orientation, part.description))
        counts += int(part.picture.max()) + 1
    return Features(*(torch.cat(columns) for columns in zip(*lists, strict=True)))


def separated(features: Features) -> list[Features]:
    """Split the features of pictures into those of each."""
    counts = torch.bincount(features.picture).tolist()
    columns = (features.place, features.orientation, features.description)
    parts = zip(*(torch.split(column, counts) for column in columns), strict=True)
    return [Features(torch.zeros(count, dtype=torch.int64), *own) for count, own in zip(counts, parts, strict=True)]


def related(
    pictures: FrameSource, features: Features, progress: bool | None
) -> tuple[list[Family], list[tuple[int, int, float]]]:
    """Find the families of pictures, and pairs of pictures that are similar, see `families`.

    Args:
        pictures: Grey copies of all different pictures.
        features: Of them.
        progress: Whether to show progress bars.
    """
    proposed = proposals(matching_features(features))
    del features  # those of many pictures need more memory than what follows
    return families(pictures, proposed, progress)


def chosen_features(features: Features, pictures: Sequence[int]) -> Features:
    """Take the features of some pictures, which are numbered anew in the given order."""
    place = torch.full((int(features.picture.max()) + 1,), -1)
    place[torch.tensor(pictures)] = torch.arange(len(pictures))
    picture = place[features.picture]
    order = torch.argsort(picture, stable=True)
    order = order[picture[order] >= 0]
    return Features(picture[order], features.place[order], features.orientation[order], features.description[order])
