"""Clusters name the file that is kept and each copy; similar pictures are joined to groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.copies import Copies, Group, Read, similar_groups
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.images import read_image


def read(paths: Sequence[Path], references: Sequence[bool] = (), *, prints: bool = True) -> list[Read]:
    found = []
    for index, path in enumerate(paths):
        image = read_image(path)
        one = fingerprint(image)
        listed = Listed(index, path, path.name, str(path), bool(references) and references[index])
        found.append(Read(listed, one.digest, one.size, partial(fingerprint, image) if prints else None))
    return found


def unmoved(members: Sequence[Sequence[int]], similarity: float = 0.9) -> Group:
    count = len(members)
    matrix: Float64Array = np.full((count, count), similarity)
    np.fill_diagonal(matrix, 1.0)
    return Group(members, matrix, matrix, torch.eye(2, 3).repeat(count, 1, 1))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """A picture, the same bytes, the same pixels, and a mirrored copy with half the size."""
    picture = Image.fromarray(photograph(0))
    names = [tmp_path / name for name in ("a.png", "b.png", "c.bmp", "d.png")]
    picture.save(names[0])
    names[1].write_bytes(names[0].read_bytes())
    picture.save(names[2])
    picture.resize((120, 90)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(names[3])
    return names


def test_kinds_of_copies_and_their_order(paths: list[Path]) -> None:
    group = unmoved([[0, 1, 2], [3]])
    assert group.transforms is not None
    group.transforms[1, 0, 0] = -1.0
    cluster = Copies(read(paths), group, [0, 1]).cluster(against=False)
    assert cluster is not None
    assert cluster.keep == "a.png"
    assert cluster.reason == (
        "unchanged: 3 of 4 copies have the same tones and orientation; "
        "of these 3, first by name: equal in size, compression and metadata"
    )
    assert [(one.file, one.kind) for one in cluster.members] == [
        ("b.png", "identical file"),
        ("c.bmp", "identical pixels"),
        ("d.png", "mirrored, resized to 50 %"),
    ]
    assert [one.similarity for one in cluster.members] == pytest.approx([1.0, 1.0, 0.9])
    assert cluster.facts is not None
    assert (cluster.facts.width, cluster.facts.format) == (240, "PNG")
    assert [one.facts.format for one in cluster.members if one.facts is not None] == ["PNG", "BMP", "PNG"]


def test_without_registration_copies_are_near(paths: list[Path]) -> None:
    group = Group([[0, 1], [3]], np.array([[1.0, 0.95], [0.95, 1.0]]), np.ones((2, 2)), None)
    cluster = Copies(read(paths, prints=False), group, [0, 1]).cluster(against=False)
    assert cluster is not None
    assert [(one.file, one.kind) for one in cluster.members] == [("b.png", "identical file"), ("d.png", "near")]
    assert cluster.reason == "first by name: equal in size, compression and metadata"


def test_only_references_are_kept(paths: list[Path]) -> None:
    group = unmoved([[0, 1, 2], [3]])
    cluster = Copies(read(paths, [False, False, True, False]), group, [0, 1]).cluster(against=True)
    assert cluster is not None
    assert cluster.keep == "c.bmp"
    assert {one.file for one in cluster.members} == {"a.png", "b.png", "d.png"}
    for references in ([True] * 4, [False] * 4):
        assert Copies(read(paths, references), group, [0, 1]).cluster(against=True) is None


def test_one_picture_alone_is_no_cluster(paths: list[Path]) -> None:
    copies = Copies(read(paths), unmoved([[0, 1, 2], [3]]), [1])
    assert copies.cluster(against=False) is None
    assert (copies.head(), copies.pictures()) == (3, [3])


def test_a_file_that_is_gone_is_still_reported(paths: list[Path]) -> None:
    everything = read(paths)
    paths[1].unlink()
    cluster = Copies(everything, unmoved([[0, 1]]), [0]).cluster(against=False)
    assert cluster is not None
    assert {cluster.keep, cluster.members[0].file} == {"a.png", "b.png"}
    assert cluster.members[0].kind == "identical pixels"


def test_similar_groups(paths: list[Path]) -> None:
    everything = read(paths)
    parts = [Copies(everything, unmoved([[k]]), [0]) for k in range(4)]
    assert similar_groups(parts, []) == []
    (group,) = similar_groups(parts, [(3, 0, 0.7), (3, 2, 0.6)])
    assert group.keep == "a.png"  # the largest
    assert [(one.file, one.similarity, one.kind) for one in group.members] == [
        ("d.png", 0.7, "similar"),
        ("c.bmp", 0.6, "similar"),
    ]
    # parts of one group that are not similar enough to be copies
    together = unmoved([[0], [3]], 0.7)
    (group,) = similar_groups([Copies(everything, together, [k]) for k in (0, 1)], [])
    assert (group.keep, group.members[0].file) == ("a.png", "d.png")
    assert group.members[0].similarity == pytest.approx(0.7)
    apart = unmoved([[0], [3]], 0.3)
    assert similar_groups([Copies(everything, apart, [k]) for k in (0, 1)], []) == []
