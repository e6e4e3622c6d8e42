"""The report of `find_duplicates`: as text, JSON values and CSV."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pairsim._common.csv_files import write_csv
from pairsim._common.json_files import json_value
from pairsim.audits.duplicates.choice.file_facts import FileFacts
from pairsim.audits.duplicates.rates.error_rate import DuplicateRates
from pairsim.encoding.pictures import Skipped
from pairsim.errors import printable
from pairsim.images.folders import LeftOut

EXACT_KINDS = ("identical file", "identical pixels")
"""Kinds of copies with the same pixels: byte by byte, and in files that differ."""

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A picture that duplicates the one that is kept.

    Attributes:
        file: Name of the picture.
        similarity: To the picture that is kept: 1 for the same pixels, else correlation of pixels or cosine of
            embeddings.
        kind: "identical file" (byte by byte), "identical pixels" (in files that differ), or what was changed, such as
            "mirrored, cropped to 81 %".
        facts: On its file.
    """

    file: str
    similarity: float
    kind: str
    facts: FileFacts | None = None


@dataclass(frozen=True, kw_only=True)
class DuplicateCluster:
    """A picture and its duplicates.

    Attributes:
        keep: Name of the picture to keep.
        members: Its duplicates, the most similar first.
        reason: Why this picture is kept, such as "most pixels: 640 x 480".
        facts: On the file of the picture that is kept.
    """

    keep: str
    members: tuple[Duplicate, ...]
    reason: str = ""
    facts: FileFacts | None = None

    @property
    def always_keeps(self) -> bool:
        """Whether the picture to keep is of the folder compared against, whose pictures have whole paths as names."""
        return os.path.isabs(self.keep)


@dataclass(frozen=True, kw_only=True)
class DuplicateReport:
    """The result of `find_duplicates`.

    Attributes:
        num_images: Pictures that were compared.
        clusters: Pictures that have duplicates, by name; no picture is in two of them.
        threshold: Similarity from which pictures are near-duplicates.
        skipped: Pictures that could not be read, by name.
        left_out: What else a folder has, which is not compared.
        similar: Groups of pictures that are similar but not the same, such as bursts and frames of a film. Pictures
            that have duplicates are represented by the one that is kept.
        rates: How the threshold was chosen, and how many copies it finds; `None` without a target false rate.
    """

    num_images: int
    clusters: tuple[DuplicateCluster, ...]
    threshold: float
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    similar: tuple[DuplicateCluster, ...] = ()
    rates: DuplicateRates | None = None

    @property
    def num_duplicates(self) -> int:
        """Pictures that duplicate one that is kept."""
        return sum(len(cluster.members) for cluster in self.clusters)

    @property
    def pairs(self) -> tuple[tuple[str, str, float], ...]:
        """Each duplicate as (picture that is kept, duplicate, similarity)."""
        return tuple(
            (cluster.keep, member.file, member.similarity) for cluster in self.clusters for member in cluster.members
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "num_images": self.num_images,
            "num_duplicates": self.num_duplicates,
            "threshold": self.threshold,
            "clusters": json_value(self.clusters),
            "skipped": [{"file": one.name, "reason": one.reason} for one in self.skipped],
            "left_out": json_value(self.left_out),
            "similar": json_value(self.similar),
            "rates": None if self.rates is None else json_value(self.rates.to_dict()),
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each picture of each cluster: `cluster,file,similarity,kind,keep` (yes or no).

        Args:
            path: The file, which is replaced in one step. In each cluster the picture that is kept comes first, of kind
                "kept".

        Raises:
            RunError: If it cannot be written.
        """
        rows: list[tuple[int, str, str, str, str]] = []
        for number, cluster in enumerate(self.clusters, start=1):
            rows.append((number, cluster.keep, "1.000000", "kept", "yes"))
            rows += [(number, one.file, f"{one.similarity:.6f}", one.kind, "no") for one in cluster.members]
        write_csv(path, ("cluster", "file", "similarity", "kind", "keep"), rows)

    def describe(self, *, most: int | None = None) -> str:
        """Return the report as text.

        Args:
            most: Clusters and skipped pictures to list, at most; all by default.

        Returns:
            A block for each cluster, the skipped pictures, and a line with the totals.
        """
        blocks = []
        for cluster in self.clusters[:most]:
            width = max(len(printable(member.file)) for member in cluster.members)
            lines = [
                f"  {printable(member.file):<{width}}  {member.kind}"
                + (f", similarity {member.similarity:.4f}" if member.kind not in EXACT_KINDS else "")
                for member in cluster.members
            ]
            why = f"; {cluster.reason}" if cluster.reason else ""
            blocks.append("\n".join([f"{printable(cluster.keep)} (keep{why})", *lines]))
        for group in self.similar[:most]:
            lines = [f"  {printable(one.file)}  similarity {one.similarity:.4f}" for one in group.members]
            blocks.append("\n".join([f"{printable(group.keep)} (similar, no copies)", *lines]))
        for count, what in (
            (len(self.clusters), "clusters"),
            (len(self.similar), "similar groups"),
            (len(self.skipped), "skipped pictures"),
        ):
            if most is not None and count > most:
                blocks.append(f"and {count - most:,} more {what}")
        blocks += [f"skipped {printable(str(one.name))}: {one.reason}" for one in self.skipped[:most]]
        total = f"{_count(self.num_images, 'picture')} compared: "
        if self.clusters:
            total += f"{_count(self.num_duplicates, 'duplicate')} in {_count(len(self.clusters), 'cluster')}"
        else:
            total += "no duplicates"
        if self.similar:
            total += f"; {_count(len(self.similar), 'group')} of similar pictures"
        if self.skipped:
            total += f"; {len(self.skipped):,} skipped"
        if self.left_out:
            total += f"; {_count(sum(one.files + one.folders for one in self.left_out), 'other file')} left out"
        if self.rates is not None:
            blocks.append(self.rates.describe())
        return "\n\n".join([*blocks, total])

    def __str__(self) -> str:
        return self.describe(most=_SHOWN)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
