"""Each file is listed once, under the name that is kept, and read in order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from picture_files import write_pictures
from torch import Tensor

from pairsim._common.choices import OnError
from pairsim.audits.duplicates.listed_pictures import Listed, listed, read_all
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError, ImageReadError
from pairsim.images import PictureFile, PictureLike
from pairsim.images.folders import scan


def names(pictures: list[Listed]) -> list[str]:
    return [one.name for one in pictures]


def test_links_and_second_paths_are_the_same_file(tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, ["z.png"])
    link = tmp_path / "a.png"
    link.symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    paths: list[PictureLike] = [link, f"{tmp_path}/./z.png", str(path), tmp_path / "folder" / "z.png", path]
    found = listed(paths)
    assert len(found) == 1
    assert not os.path.islink(found[0].name)
    assert names(listed(paths[::-1])) == names(found)
    assert names(listed([link])) == [str(link)]


def test_two_files_of_one_content_are_two(tmp_path: Path) -> None:
    first, second = write_pictures(tmp_path, ["a.png", "b.png"])
    second.write_bytes(first.read_bytes())
    assert names(listed([second, first])) == [str(second), str(first)]


def test_pictures_in_memory_are_named_by_their_place(tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, ["a.png"])
    array = np.zeros((4, 4), np.uint8)
    given: list[PictureLike] = [array, path, array, PictureFile(path.read_bytes(), "b.png")]
    found = listed(given)
    assert names(found) == ["#0", str(path), "#2", "#3"]
    assert [one.path for one in found] == [None, str(path), None, None]
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert not any(one.reference for one in found)


def test_a_folder_is_named_by_the_paths_inside(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["b.png", "sub/a.png", "a.png"])
    found = listed(scan(tmp_path, "raise"))
    assert sorted(names(found)) == ["a.png", "b.png", "sub/a.png"]
    assert {os.path.relpath(str(one.path), tmp_path) for one in found} == set(names(found))


def test_a_file_of_two_folders_belongs_to_the_one_compared_against(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["kept/a.png", "kept/b.png", "new/c.png"])
    (tmp_path / "new" / "link.png").symlink_to(tmp_path / "kept" / "a.png")
    found = listed(scan(tmp_path / "new", "raise"), scan(tmp_path / "kept", "raise"))
    expected = {str(tmp_path / "kept" / "a.png"): True, str(tmp_path / "kept" / "b.png"): True, "c.png": False}
    assert {one.name: one.reference for one in found} == expected
    # a folder inside the other one
    found = listed(scan(tmp_path, "raise"), scan(tmp_path / "kept", "raise"))
    assert sorted(name for name in names(found) if not os.path.isabs(name)) == ["new/c.png"]
    assert [one.index for one in found] == sorted(one.index for one in found)


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_folder_inside_of_the_one_compared_against(tmp_path: Path, as_folder: bool) -> None:
    write_pictures(tmp_path, ["all/a.png", "all/sub/b.png", "all/sub/deep/c.png", "all/sub2/d.png"])
    (tmp_path / "way").symlink_to(tmp_path / "all" / "sub")
    (tmp_path / "all" / "sub" / "link.png").symlink_to(tmp_path / "all" / "a.png")
    for place in (tmp_path / "all" / "sub", tmp_path / "way"):
        given = scan(place, "raise")
        found = listed(given if as_folder else list(given.pictures), scan(tmp_path / "all", "raise"))
        searched = {os.path.realpath(str(one.path)) for one in found if not one.reference}
        assert {os.path.relpath(path, tmp_path) for path in searched} == {"all/sub/b.png", "all/sub/deep/c.png"}
        assert [one.name for one in found if one.reference] == [f"{tmp_path}/all/a.png", f"{tmp_path}/all/sub2/d.png"]


def test_a_folder_against_itself(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, ["all/sub/a.png", "all/sub/b.png"])
    (tmp_path / "way").symlink_to(tmp_path / "all")
    against = scan(tmp_path / "all", "raise")
    for given in (against, scan(tmp_path / "way", "raise"), scan(tmp_path / "all" / "sub", "raise"), paths):
        with pytest.raises(DataError, match=r"all to have pictures that are not searched, .*, found none: all 2 are"):
            listed(given, against)
    assert len(listed([], against)) == 2


def test_pictures_compared_against_have_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, ["kept/sub/a.png", "new/b.png", "new/kept/sub/a.png"])
    (tmp_path / "way").symlink_to(tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    for kept in ("kept", "way", "new/../kept"):
        found = listed(scan("new", "raise"), scan(kept, "raise"))
        assert sorted(names(found)) == [f"{tmp_path}/kept/sub/a.png", "b.png", "kept/sub/a.png"]


def read(pictures: list[Listed], on_error: OnError = "raise") -> list[tuple[Listed, int | Skipped]]:
    def brightness(image: Tensor) -> int:
        assert image.shape[0] == 3
        return int(image.max())

    return list(read_all(pictures, brightness, white=None, on_error=on_error, progress=False))


def test_results_come_in_order() -> None:
    pictures = listed([np.full((3, 3 + k % 7), k, np.uint8) for k in range(256)])
    found = read(pictures)
    assert [one for one, _ in found] == pictures
    assert [value for _, value in found] == list(range(256))
    assert read([]) == []


def test_what_cannot_be_read_is_skipped_or_raised(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    paths[1].write_text("no picture")
    pictures = listed(paths)
    found = read(pictures, "skip")
    assert [isinstance(value, Skipped) for _, value in found] == [False, True, False]
    skipped = found[1][1]
    assert isinstance(skipped, Skipped)
    assert (skipped.index, skipped.name) == (1, str(paths[1]))
    assert "b.png" in skipped.reason
    with pytest.raises(ImageReadError, match=r"b\.png"):
        read(pictures)


def test_white_is_that_of_the_reader() -> None:
    picture = listed([np.array([[0, 4095]], np.uint16)])
    found = read_all(picture, lambda image: int(image.max()), white=4095, on_error="raise", progress=False)
    assert [brightest for _, brightest in found] == [255]
