"""What `find_duplicates` found: as text, as JSON values, as a table."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pairsim._common.storage import write_file
from pairsim.encoding.pictures import Skipped

Kind: TypeAlias = Literal["identical file", "identical pixels", "near"]

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A picture that is there already.

    Attributes:
        file: Name of the picture.
        similarity: To the one that is kept: 1 for the same pixels, else correlation of pixels or cosine of embeddings.
        kind: "identical file" (byte by byte), "identical pixels" (in whatever file) or "near".
    """

    file: str
    similarity: float
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class DuplicateCluster:
    """A picture and its duplicates.

    Attributes:
        keep: Name of the picture that stands for all: the largest, and of these the first by name.
        members: The others, each of them like `keep`, the most similar first.
    """

    keep: str
    members: tuple[Duplicate, ...]


@dataclass(frozen=True, kw_only=True)
class DuplicateReport:
    """What `find_duplicates` found.

    Attributes:
        num_images: Pictures that were compared.
        clusters: Pictures that have duplicates, by name; no picture is in two of them.
        threshold: Similarity from which pictures counted as near-duplicates.
        skipped: Pictures that could not be read, by name.
    """

    num_images: int
    clusters: tuple[DuplicateCluster, ...]
    threshold: float
    skipped: tuple[Skipped, ...] = ()

    @property
    def num_duplicates(self) -> int:
        """Pictures that could go, as one that is kept is like them."""
        return sum(len(cluster.members) for cluster in self.clusters)

    @property
    def pairs(self) -> tuple[tuple[str, str, float], ...]:
        """Each duplicate as (picture that is kept, duplicate, similarity)."""
        return tuple(
            (cluster.keep, member.file, member.similarity) for cluster in self.clusters for member in cluster.members
        )

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON values."""
        return {
            "num_images": self.num_images,
            "num_duplicates": self.num_duplicates,
            "threshold": self.threshold,
            "clusters": [
                {"keep": cluster.keep, "members": [dict(vars(member)) for member in cluster.members]}
                for cluster in self.clusters
            ],
            "skipped": [{"file": one.name, "reason": one.reason} for one in self.skipped],
        }

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a row for each picture of each cluster: `cluster,file,similarity,kind,keep` (yes or no).

        Args:
            path: The file, which is replaced in one step. The picture that is kept comes first, of kind "kept".

        Raises:
            RunError: If it cannot be written.
        """
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("cluster", "file", "similarity", "kind", "keep"))
        for number, cluster in enumerate(self.clusters, start=1):
            rows.writerow((number, cluster.keep, "1.000000", "kept", "yes"))
            for member in cluster.members:
                rows.writerow((number, member.file, f"{member.similarity:.6f}", member.kind, "no"))
        write_file(Path(path), text.getvalue().encode("utf-8", "surrogateescape"))  # names need not be UTF-8

    def describe(self, *, most: int | None = None) -> str:
        """The report for reading.

        Args:
            most: Clusters and skipped pictures to list, at most; all by default.

        Returns:
            A block for each cluster, the skipped pictures, and a line that sums up.
        """
        blocks = []
        for cluster in self.clusters[:most]:
            width = max(len(member.file) for member in cluster.members)
            lines = [
                f"  {member.file:<{width}}  {member.kind}"
                + (f", similarity {member.similarity:.4f}" if member.kind == "near" else "")
                for member in cluster.members
            ]
            blocks.append("\n".join([f"{cluster.keep} (keep)", *lines]))
        for count, what in ((len(self.clusters), "clusters"), (len(self.skipped), "skipped pictures")):
            if most is not None and count > most:
                blocks.append(f"and {count - most:,} more {what}")
        blocks += [f"skipped {one.name}: {one.reason}" for one in self.skipped[:most]]
        found = (
            f"{_count(self.num_duplicates, 'duplicate')} in {_count(len(self.clusters), 'cluster')}"
            if self.clusters
            else "no duplicates"
        )
        skipped = f"; {len(self.skipped):,} skipped" if self.skipped else ""
        return "\n\n".join([*blocks, f"{_count(self.num_images, 'picture')} compared: {found}{skipped}"])

    def __str__(self) -> str:
        return self.describe(most=_SHOWN)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
