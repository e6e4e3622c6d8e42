"""Join pictures that were registered with each other to families, and compare all pairs of a family in one frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim._common.progress import progress_bar
from pairsim.audits.duplicates.matching.affine_maps import composed, inverse
from pairsim.audits.duplicates.matching.candidates import Proposals
from pairsim.audits.duplicates.matching.common_copies import with_common_copies
from pairsim.audits.duplicates.matching.disjoint_sets import DisjointSets
from pairsim.audits.duplicates.matching.registration import (
    COARSE,
    FINE,
    Frames,
    FrameSource,
    aligned,
    paired_similarities,
    plausible,
    promising,
    registered,
    similarities,
)

LINK = 0.6
"""Correlation of two registered pictures that joins their families. It is not the threshold of duplicates."""
RELATED = 0.5
"""Correlation of two registered pictures that are similar, though they may be no copies."""

_MAX_SKEW = 0.04
"""Skew between copies, at most: their sides stay at right angles."""
_MAX_TILT = 0.1
"""Tangent of the angle between copies, at most, but for quarter turns."""
_WORTH_REFINING = 0.3
_WELL_SUPPORTED = 4
_MAX_TRIES = 4
"""Proposals that are tried between two families."""
_AT_ONCE = 4096
_READ_AT_ONCE = 128
"""Pairs whose pixels are in memory at once: 4 MB for 128."""


@dataclass(frozen=True)
class Family:
    """Pictures that are connected by registration.

    Attributes:
        members: Indices of the pictures, ascending `[m]`.
        similarity: Of all pairs, as copies, in [0, 1] `[m, m]`: 0 for pairs of which one is skewed or tilted against
            the other, then raised by `with_common_copies`.
        likeness: Of all pairs, as pictures, in [0, 1] `[m, m]`.
        transforms: Coordinates of the frame in which they were compared to those of each picture, `[m, 2, 3]`.
    """

    members: tuple[int, ...]
    similarity: Float64Array
    likeness: Float64Array
    transforms: Tensor


def families(
    pictures: FrameSource, proposed: Proposals, progress: bool | None = None
) -> tuple[list[Family], list[tuple[int, int, float]]]:
    """Register proposed pairs, and compare the pictures that are connected.

    A pair of which one is skewed or tilted against the other shows the same things from another place: it is related,
    and joins no families.

    Args:
        pictures: All pictures.
        proposed: Pairs that may be copies, the best supported first.
        progress: Whether to show a progress bar.

    Returns:
        Families of at least two pictures, by their first member; and pairs of pictures that are only related, with
        their correlations.
    """
    edges: dict[int, list[tuple[int, Tensor]]] = defaultdict(list)
    joined = DisjointSets(len(pictures.sizes))
    first, second, support = proposed.first.tolist(), proposed.second.tolist(), proposed.support.tolist()
    relations: list[tuple[int, int, float]] = []
    tries: dict[tuple[int, int], int] = defaultdict(int)
    waiting = _worth_a_try(pictures, proposed)
    with progress_bar(len(waiting), "registering pictures", "pairs", progress) as bar:
        while waiting:
            batch: list[int] = []
            later: list[int] = []
            busy: set[int] = set()
            for k in waiting:
                ends = joined.root(first[k]), joined.root(second[k])
                if ends[0] == ends[1] or tries[min(ends), max(ends)] >= _MAX_TRIES:
                    continue
                # well supported pairs join families one by one, so that those which they connect need no test
                if len(batch) < _AT_ONCE and (support[k] < _WELL_SUPPORTED or not busy.intersection(ends)):
                    busy.update(ends)
                    batch.append(k)
                    tries[min(ends), max(ends)] += 1
                else:
                    later.append(k)
            bar.update(len(waiting) - len(later))
            waiting = later
            for k, transform, similarity, is_copy in zip(batch, *_linked(pictures, proposed, batch), strict=True):
                if similarity >= RELATED and not (similarity >= LINK and is_copy):
                    relations.append((first[k], second[k], similarity))
                elif similarity >= LINK:
                    edges[first[k]].append((second[k], transform))
                    edges[second[k]].append((first[k], inverse(transform)))
                    joined.join(first[k], second[k])
    groups = joined.members(sorted(edges))
    found = zip(groups, _in_one_frame(pictures, groups, [edges] * len(groups)), strict=True)
    return [
        Family(
            tuple(members),
            with_common_copies(np.where(_of_copies(transforms), similarity, 0.0)),
            likeness,
            transforms,
        )
        for members, (similarity, likeness, transforms) in found
    ], relations


def compared(pictures: FrameSource, proposed: Proposals) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """Compare each proposed pair as if it were a family of its own, whether or not it is similar enough to be one.

    Args:
        pictures: All pictures.
        proposed: Pairs that may be copies.

    Returns:
        The similarity of each pair, in [0, 1] `[P]`, and whether it counts as that of copies `[P]`: neither is skewed
        or tilted against the other.
    """
    plain = plausible(proposed.transform, pictures.sizes[proposed.first], pictures.sizes[proposed.second])
    rows = plain.nonzero()[:, 0]
    result, copies = np.zeros(len(plain)), np.zeros(len(plain), dtype=np.bool_)
    maps = [torch.zeros(0, 2, 3)]
    for block in rows.split(_READ_AT_ONCE):
        a, b = pictures[proposed.first[block]], pictures[proposed.second[block]]
        coarse = registered(a, b, proposed.transform[block], COARSE)
        fine = registered(a, b, coarse, FINE)
        shown = _unmoved(a)
        better = _similarity_to(a, shown, b, fine) > _similarity_to(a, shown, b, coarse)
        maps.append(torch.where(better[:, None, None], fine, coarse))
    pairs, edges, kept = [], [], []
    for row, transform in zip(rows.tolist(), torch.cat(maps), strict=True):
        one, other = int(proposed.first[row]), int(proposed.second[row])
        if plausible(transform[None], pictures.sizes[one : one + 1], pictures.sizes[other : other + 1]):
            pairs.append([one, other])
            edges.append({one: [(other, transform)], other: [(one, inverse(transform))]})
            kept.append(row)
    for row, (similarity, _, transforms) in zip(kept, _in_one_frame(pictures, pairs, edges), strict=True):
        result[row], copies[row] = similarity[0, 1], _of_copies(transforms)[0, 1]
    return result, copies


def _worth_a_try(pictures: FrameSource, proposed: Proposals) -> list[int]:
    chosen: list[int] = []
    for start in range(0, len(proposed.first), _READ_AT_ONCE):
        block = slice(start, start + _READ_AT_ONCE)
        a, b, maps = pictures[proposed.first[block]], pictures[proposed.second[block]], proposed.transform[block]
        worth = plausible(maps, a.sizes, b.sizes) & promising(a, b, maps)
        chosen += (start + worth.nonzero()[:, 0]).tolist()
    return chosen


def _linked(
    pictures: FrameSource, proposed: Proposals, batch: list[int]
) -> tuple[list[Tensor], list[float], list[bool]]:
    maps: list[Tensor] = []
    found: list[float] = []
    copies: list[bool] = []
    for rows in torch.tensor(batch, dtype=torch.int64).split(_READ_AT_ONCE):
        a, b = pictures[proposed.first[rows]], pictures[proposed.second[rows]]
        transforms = registered(a, b, proposed.transform[rows], COARSE)
        pixels, inside = _unmoved(a)
        similarity = _similarity_to(a, (pixels, inside), b, transforms)
        # whether a map is skewed is seen when it has settled
        near = (similarity >= _WORTH_REFINING).nonzero()[:, 0]
        transforms[near] = registered(a[near], b[near], transforms[near], FINE)
        similarity[near] = _similarity_to(a[near], (pixels[near], inside[near]), b[near], transforms[near])
        maps += list(transforms)
        found += similarity.tolist()
        copies += _as_copies(transforms[..., :2]).tolist()
    return maps, found, copies


def _unmoved(pictures: Frames) -> tuple[Tensor, Tensor]:
    return aligned(pictures, pictures, torch.eye(2, 3).expand(len(pictures.sizes), 2, 3))


def _similarity_to(target: Frames, shown: tuple[Tensor, Tensor], pictures: Frames, transforms: Tensor) -> Tensor:
    """Compare pictures with the target, `shown` unmoved, to which they were registered; 0 for maps no copy has."""
    similarity = paired_similarities(*aligned(pictures, target, transforms), *shown)
    return torch.where(plausible(transforms, target.sizes, pictures.sizes), similarity, torch.zeros_like(similarity))


def _in_one_frame(
    pictures: FrameSource, groups: Sequence[list[int]], edges: Sequence[Mapping[int, Sequence[tuple[int, Tensor]]]]
) -> Iterator[tuple[Float64Array, Float64Array, Tensor]]:
    """Compare all pictures of each family in the frame of the one that shows most: similarity, likeness and maps."""
    if not groups:
        return
    placed = [_placed(pictures, members, own) for members, own in zip(groups, edges, strict=True)]
    starts, count = [0], 0
    for number, members in enumerate(groups):  # small families are registered together
        count += len(members)
        if count > _READ_AT_ONCE and number > starts[-1]:
            starts.append(number)
            count = len(members)
    for start, end in zip(starts, [*starts[1:], len(groups)], strict=True):
        sizes = [len(members) for members in groups[start:end]]
        family = pictures[torch.tensor([member for members in groups[start:end] for member in members])]
        first = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        frame = first + torch.tensor([place for place, _ in placed[start:end]])
        target = family[torch.repeat_interleave(frame, torch.tensor(sizes))]
        transforms = torch.cat([maps for _, maps in placed[start:end]])
        better = registered(target, family, transforms, FINE)
        worse = _similarity_to(target, _unmoved(target), family, better) < LINK
        transforms = torch.where(worse[:, None, None], transforms, better)
        parts = (one.split(sizes) for one in (*aligned(family, target, transforms), transforms))
        for pixels, inside, maps in zip(*parts, strict=True):
            yield *_compared(pixels, inside), maps


def _placed(
    pictures: FrameSource, members: list[int], edges: Mapping[int, Sequence[tuple[int, Tensor]]]
) -> tuple[int, Tensor]:
    """Return the place of the picture that shows most, and the maps from its frame to all."""
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
    place = int(extent.argmax())
    return place, composed(transforms, inverse(maps[members[place]]))


def similarities_in_frame(target: Frames, pictures: Frames, transforms: Tensor) -> tuple[Float64Array, Float64Array]:
    """Compare all pairs of pictures in one frame.

    Args:
        target: The picture whose frame it is, as often as there are pictures.
        pictures: `m` pictures.
        transforms: Coordinates of the frame to those of each `[m, 2, 3]`.

    Returns:
        Similarity as copies and as pictures, in [0, 1] `[m, m]`.
    """
    return _compared(*aligned(pictures, target, transforms))


def _compared(pixels: Tensor, inside: Tensor) -> tuple[Float64Array, Float64Array]:
    median, overall = (matrix.clamp(min=0).double().numpy() for matrix in similarities(pixels, inside))
    similarity = np.sqrt(np.minimum(median, median.T) * overall)
    return np.minimum(similarity, similarity.T), np.minimum(overall, overall.T)


def _of_copies(transforms: Tensor) -> npt.NDArray[np.bool_]:
    """Tell which pairs `[m, m]` differ by no more than copies do."""
    linear = transforms[:, :, :2]
    copies = _as_copies(linear[None] @ torch.linalg.inv(linear)[:, None])
    result: npt.NDArray[np.bool_] = (copies & copies.T).numpy()
    return result


def _as_copies(linear: Tensor) -> Tensor:
    """Tell which linear maps `[..., 2, 2]` a copy has: neither skewed nor tilted."""
    turned = (linear[..., 0, 1] * linear[..., 1, 0]).abs() > (linear[..., 0, 0] * linear[..., 1, 1]).abs()
    upright = torch.where(turned[..., None, None], linear.flip(-1), linear)
    upper, lower = upright[..., 0, 1] / upright[..., 0, 0], upright[..., 1, 0] / upright[..., 1, 1]
    # a turn has opposite signs, also of a mirrored picture, as each row is divided by its own scale
    copies: Tensor = ((upper + lower).abs() <= _MAX_SKEW) & ((upper - lower).abs() / 2 <= _MAX_TILT)
    return copies
