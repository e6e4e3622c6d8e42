from __future__ import annotations

from pathlib import Path

import pytest

from pairsim.errors import DataError, DatasetNotFoundError
from pairsim.images import pictures_below
from pairsim.images.folders import IMAGE_SUFFIXES


def test_pictures_of_all_sub_folders_in_order(tmp_path: Path) -> None:
    wanted = ["a.JPG", "b.png", "deep/er/c.webp", "é.tiff"]
    for name in [*wanted, "notes.txt", ".hidden.png", ".git/d.png", "deep/.kept/e.png", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for folder in (tmp_path, str(tmp_path)):
        assert [path.relative_to(tmp_path).as_posix() for path in pictures_below(folder)] == wanted


def test_a_hidden_folder_can_be_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / ".cache"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"")
    assert pictures_below(folder) == [folder / "a.png"]


def test_no_folder_or_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"Expected a folder of pictures at .*absent, found no such folder"):
        pictures_below(tmp_path / "absent")
    with pytest.raises(DataError, match=rf"Expected pictures \({', '.join(sorted(IMAGE_SUFFIXES))}\) in .*found none"):
        pictures_below(tmp_path)
