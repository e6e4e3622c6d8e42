from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pairsim.audits.duplicates.choice.file_facts import FileFacts
from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster, DuplicateReport
from pairsim.encoding.pictures import Skipped
from pairsim.errors import RunError


def cluster(keep: str, *members: Duplicate) -> DuplicateCluster:
    return DuplicateCluster(keep=keep, members=members)


REPORT = DuplicateReport(
    num_images=1280,
    clusters=(
        cluster("a.png", Duplicate(file="copies/a.png", similarity=1.0, kind="identical file")),
        cluster(
            "b.png",
            Duplicate(file="again.bmp", similarity=1.0, kind="identical pixels"),
            Duplicate(file="copies/b.jpg", similarity=0.99554, kind="mirrored, cropped to 81 %"),
        ),
    ),
    threshold=0.8,
    skipped=(Skipped(7, "bad.png", "Expected an image file at bad.png."),),
)


def test_text() -> None:
    assert str(REPORT).split("\n\n") == [
        "a.png (keep)\n  copies/a.png  identical file",
        "b.png (keep)\n  again.bmp     identical pixels\n  copies/b.jpg  mirrored, cropped to 81 %, similarity 0.9955",
        "skipped bad.png: Expected an image file at bad.png.",
        "1,280 pictures compared: 3 duplicates in 2 clusters; 1 skipped",
    ]
    assert REPORT.describe(most=1).split("\n\n")[1] == "and 1 more clusters"


def test_reasons_facts_and_similar_pictures() -> None:
    facts = FileFacts(width=20, height=10, num_bytes=900, format="JPEG", lossless=False, quality=90, bits=24)
    member = Duplicate(file="b.jpg", similarity=0.9, kind="mirrored", facts=facts)
    report = DuplicateReport(
        num_images=5,
        clusters=(DuplicateCluster(keep="a.jpg", members=(member,), reason="most pixels: 40 x 20", facts=facts),),
        threshold=0.8,
        similar=(
            cluster("a.jpg", Duplicate(file="c.jpg", similarity=0.65, kind="similar")),
            cluster("d.jpg", Duplicate(file="e.jpg", similarity=0.61, kind="similar")),
        ),
    )
    assert str(report).split("\n\n") == [
        "a.jpg (keep; most pixels: 40 x 20)\n  b.jpg  mirrored, similarity 0.9000",
        "a.jpg (similar, no copies)\n  c.jpg  similarity 0.6500",
        "d.jpg (similar, no copies)\n  e.jpg  similarity 0.6100",
        "5 pictures compared: 1 duplicate in 1 cluster; 2 groups of similar pictures",
    ]
    assert "and 1 more similar groups" in report.describe(most=1)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["clusters"][0]["reason"] == "most pixels: 40 x 20"
    assert values["clusters"][0]["members"][0]["facts"]["quality"] == 90
    assert [group["keep"] for group in values["similar"]] == ["a.jpg", "d.jpg"]
    assert (report.num_duplicates, len(report.pairs)) == (1, 1)


def test_many_clusters_are_listed_up_to_a_limit() -> None:
    member = Duplicate(file="copy.png", similarity=1.0, kind="identical file")
    report = DuplicateReport(
        num_images=60, clusters=tuple(cluster(f"{k}.png", member) for k in range(30)), threshold=0.8
    )
    assert "and 10 more clusters" in str(report)
    assert "29.png (keep)" not in str(report)
    assert "29.png (keep)" in report.describe()


def test_numbers_and_pairs() -> None:
    assert REPORT.num_duplicates == 3
    assert REPORT.pairs == (
        ("a.png", "copies/a.png", 1.0),
        ("b.png", "again.bmp", 1.0),
        ("b.png", "copies/b.jpg", 0.99554),
    )
    one = DuplicateReport(num_images=1, clusters=(), threshold=0.8)
    assert (one.num_duplicates, one.pairs, str(one)) == (0, (), "1 picture compared: no duplicates")


def test_json_values() -> None:
    values = json.loads(json.dumps(REPORT.to_dict(), allow_nan=False))
    assert (values["num_images"], values["num_duplicates"], values["threshold"]) == (1280, 3, 0.8)
    assert values["clusters"][0] == {
        "keep": "a.png",
        "members": [{"file": "copies/a.png", "similarity": 1.0, "kind": "identical file", "facts": None}],
        "reason": "",
        "facts": None,
    }
    assert values["skipped"] == [{"file": "bad.png", "reason": "Expected an image file at bad.png."}]


def test_table(tmp_path: Path) -> None:
    REPORT.to_csv(tmp_path / "new" / "found.csv")
    with (tmp_path / "new" / "found.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["cluster", "file", "similarity", "kind", "keep"],
        ["1", "a.png", "1.000000", "kept", "yes"],
        ["1", "copies/a.png", "1.000000", "identical file", "no"],
        ["2", "b.png", "1.000000", "kept", "yes"],
        ["2", "again.bmp", "1.000000", "identical pixels", "no"],
        ["2", "copies/b.jpg", "0.995540", "mirrored, cropped to 81 %", "no"],
    ]
    with pytest.raises(RunError, match="Could not write"):
        REPORT.to_csv(tmp_path)
