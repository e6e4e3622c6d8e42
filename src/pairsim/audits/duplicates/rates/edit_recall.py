"""Measure which edits of a folder's own pictures a search for duplicates finds.

Each kind of edit is searched for by itself, so that an edited picture is found by its original alone, as a copy in a
folder has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pairsim._common.choices import OnError
from pairsim.audits.duplicates.listed_pictures import Listed, read_all
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.registered_search import (
    DESCRIBED_AT_ONCE,
    chosen_features,
    described,
    joined,
    related,
)
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.audits.duplicates.rates.edits import EDITS
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError
from pairsim.evaluation.uncertainty.wilson import wilson_interval

_MAX_EDITED = 100
_SIDE = 640
"""Longer side of pictures that are edited, at most."""


@dataclass(frozen=True, kw_only=True)
class EditRecall:
    """How many of the copies with one change are found.

    Attributes:
        edit: What was done, such as "cropped 10 %".
        kind: What was changed, in the words of the report.
        found: Copies that have at least the threshold.
        total: Copies.
        interval: 95 % interval of the share that is found, by Wilson.
    """

    edit: str
    kind: str
    found: int
    total: int
    interval: tuple[float, float]

    @property
    def recall(self) -> float:
        """Share of the copies that are found."""
        return self.found / self.total


def edit_recall(
    pictures: Sequence[Listed], threshold: float, on_error: OnError, progress: bool | None
) -> tuple[tuple[EditRecall, ...], int, int]:
    """Edit up to 100 pictures, and search for each kind of edit.

    Args:
        pictures: That are no copies of each other.
        threshold: Similarity from which pictures are copies.
        on_error: What to do if a picture can no longer be read.
        progress: Whether to show progress bars.

    Returns:
        The recall of each edit; the pairs of different pictures of which one or both are edited; and how many of these
        have the threshold.
    """

    def with_edits(image: Tensor) -> list[Fingerprint]:
        small = _reduced(image)
        return [fingerprint(small), *(fingerprint(edit.apply(small).pixels) for edit in EDITS)]

    results = read_all(drawn(pictures, _MAX_EDITED), with_edits, white=None, on_error=on_error, progress=progress)
    prints = [found for _, found in results if not isinstance(found, Skipped)]
    count = len(prints)
    if not count:
        raise DataError("Expected pictures that can be read, but they no longer can. Look at the folder.")
    features = all_described([one for versions in prints for one in versions])
    versions = len(EDITS) + 1
    recall, pairs, false = [], 0, 0
    for number, edit in enumerate(EDITS, start=1):
        rows = [start * versions for start in range(count)] + [start * versions + number for start in range(count)]
        both = frames([prints[row // versions][row % versions].grey for row in rows])
        found = 0
        for family in related(both, chosen_features(features, rows), False)[0]:
            first, second = np.triu_indices(len(family.members), 1)
            members = np.array(family.members)
            reached = family.similarity[first, second] >= threshold
            same = members[first] % count == members[second] % count
            found += int((reached & same).sum())
            edited = members[second] >= count  # the second has the higher number
            false += int((reached & ~same & edited).sum())
        pairs += count * (count - 1) * 3 // 2
        low, high = wilson_interval(found, count)
        recall.append(
            EditRecall(edit=edit.name, kind=edit.kind, found=found, total=count, interval=(float(low), float(high)))
        )
    return tuple(recall), pairs, false


def _reduced(image: Tensor) -> Tensor:
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    if max(picture.size) <= _SIDE:
        return image
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def drawn(pictures: Sequence[Listed], most: int) -> list[Listed]:
    """Draw pictures with a fixed seed, and keep their order."""
    if len(pictures) <= most:
        return list(pictures)
    chosen = np.random.default_rng(0).choice(len(pictures), most, replace=False)
    return [pictures[k] for k in np.sort(chosen)]


def all_described(prints: Sequence[Fingerprint]) -> Features:
    """Describe any number of pictures."""
    starts = range(0, len(prints), DESCRIBED_AT_ONCE)
    return joined(described(prints[start : start + DESCRIBED_AT_ONCE]) for start in starts)
