"""What a person decided on the page of duplicates: which pictures to keep, and which may go."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pairsim._common import storage
from pairsim.audits.duplicates.duplicate_report import DuplicateCluster, DuplicateReport
from pairsim.errors import DataError, RunError, printable

_FORMAT = "pairsim-decisions"


def decided(report: DuplicateReport, path: Path, folder: Path, target: Path | None = None) -> DuplicateReport:
    """Return a report with the decisions of a file in place of its own.

    Args:
        report: Of the folder.
        path: The file `decisions.json` of the page: the names of files to keep and of files that may go.
        folder: The folder that was searched.
        target: The folder that files are moved to; those that are there already were moved by an earlier command.

    Returns:
        The report. Clusters that the file does not name are unchanged. Of the others, members are the files that may
        go, and the first that is kept is the one that is kept. A file that neither list names is kept.

    Raises:
        DataError: If no picture of a cluster would be kept, a picture of the folder compared against would not, a file
            is in both lists, a file that may go is in no cluster, or one to keep is not there.
        RunError: If the file cannot be read or is not such a file.
    """
    values = storage.read_json(path)
    keep, go = values.get("keep"), values.get("go")
    if values.get("format") != _FORMAT or not _are_names(keep) or not _are_names(go):
        raise RunError(f"Expected {path} to be the decisions.json of a page of pairsim duplicates, found another file.")
    kept, going = set(keep or ()), set(go or ())
    for name in sorted(kept & going):
        raise DataError(f"Expected {path} to keep {name} or to let it go, found both. Decide on the page again.")
    unknown = _unknown(report, keep or (), go or (), folder, target)
    if unknown:
        others = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(
            f"Expected {path} to name pictures of the clusters in {folder}, found {printable(unknown[0])}{others}, of "
            "none of them. Make the page for this folder again, with the same options, and decide on it."
        )
    clusters = [_decided(cluster, kept, going, path) for cluster in report.clusters]
    return replace(report, clusters=tuple(cluster for cluster in clusters if cluster.members))


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _unknown(
    report: DuplicateReport, keep: Iterable[str], go: Iterable[str], folder: Path, target: Path | None
) -> list[str]:
    """Return the names of other pictures; those that a command moved already are in no cluster any more."""
    clustered = {name for one in report.clusters for name in (one.keep, *(member.file for member in one.members))}
    found = [name for name in keep if name not in clustered and not os.path.lexists(folder / name)]
    for name in go:
        is_moved = target is not None and not os.path.lexists(folder / name) and os.path.lexists(target / name)
        if name not in clustered and not is_moved:
            found.append(name)
    return found


def _decided(cluster: DuplicateCluster, kept: set[str], going: set[str], path: Path) -> DuplicateCluster:
    names = [cluster.keep, *(member.file for member in cluster.members)]
    if not (kept | going) & set(names):
        return cluster
    if cluster.always_keeps and cluster.keep in going:
        raise DataError(
            f"Expected {path} to keep the pictures of the folder compared against, found {cluster.keep} among those "
            "that may go. Keep it on the page."
        )
    staying = [name for name in names if name not in going]
    if not staying:
        raise DataError(
            f"Expected {path} to keep a picture of each cluster, found none of that of {cluster.keep}. Keep one."
        )
    if cluster.keep in staying:
        return replace(cluster, members=tuple(one for one in cluster.members if one.file in going))
    first = next(one for one in cluster.members if one.file == staying[0])
    old = replace(first, file=cluster.keep, facts=cluster.facts)  # as unlike as they were the other way round
    members = (old, *(one for one in cluster.members if one.file in going))
    return replace(cluster, keep=first.file, members=members, reason="decided", facts=first.facts)
