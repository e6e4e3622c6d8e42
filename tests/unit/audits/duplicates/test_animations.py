"""Files with several pictures are copies only if they agree in all, and are kept in place of a still picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image

from pairsim.audits.duplicates.animations import digest_of_all, num_frames, with_later_frames
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.errors import ImageReadError
from pairsim.images import read_image

PICTURES = [Image.fromarray(photograph(seed, 120, 160)) for seed in range(6)]


def write(path: Path, numbers: list[int], quality: int | None = None) -> Path:
    first, *others = (PICTURES[number] for number in numbers)
    options: dict[str, Any] = {"save_all": True, "append_images": others, "duration": 100} if others else {}
    if path.suffix == ".webp":
        options |= {"lossless": True} if quality is None else {"quality": quality}
    first.save(path, **options)
    return path


@pytest.mark.parametrize(("name", "count"), [("a.webp", 3), ("a.gif", 3), ("a.png", 3), ("a.tif", 3), ("a.jpg", 1)])
def test_frames_are_counted(name: str, count: int, tmp_path: Path) -> None:
    assert num_frames(write(tmp_path / name, [0, 1, 2] if count == 3 else [0])) == count
    assert num_frames(write(tmp_path / f"one-{name}", [0])) == 1


def test_pictures_in_memory_and_files_that_are_gone(tmp_path: Path) -> None:
    assert num_frames(photograph(0, 30, 30)) == 1
    with pytest.raises(ImageReadError, match=r"gone\.webp"):
        num_frames(tmp_path / "gone.webp")


def test_digests_differ_unless_all_bytes_are_equal(tmp_path: Path) -> None:
    one = write(tmp_path / "one.webp", [0, 1])
    (tmp_path / "same.webp").write_bytes(one.read_bytes())
    other = write(tmp_path / "other.webp", [0, 2])
    assert digest_of_all(one, b"x") == digest_of_all(tmp_path / "same.webp", b"x")
    assert len({digest_of_all(one, b"x"), digest_of_all(other, b"x"), digest_of_all(one, b"y"), b"x"}) == 4


def test_animations_that_begin_alike_are_no_copies(tmp_path: Path) -> None:
    write(tmp_path / "one.webp", [0, 1, 2, 3])
    write(tmp_path / "other.webp", [0, 1, 2, 4])  # differs at the end only
    report = find_duplicates(tmp_path)
    assert report.clusters == ()
    ((keep, (member,)),) = [(group.keep, group.members) for group in report.similar]
    assert (keep, member.file) == ("one.webp", "other.webp")


def test_compressed_animations_are_copies(tmp_path: Path) -> None:
    write(tmp_path / "one.webp", [0, 1, 2, 3])
    write(tmp_path / "other.webp", [0, 1, 2, 3], quality=70)
    (cluster,) = find_duplicates(tmp_path).clusters
    (member,) = cluster.members
    assert (cluster.keep, member.file) == ("one.webp", "other.webp")
    assert 0.9 < member.similarity < 1.0


@pytest.mark.parametrize("scale", [1, 2])
def test_an_animation_is_kept_in_place_of_a_still_picture(scale: int, tmp_path: Path) -> None:
    write(tmp_path / "one.webp", [0, 1, 2])
    PICTURES[0].resize((160 * scale, 120 * scale), Image.Resampling.LANCZOS).save(tmp_path / "a.png")
    (cluster,) = find_duplicates(tmp_path).clusters
    assert cluster.keep == "one.webp"
    assert cluster.reason.startswith("has 3 pictures, others at most 1")
    (member,) = cluster.members
    assert member.file == "a.png"
    assert member.kind.startswith("only the first of 3 pictures")


def test_the_least_similar_pictures_decide(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.webp", [0, 1, 2, 3]), write(tmp_path / "b.webp", [0, 1, 5, 3], quality=80)]
    paths += [tmp_path / "c.png", tmp_path / "gone.webp"]
    PICTURES[0].save(paths[2])
    prints = [fingerprint(read_image(paths[k])) for k in (0, 1, 2, 0)]
    for number, count in enumerate((4, 4, 1, 4)):
        object.__setattr__(prints[number], "frames", count)
    given = np.full((4, 4), 0.9)
    found = with_later_frames(given, paths, prints, torch.eye(2, 3).repeat(4, 1, 1))
    assert np.array_equal(found, found.T)
    assert found[0, 1] < 0.5  # the third pictures differ
    assert found[0, 3] == found[1, 3] == 0.0  # it can no longer be read
    assert (found[2] == 0.9).all()
    assert (given == 0.9).all()
