"""Propose pairs of pictures that may be copies, and how one lies in the other.

Each feature has a key: the signs of its lowest coefficients, in its standard orientation. Features of two pictures with
one key, whose descriptions are alike, propose a pair. A look-up also tries the keys that differ in the least certain
signs, and the orientations that are nearly as standard. Pictures with few features are also compared as a whole. Of
the proposals of a picture, the twelve best are kept, so that the pairs to register grow with the number of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from pairsim._common.ordered_map import ordered_map
from pairsim.audits.duplicates.matching.affine_maps import composed, from_linear, inverse
from pairsim.audits.duplicates.matching.local_features import LENGTH, Features
from pairsim.audits.duplicates.matching.orientations import nearly_standard, orientation_matrices, oriented
from pairsim.audits.duplicates.matching.whole_pictures import alike_as_wholes

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
_MOST_IN_A_KEY = 32
"""Features of a key that are compared with a feature, at most: the next ones, so that all are connected."""
_AT_ONCE = 1 << 12
_MAX_THREADS = 4
_KEYS_AT_ONCE = 1 << 20
_BUCKETS = 1 << 24


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


def matching_features(features: Features, least: int = MIN_SUPPORT) -> Matches:
    """Find features of different pictures that are alike in one of eight orientations.

    Args:
        features: Of all pictures.
        least: Matches of a pair of pictures, at least, unless they are alike as a whole; others are left out.

    Returns:
        The best matches of each pair, sorted by pictures.
    """
    return _matches(features, _supported(features, _alike(features), least))


def _indexed(features: Features) -> _Index:
    bits = min(_MAX_BITS, max(_MIN_BITS, int(np.log2(max(len(features), 1))) + 4))
    keys = torch.cat([_keys(part, bits) for part in features.description.split(_AT_ONCE)])
    ordered, order = keys.sort(stable=True)
    begins = torch.empty(2**bits + 1, dtype=torch.int32)
    for start, part in zip(range(0, len(begins), _KEYS_AT_ONCE), begins.split(_KEYS_AT_ONCE), strict=True):
        some = torch.arange(start, start + len(part), dtype=torch.int32)
        torch.searchsorted(ordered, some, out_int32=True, out=part)
    return _Index(features, bits, begins, order.int())


def _alike(features: Features) -> list[_Found]:
    """Look up all features; what serves only for that is freed at the end."""
    index = _indexed(features)
    blocks = (
        (block, change)
        for queries, change in nearly_standard(features.description)
        for block in queries.split(_AT_ONCE)
    )
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    found = ordered_map(partial(_looked_up, index), blocks, threads=threads, ahead=threads, name="pairsim-match")
    query, match, change, likeness = alike_as_wholes(features)
    return [*found, _Found(query.int(), match.int(), change, likeness)]


@dataclass(frozen=True)
class _Found:
    """Features that are alike.

    Attributes:
        query: Feature that was looked up, int32 `[M]`.
        match: Feature that was found, int32 `[M]`.
        change: By which the query was turned, `[M, 3]`.
        likeness: Cosine `[M]`.
    """

    query: Tensor
    match: Tensor
    change: Tensor
    likeness: Tensor

    @classmethod
    def nothing(cls) -> _Found:
        none = torch.zeros(0, dtype=torch.int32)
        return cls(none, none, torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0))

    def __getitem__(self, rows: Tensor) -> _Found:
        return _Found(self.query[rows], self.match[rows], self.change[rows], self.likeness[rows])

    @classmethod
    def joined(cls, parts: Sequence[_Found]) -> _Found:
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))

    def pairs(self, features: Features) -> Tensor:
        """Return a number for the two pictures of each `[M]`, which sorts them."""
        first, second = features.picture[self.query], features.picture[self.match]
        return torch.minimum(first, second) * len(features) + torch.maximum(first, second)

    def whole(self, features: Features) -> Tensor:
        """Tell where both are whole pictures, whose feature comes first `[M]`."""
        ends = (self.query.long(), self.match.long())
        first, second = ((rows == 0) | (features.picture[rows] != features.picture[rows - 1]) for rows in ends)
        return first & second


def _supported(features: Features, parts: Sequence[_Found], least: int) -> _Found:
    """Keep the best matches of pairs that have at least some, or are alike as a whole, sorted by pictures."""
    counts = torch.zeros(_BUCKETS, dtype=torch.int32)  # most pairs have one match, and need no exact count
    for part in parts:
        counts.index_add_(0, part.pairs(features) % _BUCKETS, torch.ones_like(part.query))
    some = [part[(counts[part.pairs(features) % _BUCKETS] >= least) | part.whole(features)] for part in parts]
    found = _Found.joined(some)
    pairs, whole = found.pairs(features), found.whole(features)
    _, numbers, exact = torch.unique(pairs, return_inverse=True, return_counts=True)
    exact[numbers[whole]] = least
    kept = (exact[numbers] >= least).nonzero()[:, 0]
    rank = np.lexsort((-found.likeness[kept].numpy(), ~whole[kept].numpy(), pairs[kept].numpy()))
    kept = kept[torch.from_numpy(rank)]
    ordered = pairs[kept]
    return found[kept[torch.arange(len(kept)) - torch.searchsorted(ordered, ordered) < _VOTERS]]


def _matches(features: Features, found: _Found) -> Matches:
    query, match = found.query.long(), found.match.long()
    a, b = features.picture[query], features.picture[match]
    swap = a > b
    own = features.orientation[query]
    turned = torch.where(found.change[:, :1], own[:, [0, 2, 1]], own) ^ found.change
    turn = orientation_matrices(features.orientation[match]) @ orientation_matrices(turned).transpose(1, 2)
    forward = composed(composed(features.place[match], from_linear(turn)), inverse(features.place[query]))
    return Matches(
        first=torch.where(swap, b, a),
        second=torch.where(swap, a, b),
        likeness=found.likeness,
        whole=found.whole(features),
        centre=torch.where(swap[:, None], features.place[match, :, 2], features.place[query, :, 2]),
        transform=torch.where(swap[:, None, None], inverse(forward), forward),
    )


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


def _keys(descriptions: Tensor, bits: int) -> Tensor:
    """Join the signs of the lowest coefficients, but the first two, which are positive, int32 `[F]`."""
    powers = (2 ** torch.arange(bits)).to(torch.int32)
    return ((descriptions[:, 2 : 2 + bits] > 0) * powers).sum(dim=1, dtype=torch.int32)


@dataclass(frozen=True)
class _Index:
    """All features by their keys.

    Attributes:
        features: All features.
        bits: Signs in a key.
        begins: Place in `order` of the first feature of each key, and of the end, int32 `[2 ** bits + 1]`.
        order: Features by their keys, int32 `[F]`.
    """

    features: Features
    bits: int
    begins: Tensor
    order: Tensor


def _looked_up(index: _Index, block: tuple[Tensor, Tensor]) -> _Found:
    """Compare some features, turned by a change, with those of nearly the same key."""
    queries, change = block
    picture, described = index.features.picture, index.features.description
    asked = oriented(described[queries], change)
    keys = _keys(asked, index.bits)
    uncertain = asked[:, 2 : 2 + index.bits].abs().float().topk(_UNCERTAIN, dim=1, largest=False).indices
    results = [_Found.nothing()]
    for flips in product((0, 1), repeat=_UNCERTAIN):
        probe = keys ^ (torch.tensor(flips) << uncertain).sum(dim=1).to(torch.int32)
        begin, end = index.begins[probe].long(), index.begins[probe + 1].long()
        # in a crowded key, those from one's own place on
        count = (end - begin).clamp(max=_MOST_IN_A_KEY)
        width = end - begin
        row = torch.repeat_interleave(torch.arange(len(queries)), count)
        if not len(row):
            continue
        step = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        first = queries % width.clamp(min=1)
        found = index.order[begin[row] + (first[row] + step) % width[row]].long()
        other = picture[queries[row]] != picture[found]
        row, found = row[other], found[other]
        likeness = (asked[row].float() * described[found].float()).sum(dim=1) / LENGTH**2
        good = likeness >= MIN_LIKENESS
        row, found = row[good], found[good]
        results.append(_Found(queries[row].int(), found.int(), change.expand(len(row), 3), likeness[good]))
    return _Found.joined(results)
