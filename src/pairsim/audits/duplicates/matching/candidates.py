"""Propose pairs of pictures that may be copies, and how one lies in the other.

Each feature has a key: the signs of its lowest coefficients, in its standard orientation. Features of two pictures with
one key, whose descriptions are alike, propose a pair. A look-up also tries the keys that differ in the least certain
signs, and the orientations that are nearly as standard. Of the proposals of a picture, the twelve best are kept, so
that the pairs to register grow with the number of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pairsim.audits.duplicates.matching.affine_maps import composed, from_linear, inverse
from pairsim.audits.duplicates.matching.local_features import FLIP_X, FLIP_Y, LENGTH, TRANSPOSED, Features

MIN_LIKENESS = 0.8
"""Cosine of the descriptions of two features, at least."""

MIN_SUPPORT = 3
"""Features that have to agree on how two pictures lie."""

_MOST_PARTNERS = 12
"""Pairs of a picture that are proposed, at most, but for those that are among the best of the other one. Many copies of
one picture are connected through each other."""
_VOTERS = 12
"""Matches of a pair that are heard, at most: the best."""
_MAX_DISTANCE = 0.12
"""Distance, the longer side of a picture being 2, within which two maps agree at a point."""
_MAX_TURN = 0.35
"""Relative difference of the linear parts of two maps that agree."""
_PAIRS_AT_ONCE = 4096
_MIN_BITS, _MAX_BITS = 14, 24
_UNCERTAIN = 3
"""Signs of a key that a look-up tries both ways."""
_NEARLY = 15
"""Coefficients that differ by less leave the orientation open."""
_MOST_IN_A_KEY = 32
"""Features of a key that are compared with a feature, at most: the next ones, so that all are connected."""
_AT_ONCE = 1 << 13


@dataclass(frozen=True)
class Matches:
    """Features of two pictures that are alike.

    Attributes:
        first: Index of the first picture `[M]`.
        second: Index of the second picture `[M]`, larger.
        likeness: Cosine of the descriptions `[M]`.
        whole: Whether both features are the picture as a whole `[M]`.
        centre: Centre of the feature in the first picture `[M, 2]`.
        transform: float32 `[M, 2, 3]`: maps coordinates of the first picture to those of the second.
    """

    first: Tensor
    second: Tensor
    likeness: Tensor
    whole: Tensor
    centre: Tensor
    transform: Tensor


def matching_features(features: Features) -> Matches:
    """Find features of different pictures that are alike in one of eight orientations.

    Args:
        features: Of all pictures.

    Returns:
        Matches, sorted by pictures.
    """
    bits = min(_MAX_BITS, max(_MIN_BITS, int(np.log2(max(len(features), 1))) + 4))
    own = _standard(features.description)
    turned = _oriented(features.description, own)
    keys = _keys(turned, bits)
    order = torch.argsort(keys, stable=True)

    queries, orientations = _nearly_standard(features.description)
    asked = _oriented(features.description[queries], orientations)
    parts = []
    index = _Index(features, bits, turned, keys[order], order)
    for start in range(0, len(queries), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        parts += _looked_up(index, asked[block], queries[block], orientations[block])
    if not parts:
        none = torch.zeros(0, dtype=torch.int64)
        return Matches(none, none, torch.zeros(0), none.bool(), torch.zeros(0, 2), torch.zeros(0, 2, 3))
    query, found, orientation, likeness = (torch.cat(values) for values in zip(*parts, strict=True))
    swap = features.picture[query] > features.picture[found]
    a, b = features.picture[query], features.picture[found]
    first, second = torch.where(swap, b, a), torch.where(swap, a, b)
    turn = orientation_matrices(own[found]) @ orientation_matrices(orientation).transpose(1, 2)
    forward = composed(composed(features.place[found], from_linear(turn)), inverse(features.place[query]))
    transform = torch.where(swap[:, None, None], inverse(forward), forward)
    is_whole = features.picture != torch.roll(features.picture, 1)  # it comes first
    is_whole[0] = True
    whole = is_whole[query] & is_whole[found]
    centre = torch.where(swap[:, None], features.place[found, :, 2], features.place[query, :, 2])
    rank = torch.from_numpy(np.lexsort((-likeness.numpy(), ~whole.numpy(), second.numpy(), first.numpy())))
    return Matches(first[rank], second[rank], likeness[rank], whole[rank], centre[rank], transform[rank])


@dataclass(frozen=True)
class Proposals:
    """Pairs of pictures that may be copies, the best supported first.

    Attributes:
        first: Index of the first picture `[P]`.
        second: Index of the second picture `[P]`, larger.
        support: Features that agree on how the pictures lie `[P]`.
        transform: float32 `[P, 2, 3]`: maps coordinates of the first picture to those of the second.
    """

    first: Tensor
    second: Tensor
    support: Tensor
    transform: Tensor


def proposals(matches: Matches) -> Proposals:
    """Choose for each pair of pictures the map on which most of its matches agree.

    Args:
        matches: Sorted by pictures.

    Returns:
        Pairs for which at least `MIN_SUPPORT` features agree, or that are alike as a whole.
    """
    if not len(matches.first):
        return Proposals(matches.first, matches.second, matches.first, matches.transform)
    begins = (matches.first[1:] != matches.first[:-1]) | (matches.second[1:] != matches.second[:-1])
    start = torch.cat([torch.zeros(1, dtype=torch.int64), begins.nonzero()[:, 0] + 1])
    count = torch.diff(torch.cat([start, torch.tensor([len(matches.first)])])).clamp(max=_VOTERS)
    worth = (count >= MIN_SUPPORT) | matches.whole[start]
    start, count = start[worth], count[worth]
    chosen, support = [start[:0]], [start[:0]]
    for block in range(0, len(start), _PAIRS_AT_ONCE):
        begin, number = start[block : block + _PAIRS_AT_ONCE], count[block : block + _PAIRS_AT_ONCE]
        rows = begin[:, None] + torch.minimum(torch.arange(_VOTERS), number[:, None] - 1)
        voting = torch.arange(_VOTERS) < number[:, None]
        maps, centres = matches.transform[rows], matches.centre[rows]
        linear = maps[..., :2]
        ends = torch.einsum("pvij,pwj->pvwi", linear, centres) + maps[:, :, None, :, 2]  # of map v at centre w
        own = ends.diagonal(dim1=1, dim2=2).transpose(1, 2)
        distance = (ends - own[:, None]).norm(dim=-1)
        turned = (linear[:, :, None] - linear[:, None]).flatten(3).norm(dim=-1) / linear.flatten(2).norm(dim=-1)[
            :, None
        ]
        votes = ((distance < _MAX_DISTANCE) & (turned < _MAX_TURN) & voting[:, None] & voting[:, :, None]).sum(dim=2)
        best = votes.argmax(dim=1)
        chosen.append(begin + best)
        support.append(votes.amax(dim=1))
    at, votes = torch.cat(chosen), torch.cat(support)
    good = (votes >= MIN_SUPPORT) | matches.whole[at]
    at, votes = at[good], votes[good]
    order = torch.argsort(votes, descending=True, stable=True)
    at, votes = at[order], votes[order]
    near = _best_partners(matches.first[at], matches.second[at])
    at, votes = at[near], votes[near]
    return Proposals(matches.first[at], matches.second[at], votes, matches.transform[at])


def _best_partners(first: Tensor, second: Tensor) -> Tensor:
    """Keep pairs, the best coming first, that are among the best of one of their pictures."""
    ends = torch.stack([first, second], dim=1).flatten()
    order = torch.argsort(ends, stable=True)
    ordered = ends[order]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)
    return rank.view(-1, 2).amin(dim=1) < _MOST_PARTNERS


def orientation_matrices(orientations: Tensor) -> Tensor:
    """Return the signed permutations `[F, 2, 2]` of orientations `[F, 3]`: transposed, flipped in x, flipped in y."""
    transposed, flip_x, flip_y = (orientations[:, k].float() for k in range(3))
    matrices = torch.zeros(len(orientations), 2, 2)
    matrices[:, 0, 0] = (1 - transposed) * (1 - 2 * flip_x)
    matrices[:, 0, 1] = transposed * (1 - 2 * flip_y)
    matrices[:, 1, 0] = transposed * (1 - 2 * flip_x)
    matrices[:, 1, 1] = (1 - transposed) * (1 - 2 * flip_y)
    return matrices


def _standard(descriptions: Tensor) -> Tensor:
    """Return the orientation `[F, 3]` in which the lowest two odd coefficients are positive, the horizontal larger."""
    horizontal, vertical = descriptions[:, 0], descriptions[:, 1]
    transposed = vertical.abs() > horizontal.abs()
    flip_x = torch.where(transposed, vertical, horizontal) < 0
    flip_y = torch.where(transposed, horizontal, vertical) < 0
    return torch.stack([transposed, flip_x, flip_y], dim=1)


def _nearly_standard(descriptions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features `[Q]`, and the orientations `[Q, 3]` which could as well be standard for them."""
    own = _standard(descriptions)
    horizontal, vertical = descriptions[:, 0].abs().int(), descriptions[:, 1].abs().int()
    open_ = torch.stack(
        [
            (horizontal - vertical).abs() < _NEARLY,
            torch.maximum(horizontal, vertical) < _NEARLY,
            torch.minimum(horizontal, vertical) < _NEARLY,
        ],
        dim=1,
    )
    queries, orientations = [], []
    for change in product((False, True), repeat=3):
        changed = torch.tensor(change)
        chosen = (open_ | ~changed).all(dim=1).nonzero()[:, 0]
        orientation = own[chosen]
        if change[0]:  # the flips belong to the axes after the transposition
            orientation = orientation[:, [0, 2, 1]]
        queries.append(chosen)
        orientations.append(orientation ^ changed)
    return torch.cat(queries), torch.cat(orientations)


