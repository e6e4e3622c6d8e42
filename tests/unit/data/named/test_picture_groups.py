"""Groups of pictures are named by a pattern in the class or the path."""

from __future__ import annotations

import pytest

from pairsim.data.named.folder_labels import LabelledPicture
from pairsim.data.named.picture_groups import group_by_pattern
from pairsim.errors import DataError


def groups(pattern: str, *names: str) -> list[str | None]:
    pictures = [LabelledPicture(name, name.split("/", maxsplit=1)[0], None) for name in names]
    return [picture.group for picture in group_by_pattern(pictures, pattern)]


@pytest.mark.parametrize(
    ("pattern", "names", "found"),
    [
        (r"(w\d+)_", ("w001_genuine/1.png", "w001_forged/2.png", "w02_forged/w9_1.png"), ["w001", "w001", "w02"]),
        (r"w\d+", ("w001_genuine/1.png", "w001_forged/2.png"), ["w001", "w001"]),
        (r"_(\d+)\.png", ("cat/room_1.png", "dog/room_1.png", "dog/room_2.png"), ["1", "1", "2"]),
        (r"cat|room_\d", ("cat/room_1.png", "dog/room_1.png"), ["cat", "room_1"]),  # the class goes first
        (r"(?:a|(b))x", ("bx/1.png",), ["b"]),
    ],
)
def test_names_of_groups(pattern: str, names: tuple[str, ...], found: list[str]) -> None:
    assert groups(pattern, *names) == found


def test_pictures_without_a_match_are_named() -> None:
    names = ["w1_a/1.png", *(f"other/{number}.png" for number in range(4))]
    said = (
        r"Expected the pattern \(w\\d\+\)_ to name the group of every picture, found no match in 4 of 5: "
        r"other/0.png, other/1.png, other/2.png and others\. .* Change it"
    )
    with pytest.raises(DataError, match=said):
        groups(r"(w\d+)_", *names)
    with pytest.raises(DataError, match="found no match in 1 of 1"):  # an empty name is none
        groups(r"(x*)", "a/1.png")


def test_what_is_no_pattern() -> None:
    with pytest.raises(ValueError, match=r"Expected groups to be a regular expression, got '\(w': .*unterminated"):
        groups("(w", "a/1.png")
