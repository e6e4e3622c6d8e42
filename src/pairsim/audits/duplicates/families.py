"""Join pictures that were registered with each other to families, and compare all pairs of a family in one frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim._common.progress import progress_bar
from pairsim.audits.duplicates.affine import composed, inverse
from pairsim.audits.duplicates.candidates import Proposals
from pairsim.audits.duplicates.registration import (
    Frames,
    aligned,
    paired_similarities,
    plausible,
    registered,
    similarities,
)

LINK = 0.5
"""Similarity of two registered pictures that joins their families. It is not the threshold of duplicates."""

_MAX_SKEW = 0.04
"""Skew between copies, at most: their sides stay at right angles."""
_MAX_TILT = 0.1
"""Tangent of the angle between copies, at most, but for quarter turns."""
_MAX_TRIES = 4
"""Proposals that are tried between two families."""
_AT_ONCE = 4096


@dataclass(frozen=True)
class Family:
    """Pictures that are connected by registration.

    Attributes:
        members: Indices of the pictures, ascending `[m]`.
        similarity: Of all pairs, as copies, in [0, 1] `[m, m]`; 0 for pairs of which none is a copy of the other, as
            one is skewed or tilted against the other: another view of the same things.
        likeness: Of all pairs, as pictures, in [0, 1] `[m, m]`.
        transforms: Coordinates of the frame in which they were compared to those of each picture, `[m, 2, 3]`.
    """

    members: tuple[int, ...]
    similarity: Float64Array
    likeness: Float64Array
    transforms: Tensor


def families(pictures: Frames, proposed: Proposals, progress: bool | None = None) -> list[Family]:
    """Register proposed pairs, and compare the pictures that are connected.

    Args:
        pictures: All pictures.
        proposed: Pairs that may be copies, the best supported first.
        progress: Whether to show a progress bar.

    Returns:
        Families of at least two pictures, by their first member.
    """
    parent = list(range(len(pictures.sizes)))
    edges: dict[int, list[tuple[int, Tensor]]] = defaultdict(list)

    def root(picture: int) -> int:
        while parent[picture] != picture:
            parent[picture] = parent[parent[picture]]
            picture = parent[picture]
        return picture

    first, second = proposed.first.tolist(), proposed.second.tolist()
    tries: dict[tuple[int, int], int] = defaultdict(int)
    waiting = (
        plausible(proposed.transform, pictures.sizes[proposed.first], pictures.sizes[proposed.second])
        .nonzero()[:, 0]
        .tolist()
    )
    with progress_bar(len(waiting), "registering pictures", "pairs", progress) as bar:
        while waiting:
            batch: list[int] = []
            later: list[int] = []
            busy: set[int] = set()
            for k in waiting:
                ends = root(first[k]), root(second[k])
                if ends[0] == ends[1] or tries[min(ends), max(ends)] >= _MAX_TRIES:
                    continue
                if len(batch) < _AT_ONCE and not busy.intersection(ends):
                    busy.update(ends)
                    batch.append(k)
                    tries[min(ends), max(ends)] += 1
                else:
                    later.append(k)
            bar.update(len(waiting) - len(later))
            waiting = later
            for k, transform, similarity in zip(batch, *_linked(pictures, proposed, batch), strict=True):
                if similarity >= LINK:
                    edges[first[k]].append((second[k], transform))
                    edges[second[k]].append((first[k], inverse(transform)))
                    parent[root(first[k])] = root(second[k])
    groups: dict[int, list[int]] = defaultdict(list)
    for picture in sorted(edges):
        groups[root(picture)].append(picture)
    return [_family(pictures, members, edges) for members in sorted(groups.values())]


def compared(pictures: Frames, proposed: Proposals) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """Compare each proposed pair as if it were a family of its own, whether or not it is similar enough to be one.

    Args:
        pictures: All pictures.
        proposed: Pairs that may be copies.

    Returns:
        The similarity of each pair, in [0, 1] `[P]`, and whether it counts as that of copies `[P]`: neither is skewed
        or tilted against the other.
    """
    plain = plausible(proposed.transform, pictures.sizes[proposed.first], pictures.sizes[proposed.second])
    rows = plain.nonzero()[:, 0].tolist()
    result, copies = np.zeros(len(plain)), np.zeros(len(plain), dtype=np.bool_)
    maps, linked = _linked(pictures, proposed, rows)
    for row, transform, similarity in zip(rows, maps, linked, strict=True):
        if similarity > 0:
            a, b = int(proposed.first[row]), int(proposed.second[row])
            matrix, _, transforms = _in_one_frame(pictures, [a, b], {a: [(b, transform)], b: [(a, inverse(transform))]})
            result[row], copies[row] = matrix[0, 1], _of_copies(transforms)[0, 1]
    return result, copies


def _linked(pictures: Frames, proposed: Proposals, batch: list[int]) -> tuple[list[Tensor], list[float]]:
    rows = torch.tensor(batch, dtype=torch.int64)
    a, b = pictures[proposed.first[rows]], pictures[proposed.second[rows]]
    transforms = registered(a, b, proposed.transform[rows])
    similarity = _similarity_to(a, b, transforms)
    return list(transforms), similarity.tolist()


def _similarity_to(target: Frames, pictures: Frames, transforms: Tensor) -> Tensor:
    """Compare pictures with the target to which they were registered; 0 for maps that no copy has."""
    unmoved = torch.eye(2, 3).expand(len(transforms), 2, 3)
    similarity = paired_similarities(*aligned(pictures, target, transforms), *aligned(target, target, unmoved))
    return torch.where(plausible(transforms, target.sizes, pictures.sizes), similarity, torch.zeros_like(similarity))


def _family(pictures: Frames, members: list[int], edges: dict[int, list[tuple[int, Tensor]]]) -> Family:
    similarity, likeness, transforms = _in_one_frame(pictures, members, edges)
    return Family(tuple(members), np.where(_of_copies(transforms), similarity, 0.0), likeness, transforms)


def _in_one_frame(
    pictures: Frames, members: list[int], edges: Mapping[int, Sequence[tuple[int, Tensor]]]
) -> tuple[Float64Array, Float64Array, Tensor]:
    """Compare all pictures of a family in the frame of the one that shows most: similarity, likeness and maps."""
    start = members[0]
    maps = {start: torch.eye(2, 3)}
    reached = [start]
    for picture in reached:
        for other, transform in edges[picture]:
            if other not in maps:
                maps[other] = composed(transform, maps[picture])
                reached.append(other)
    transforms = torch.stack([maps[member] for member in members])
    sizes = pictures.sizes[members]
    shares = (sizes / sizes.amax(dim=1, keepdim=True)).prod(dim=1)
    extent = shares / torch.linalg.det(transforms[..., :2]).abs().clamp(min=1e-6)
    frame = members[int(extent.argmax())]
    transforms = composed(transforms, inverse(maps[frame]))
    family = pictures[torch.tensor(members)]
    target = Frames(pictures.pixels[frame].expand_as(family.pixels), pictures.sizes[frame].expand_as(family.sizes))
    better = registered(target, family, transforms)
    gain = _similarity_to(target, family, better) > _similarity_to(target, family, transforms)
    transforms = torch.where(gain[:, None, None], better, transforms)
    median, overall = (
        matrix.clamp(min=0).double().numpy() for matrix in similarities(*aligned(family, target, transforms))
    )
    similarity = np.sqrt(np.minimum(median, median.T) * overall)
    return np.minimum(similarity, similarity.T), np.minimum(overall, overall.T), transforms


def _of_copies(transforms: Tensor) -> npt.NDArray[np.bool_]:
    """Tell which pairs `[m, m]` differ by no more than a copy does: neither is skewed or tilted against the other."""
    linear = transforms[:, :, :2]
    pairs = linear[None] @ torch.linalg.inv(linear)[:, None]  # from the first to the second
    turned = (pairs[..., 0, 1] * pairs[..., 1, 0]).abs() > (pairs[..., 0, 0] * pairs[..., 1, 1]).abs()
    pairs = torch.where(turned[..., None, None], pairs.flip(-1), pairs)
    upper, lower = pairs[..., 0, 1] / pairs[..., 0, 0], pairs[..., 1, 0] / pairs[..., 1, 1]
    # on either side of a mirror line, a turn has the same signs and a skew has opposite ones
    lower = lower * torch.sign(pairs[..., 0, 0] * pairs[..., 1, 1])
    skew, tilt = (upper + lower).abs(), (upper - lower).abs() / 2
    copies = (skew <= _MAX_SKEW) & (tilt <= _MAX_TILT)
    result: npt.NDArray[np.bool_] = (copies & copies.T).numpy()
    return result