def _oriented(descriptions: Tensor, orientations: Tensor) -> Tensor:
    transposed = torch.where(orientations[:, :1], descriptions[:, TRANSPOSED], descriptions)
    signs = torch.where(orientations[:, 1:2], FLIP_X, torch.ones_like(FLIP_X))
    return transposed * signs * torch.where(orientations[:, 2:], FLIP_Y, torch.ones_like(FLIP_Y))


def _keys(descriptions: Tensor, bits: int) -> Tensor:
    """Join the signs of the lowest coefficients, but the first two, which are positive."""
    powers = 2 ** torch.arange(bits)
    return ((descriptions[:, 2 : 2 + bits] > 0) * powers).sum(dim=1)


@dataclass(frozen=True)
class _Index:
    """All features by their keys.

    Attributes:
        features: All features.
        bits: Signs in a key.
        turned: Descriptions in standard orientation.
        keys: Ascending.
        order: Feature of each key.
    """

    features: Features
    bits: int
    turned: Tensor
    keys: Tensor
    order: Tensor


def _looked_up(
    index: _Index, asked: Tensor, queries: Tensor, orientations: Tensor
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Compare features with those of nearly the same key: query, match, orientation of the query, likeness."""
    features, bits, turned, sorted_keys, order = index.features, index.bits, index.turned, index.keys, index.order
    keys = _keys(asked, bits)
    uncertain = asked[:, 2 : 2 + bits].abs().float().topk(_UNCERTAIN, dim=1, largest=False).indices
    results = []
    for flips in product((0, 1), repeat=_UNCERTAIN):
        probe = keys ^ (torch.tensor(flips) << uncertain).sum(dim=1)
        begin = torch.searchsorted(sorted_keys, probe)
        end = torch.searchsorted(sorted_keys, probe, right=True)
        # in a crowded key, those from one's own place on
        count = (end - begin).clamp(max=_MOST_IN_A_KEY)
        width = end - begin
        row = torch.repeat_interleave(torch.arange(len(queries)), count)
        if not len(row):
            continue
        step = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        first = queries % width.clamp(min=1)
        found = order[begin[row] + (first[row] + step) % width[row]]
        other = features.picture[queries[row]] != features.picture[found]
        row, found = row[other], found[other]
        likeness = (asked[row].float() * turned[found].float()).sum(dim=1) / LENGTH**2
        good = likeness >= MIN_LIKENESS
        row, found = row[good], found[good]
        results.append((queries[row], found, orientations[row], likeness[good]))
    return results
