"""How many pairs of copies a search finds, how many other pairs, and which pictures it would remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.duplicate_sets import ORIGINAL, SAME_PIXELS, Pair, PictureSet
from benchmarks.timing import Row

FALSE_PAIRS = 1
"""False pairs that are allowed where a threshold is swept."""


@dataclass(frozen=True)
class Cluster:
    """Pictures that a search takes for copies.

    Attributes:
        keep: The picture to keep.
        members: What the search says that was changed, for each of the others.
    """

    keep: str
    members: Mapping[str, str]


def figures(pictures: PictureSet, found: Iterable[Pair]) -> Row:
    """Recall over all pairs of copies, edit against edit too, and pairs that are found and are no copies."""
    pairs = set(found)
    false = len(pairs - pictures.copies)
    right = len(pairs & pictures.copies)
    return {
        "recall": right / len(pictures.copies),
        "false_pairs": false,
        "false_per_million": 1e6 * false / pictures.num_others,
        "precision": right / len(pairs) if pairs else None,
    }


def swept(pictures: PictureSet, names: Sequence[str], distances: npt.NDArray[np.number]) -> tuple[float, set[Pair]]:
    """Find the pairs at the largest threshold that leaves at most `FALSE_PAIRS` false ones.

    Args:
        pictures: The set.
        names: The pictures.
        distances: `[N, N]`, in the order of the names.

    Returns:
        The distance of the last pair that is found, NaN if there is none, and the pairs.
    """
    rows, columns = np.triu_indices(len(names), k=1)
    found = distances[rows, columns]
    families = np.array([pictures.families[name] for name in names])
    wrong = np.sort(found[families[rows] != families[columns]])
    limit = wrong[FALSE_PAIRS] if len(wrong) > FALSE_PAIRS else np.inf
    near = found < limit
    pairs = {ordered(names[a], names[b]) for a, b in zip(rows[near].tolist(), columns[near].tolist(), strict=True)}
    return float(found[near].max()) if pairs else float("nan"), pairs


def within(names: Sequence[str], distances: npt.NDArray[np.number], threshold: float) -> set[Pair]:
    """The pairs at most this far apart."""
    rows, columns = np.nonzero(np.triu(distances <= threshold, k=1))
    return {ordered(names[a], names[b]) for a, b in zip(rows.tolist(), columns.tolist(), strict=True)}


def ordered(one: str, other: str) -> Pair:
    """A pair in order."""
    return (one, other) if one < other else (other, one)


def recall_by_edit(pictures: PictureSet, found: Iterable[Pair]) -> dict[str, float]:
    """For each edit, the share of originals that are found with their edited copy."""
    pairs = set(found)
    originals = {pictures.families[name]: name for name, edit in pictures.edits.items() if edit == ORIGINAL}
    hits: dict[str, list[bool]] = {}
    for name, edit in pictures.edits.items():
        if edit not in ("", ORIGINAL):
            hits.setdefault(edit, []).append(ordered(originals[pictures.families[name]], name) in pairs)
    return {edit: sum(values) / len(values) for edit, values in hits.items()}


def kinds_named(pictures: PictureSet, clusters: Iterable[Cluster]) -> dict[str, float]:
    """For each edit, of the copies beside their original that is kept, the share whose change is named."""
    named: dict[str, list[bool]] = {}
    for cluster in clusters:
        if pictures.edits[cluster.keep] != ORIGINAL:
            continue
        for name, kind in cluster.members.items():
            if pictures.kinds[name] and pictures.families[name] == pictures.families[cluster.keep]:
                named.setdefault(pictures.edits[name], []).append(pictures.kinds[name] in kind)
    return {edit: sum(values) / len(values) for edit, values in named.items()}


def originals_to_go(pictures: PictureSet, clusters: Iterable[Cluster]) -> dict[str, str]:
    """Originals that are not kept, with the edit that is kept instead, if its pixels are not the same."""
    return {
        name: pictures.edits[cluster.keep] or "another picture"
        for cluster in clusters
        for name in cluster.members
        if pictures.edits[name] == ORIGINAL and pictures.edits[cluster.keep] != SAME_PIXELS
    }
