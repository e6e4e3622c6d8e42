"""Write the HTML page on duplicates: the pictures of each cluster side by side, and how they differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pairsim._common import storage
from pairsim._common.progress import progress_bar
from pairsim.audits.duplicates.choice.file_facts import FileFacts
from pairsim.audits.duplicates.duplicate_report import EXACT_KINDS, DuplicateCluster, DuplicateReport
from pairsim.errors import ImageReadError
from pairsim.report.duplicate_pictures import GAIN, Reduced, difference, reduced
from pairsim.report.rendering import page_path, render

MAX_CLUSTERS = 200
"""Clusters with pictures on a page, at most; the others are listed by name."""
MAX_PICTURES = 12
"""Pictures of a cluster, at most; the others are listed by name."""
MAX_BYTES = 24_000_000
"""Size of the pictures of a page, from which on clusters are listed by name."""
MAX_LISTED = 5_000
"""Names listed without pictures, at most; how many more there are is stated."""


@dataclass(frozen=True, kw_only=True)
class ShownPicture:
    """A picture of a cluster on the page.

    Attributes:
        file: Its name.
        uri: The reduced picture as a `data:` URI; empty if it cannot be read.
        facts: Size, format and what else is known of its file, in words.
        kind: What was changed, and the similarity unless all pixels are the same; empty for the picture that is kept.
        difference_uri: Image of the difference to the picture that is kept; empty if there is none.
        difference: The difference in words.
    """

    file: str
    uri: str
    facts: str
    kind: str = ""
    difference_uri: str = ""
    difference: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownCluster:
    """A cluster on the page.

    Attributes:
        number: Its number in the report, from 1.
        reason: Why the first picture is kept.
        pictures: The picture that is kept, and others.
        always_keeps: Whether the first picture always stays, as it is of the folder compared against.
        listed: Names of further members, without pictures.
    """

    number: int
    reason: str
    pictures: tuple[ShownPicture, ...]
    always_keeps: bool
    listed: tuple[str, ...] = ()


def write_duplicate_page(
    report: DuplicateReport,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: bool | None = None,
) -> None:
    """Write one HTML page with the pictures of a report on duplicates. The page needs no other file.

    Pictures are reduced to 256 pixels, and at most 24 MB of them are on the page, of at most 200 clusters. All others
    are listed by name, up to 5,000; the page states how many more there are.

    Args:
        report: Of `find_duplicates(folder)`.
        folder: The folder that was searched.
        out: The page to write, `.html`; an existing one is replaced.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Raises:
        RunError: If the page cannot be written.
        ValueError: If `out` does not end in .html or .htm.
    """
    path = page_path(out)
    work = _Page(Path(folder))
    with progress_bar(len(report.clusters) + len(report.similar), "making the page", "clusters", progress) as bar:
        clusters = work.shown(report.clusters, bar.update)
        similar = work.shown(report.similar, bar.update)
    files = [[*(picture.file for picture in cluster.pictures), *cluster.listed] for cluster in clusters]
    page = render(
        "duplicates.html",
        title=f"Duplicates in {Path(os.path.abspath(folder)).name or 'the folder'}",
        report=report,
        clusters=clusters,
        similar=similar,
        rest=work.listed(report.clusters[len(clusters) :]),
        similar_rest=work.listed(report.similar[len(similar) :]),
        skipped=[(str(one.name), one.reason) for one in islice(report.skipped, MAX_LISTED)],
        gain=GAIN,
        data={"clusters": files},
    )
    storage.write_file(path, storage.encoded(page))


class _Page:
    """Pictures and lists of a page, within their limits."""

    def __init__(self, folder: Path) -> None:
        self._folder: Path = folder
        self._room: int = MAX_BYTES
        self._clusters: int = MAX_CLUSTERS

    def shown(self, clusters: tuple[DuplicateCluster, ...], update: Callable[[], Any]) -> list[ShownCluster]:
        """Return the first clusters with pictures, while there is room."""
        found = list[ShownCluster]()
        for number, cluster in enumerate(clusters, 1):
            if self._room > 0 and self._clusters > 0:
                found.append(self._cluster(number, cluster))
                self._clusters -= 1
            update()
        return found

    def listed(self, clusters: tuple[DuplicateCluster, ...]) -> dict[str, Any]:
        """Return the names of clusters without pictures, and of how many files there is no room for the names."""
        room, found, left = MAX_LISTED, list[tuple[str, list[str]]](), 0
        for cluster in clusters:
            names = [member.file for member in cluster.members]
            if room >= 1 + len(names):
                found.append((cluster.keep, names))
                room -= 1 + len(names)
            else:
                left += 1 + len(names)
        return {"clusters": found, "left": left}

    def _cluster(self, number: int, cluster: DuplicateCluster) -> ShownCluster:
        kept = self._read(cluster.keep)
        pictures = [self._picture(cluster.keep, kept, cluster.facts, "", None)]
        for member in cluster.members[: MAX_PICTURES - 1]:
            picture = self._picture(member.file, self._read(member.file), member.facts, member.kind, kept)
            if member.kind not in EXACT_KINDS:
                picture = replace(picture, kind=f"{member.kind}, similarity {member.similarity:.4f}")
            pictures.append(picture)
        self._room -= sum(len(one.uri) + len(one.difference_uri) for one in pictures)
        listed = tuple(member.file for member in cluster.members[MAX_PICTURES - 1 :])
        return ShownCluster(
            number=number,
            reason=cluster.reason,
            pictures=tuple(pictures),
            always_keeps=cluster.always_keeps,
            listed=listed,
        )

    def _read(self, name: str) -> Reduced | None:
        try:
            return reduced(self._folder / name)
        except ImageReadError:  # removed or replaced since the search
            return None

    def _picture(
        self, name: str, picture: Reduced | None, facts: FileFacts | None, kind: str, kept: Reduced | None
    ) -> ShownPicture:
        if picture is None:
            return ShownPicture(file=name, uri="", facts="It can no longer be read.", kind=kind)
        words = _facts(self._folder / name, picture, facts)
        if kept is None:
            return ShownPicture(file=name, uri=picture.uri, facts=words, kind=kind)
        found = difference(kept, picture, kind)
        return ShownPicture(
            file=name,
            uri=picture.uri,
            facts=words,
            kind=kind,
            difference_uri=found.uri,
            difference=found.text,
        )


def _facts(path: Path, picture: Reduced, facts: FileFacts | None) -> str:
    words = [f"{picture.width} x {picture.height}"]
    num_bytes = facts.num_bytes if facts is not None else None
    if num_bytes is None and storage.is_file(path):
        num_bytes = path.stat().st_size
    if num_bytes is not None:
        words.append(f"{num_bytes:,} bytes")
    if facts is not None:
        words += [facts.format] if facts.format else []
        words += ["lossless"] if facts.lossless else []
        words += [f"quality {facts.quality}"] if facts.quality is not None else []
        words += [f"taken {facts.taken}"] if facts.taken else []
        words += [f"{facts.num_tags} EXIF entries"] if facts.num_tags else []
    return ", ".join(words)
