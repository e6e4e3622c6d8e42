from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.audits.duplicates.moving.page_decisions import decided
from pairsim.errors import DataError, RunError

ODD = os.fsdecode(b"caf\xe9.png")


def cluster(keep: str, *members: str, kind: str = "near") -> DuplicateCluster:
    return DuplicateCluster(keep=keep, members=tuple(Duplicate(file=one, similarity=1.0, kind=kind) for one in members))


REPORT = DuplicateReport(
    num_images=9,
    clusters=(cluster("a", "b", ODD), cluster("d", "e", kind="identical file"), cluster("f", "g")),
    threshold=0.99,
)


def decide(tmp_path: Path, keep: object, go: object) -> list[tuple[str, list[str]]]:
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": "pairsim-decisions", "keep": keep, "go": go}))
    found = decided(REPORT, path, tmp_path)
    assert found.num_images == REPORT.num_images
    return [(one.keep, [member.file for member in one.members]) for one in found.clusters]


def test_clusters_that_are_not_named_are_unchanged(tmp_path: Path) -> None:
    assert decide(tmp_path, [], []) == [("a", ["b", ODD]), ("d", ["e"]), ("f", ["g"])]


def test_what_is_kept_does_not_go(tmp_path: Path) -> None:
    assert decide(tmp_path, ["a", ODD], ["b"])[0] == ("a", ["b"])
    assert decide(tmp_path, ["d", "e"], [])[1] == ("f", ["g"])  # a cluster of which nothing goes
    assert decide(tmp_path, ["a"], [])[0] == ("d", ["e"])  # a file that is not named stays
    assert decide(tmp_path, ["a"], [ODD])[0] == ("a", [ODD])


def test_another_picture_is_kept(tmp_path: Path) -> None:
    assert decide(tmp_path, [ODD], ["a", "b"])[0] == (ODD, ["a", "b"])
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": "pairsim-decisions", "keep": ["e"], "go": ["d"]}))
    found = decided(REPORT, path, tmp_path).clusters[1]
    assert (found.keep, found.members[0].file, found.members[0].kind) == ("e", "d", "identical file")


def test_a_picture_of_each_cluster_is_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="to keep a picture of each cluster, found none of that of d"):
        decide(tmp_path, [], ["d", "e"])
    with pytest.raises(DataError, match="to keep a or to let it go, found both"):
        decide(tmp_path, ["a"], ["a"])


@pytest.mark.parametrize(("keep", "go"), [(None, []), ([], "a"), ([1], []), ({}, [])])
def test_other_files(tmp_path: Path, keep: object, go: object) -> None:
    with pytest.raises(RunError, match=r"to be the decisions\.json of a page"):
        decide(tmp_path, keep, go)
    (tmp_path / "decisions.json").write_text('{"format": "other", "keep": [], "go": []}')
    with pytest.raises(RunError, match="found another file"):
        decided(REPORT, tmp_path / "decisions.json", tmp_path)


@pytest.mark.parametrize(
    ("keep", "go", "said"),
    [
        (["photos/a"], ["b"], "found photos/a, of none of them. Make the page for this folder again"),
        (["photos/a", "a"], ["photos/b", "x"], "found photos/a and 2 more, of none of them."),
        ([], ["there"], "found there, of none of them."),
    ],
)
def test_decisions_on_other_pictures(tmp_path: Path, keep: list[str], go: list[str], said: str) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(DataError, match=said):
        decide(tmp_path, keep, go)


def test_decisions_that_were_carried_out_are_known(tmp_path: Path) -> None:
    path, out = tmp_path / "decisions.json", tmp_path / "out"
    out.mkdir()
    for place in (tmp_path / "kept", out / "moved"):
        place.touch()
    path.write_text(json.dumps({"format": "pairsim-decisions", "keep": ["a", "kept"], "go": ["b", "moved"]}))
    found = decided(REPORT, path, tmp_path, out)
    assert [member.file for member in found.clusters[0].members] == ["b"]
    (tmp_path / "moved").touch()
    with pytest.raises(DataError, match="found moved, of none of them"):
        decided(REPORT, path, tmp_path, out)


def test_pictures_compared_against_may_not_go(tmp_path: Path) -> None:
    report = DuplicateReport(num_images=2, clusters=(cluster("/archive/a", "a"),), threshold=0.8)
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": "pairsim-decisions", "keep": ["a"], "go": ["/archive/a"]}))
    with pytest.raises(DataError, match="folder compared against, found /archive/a among those that may go"):
        decided(report, path, tmp_path)
    path.write_text(json.dumps({"format": "pairsim-decisions", "keep": ["/archive/a", "a"], "go": []}))
    assert decided(report, path, tmp_path).clusters == ()
