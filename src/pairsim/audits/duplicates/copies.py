"""Turn groups of connected pictures into clusters: which picture to keep, and how the others differ from it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.choice.changes import changes, relative
from pairsim.audits.duplicates.choice.file_facts import FileFacts, file_facts, keep_order, keep_reason
from pairsim.audits.duplicates.choice.keeping import chosen
from pairsim.audits.duplicates.duplicate_report import EXACT_KINDS, Duplicate, DuplicateCluster
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.disjoint_sets import DisjointSets
from pairsim.audits.duplicates.matching.families import RELATED
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint
from pairsim.audits.picture_matching import Size, indices_by_key
from pairsim.errors import ImageReadError

Relation: TypeAlias = tuple[int, int, float]
"""Indices of two pictures that are similar, and their similarity."""


@dataclass(frozen=True, slots=True)
class Read:
    """A picture that was read.

    Attributes:
        listed: As it was listed.
        digest: Of its pixels.
        size: Height and width, pixels.
        fingerprint: Returns what copies are found by; `None` where a model finds them.
    """

    listed: Listed
    digest: bytes
    size: Size
    fingerprint: Callable[[], Fingerprint] | None = None


@dataclass(frozen=True)
class Group:
    """Pictures that are connected, with those that have the same pixels.

    Attributes:
        members: For each of `m` different pictures, the indices of those that have its pixels.
        similarity: As duplicates `[m, m]`.
        likeness: As pictures `[m, m]`.
        transforms: Coordinates of one frame to those of each `[m, 2, 3]`; `None` if they were not registered.
    """

    members: Sequence[Sequence[int]]
    similarity: Float64Array
    likeness: Float64Array
    transforms: Tensor | None


@dataclass(frozen=True)
class Copies:
    """Pictures that are copies of each other.

    Attributes:
        read: All pictures.
        group: Of which these are a part.
        parts: Places in the group.
    """

    read: Sequence[Read]
    group: Group
    parts: Sequence[int]

    def cluster(self, *, against: bool) -> DuplicateCluster | None:
        """Choose the picture to keep, and name the changes of the others.

        Args:
            against: Whether a picture of the folder compared against is kept, and only others are members.

        Returns:
            `None` if there is nothing to keep, or nothing else.
        """
        everything = self.everything
        candidates = [one for one in everything if self.read[one[1]].listed.reference or not against]
        others = [one for one in everything if not self.read[one[1]].listed.reference]
        if not candidates or not others or len(everything) == 1:
            return None
        facts = self.facts
        part, kept, reason = self.kept_of_all if candidates == everything else self._kept(candidates)
        copies = [(other, k) for other, k in others if k != kept]
        members = [
            Duplicate(
                file=self.read[k].listed.name,
                similarity=1.0 if other == part else float(self.group.similarity[part, other]),
                kind=kind,
                facts=facts[k],
            )
            for (other, k), kind in zip(copies, self._kinds(part, kept, copies, facts), strict=True)
        ]
        members.sort(key=lambda member: (-member.similarity, member.kind not in EXACT_KINDS, member.file))
        name = self.read[kept].listed.name
        return DuplicateCluster(keep=name, members=tuple(members), reason=reason, facts=facts[kept])

    def pictures(self) -> list[int]:
        """Return the indices of all."""
        return [k for _, k in self.everything]

    def head(self) -> int:
        """Return the picture that stands for these."""
        return self.kept_of_all[1]

    @cached_property
    def everything(self) -> list[tuple[int, int]]:
        """The part and index of each picture."""
        return [(part, k) for part in self.parts for k in self.group.members[part]]

    @cached_property
    def facts(self) -> dict[int, FileFacts]:
        """Facts on the file of each picture, by its index."""
        return {k: facts_of(self.read[k]) for _, k in self.everything}

    @cached_property
    def kept_of_all(self) -> tuple[int, int, str]:
        """Part and index of the picture to keep, and why."""
        return self._kept(self.everything)

    def _kept(self, candidates: Sequence[tuple[int, int]]) -> tuple[int, int, str]:
        if len(candidates) == 1:
            return *candidates[0], "the only one in the folder compared against"
        listed = [self.read[k].listed for _, k in candidates]
        files = [self.facts[k] for _, k in candidates]
        if self.group.transforms is None:
            order = sorted(range(len(listed)), key=lambda row: keep_order(files[row], listed[row].name))
            best, reason = order[0], keep_reason(files[order[0]], files[order[1]])
        else:
            prints = self._fingerprints([k for _, k in candidates])
            best, reason = chosen(prints, self.group.transforms[[part for part, _ in candidates]], files, listed)
        return *candidates[best], reason

    def _kinds(
        self, part: int, kept: int, copies: Sequence[tuple[int, int]], facts: Mapping[int, FileFacts]
    ) -> list[str]:
        kinds = {}
        content = _file_digest(self.read[kept]) if any(other == part for other, _ in copies) else None
        for other, k in copies:
            if other == part:
                same = content is not None and _file_digest(self.read[k]) == content
                kinds[k] = EXACT_KINDS[0] if same else EXACT_KINDS[1]
        changed = [(other, k) for other, k in copies if other != part]
        transforms = self.group.transforms
        if transforms is None:
            kinds |= dict.fromkeys((k for _, k in changed), "near")
        elif changed:
            own, *prints = self._fingerprints([kept, *(k for _, k in changed)])
            maps = torch.stack([relative(transforms, part, other) for other, _ in changed])
            files = [self.read[k].listed.picture for k in (kept, *(k for _, k in changed))]
            named = changes(own, prints, maps, [facts[k] for _, k in changed], files)
            kinds |= {k: kind for (_, k), kind in zip(changed, named, strict=True)}
            for _, k in changed:
                if facts[k].frames < facts[kept].frames:
                    kinds[k] = f"only {_the_first(facts[k].frames)} of {facts[kept].frames} pictures, {kinds[k]}"
        return [kinds[k] for _, k in copies]

    def _fingerprints(self, pictures: Sequence[int]) -> list[Fingerprint]:
        return [load() for k in pictures if (load := self.read[k].fingerprint) is not None]


def same_pixels(read: Sequence[Read]) -> list[list[int]]:
    """Group pictures with the same pixels, by name."""
    ranked = sorted(range(len(read)), key=lambda k: (read[k].listed.path is None, read[k].listed.name, k))
    return [[ranked[row] for row in rows] for rows in indices_by_key(read[k].digest for k in ranked).values()]


def similar_groups(parts: Sequence[Copies], relations: Sequence[Relation]) -> list[DuplicateCluster]:
    """Join pictures that are similar but no copies.

    Args:
        parts: Copies of each other, or single pictures.
        relations: Pictures of two of them that are similar.

    Returns:
        Groups of the pictures that stand for copies. Each is named by the largest, and members have the highest
        similarity that was found for them.
    """
    of_picture = {k: number for number, part in enumerate(parts) for k in part.pictures()}
    links = [(of_picture[a], of_picture[b], similarity) for a, b, similarity in relations]
    by_group = defaultdict(list)
    for number, part in enumerate(parts):
        by_group[id(part.group)].append(number)
    for a, b in chain.from_iterable(combinations(numbers, 2) for numbers in by_group.values()):
        likeness = float(parts[a].group.likeness[np.ix_(parts[a].parts, parts[b].parts)].max())
        if likeness >= RELATED:
            links.append((a, b, likeness))
    joined = DisjointSets(len(parts))
    best: dict[int, float] = defaultdict(float)
    for a, b, similarity in links:
        if a != b:
            joined.join(a, b)
            best[a], best[b] = max(best[a], similarity), max(best[b], similarity)
    groups = joined.members(sorted(best))
    return [_similar([(parts[number], best[number]) for number in numbers]) for numbers in groups]


def _similar(parts: Sequence[tuple[Copies, float]]) -> DuplicateCluster:
    heads = [(part.read[part.head()], similarity) for part, similarity in parts]
    heads.sort(key=lambda head: (-head[0].size[0] * head[0].size[1], head[0].listed.name))
    members = [
        Duplicate(file=read.listed.name, similarity=similarity, kind="similar") for read, similarity in heads[1:]
    ]
    members.sort(key=lambda member: (-member.similarity, member.file))
    return DuplicateCluster(keep=heads[0][0].listed.name, members=tuple(members))


def _the_first(count: int) -> str:
    return "the first" if count == 1 else str(count)


def facts_of(picture: Read) -> FileFacts:
    """Return facts on the file of a picture; only its size if the file no longer exists."""
    try:
        return file_facts(picture.listed.picture, picture.size)
    except ImageReadError:  # it was there when it was read
        return FileFacts(width=picture.size[1], height=picture.size[0])


def _file_digest(picture: Read) -> bytes | None:
    """Hash a file; `None` if the picture is not a file, or the file no longer exists."""
    if picture.listed.path is None:
        return None
    try:
        with open(picture.listed.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
