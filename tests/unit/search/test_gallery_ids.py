"""Ids are strings or whole numbers, all different and all of one kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairsim.errors import DataError
from pairsim.search.gallery_ids import (
    Id,
    IdTable,
    as_ids,
    check_number,
    given_identities,
    given_name,
    named_images,
    of_other_type,
)


def test_the_table_follows_every_change() -> None:
    table = IdTable()
    table.append(["a", "b"])
    assert table.indices == {"a": 0, "b": 1}
    table.append(["c"])  # after the indices were computed
    assert table.indices == {"a": 0, "b": 1, "c": 2}
    table.keep([2, 0])
    assert (table.names, table.indices, len(table)) == (["c", "a"], {"c": 0, "a": 1}, 2)


@settings(max_examples=200)
@given(name=st.integers() | st.text(max_size=4) | st.integers(-99, 99).map(str))
def test_the_text_of_a_number_and_the_number(name: Id) -> None:
    other = of_other_type(name)
    if other is None:
        with pytest.raises(ValueError):  # noqa: PT011  int itself, or the text that it prints
            assert str(int(name)) == name or int("no number")
        assert given_name(name, [name, 1, "1"]) == name
        return
    assert (str(other), type(other)) == (str(name), int if isinstance(name, str) else str)
    assert of_other_type(other) == name
    assert given_name(name, {other}) == other
    assert given_name(name, {other, name}) == given_name(name, set()) == name


@pytest.mark.parametrize("name", ["", "-0", "051", "1_0", "+1", " 1", "1 ", "1\n", "٣", "1.0", "9" * 700])
def test_texts_that_no_number_prints(name: str) -> None:
    assert of_other_type(name) is None
    assert given_name(name, [0, 1, 3, 10, 51]) == name


@pytest.mark.parametrize("name", [("3",), 3.5, None, True])
def test_labels_that_are_no_names_stay(name: Any) -> None:
    assert given_name(name, ["3", "3.5", "None", "True"]) == name


@pytest.mark.parametrize(
    ("there", "new"), [([3, 3], "3"), (["3", "a"], 3), (["-7", "a"], [1, -7]), ([0, 1], ["a", "1"])]
)
def test_identities_that_are_equal_as_text_only(there: list[Id], new: Any) -> None:
    table = IdTable(["a", "b"], there)
    new = [new, new] if isinstance(new, str | int) else new
    clash = next(name for name in new if of_other_type(name) in there)
    with pytest.raises(
        ValueError, match=f"differ as text, got {clash!r} where another is {of_other_type(clash)!r}. Give"
    ):
        table.shown(["c", "d"], new)
    with pytest.raises(ValueError, match=r"got 5 where another is '5'. Give both as str, or another name."):
        table.shown(["c", "d"], [5, "5"])
    assert table.shown(["c", "d"], there) == there


def test_a_new_id_does_not_join_an_identity() -> None:
    table = IdTable(["a", "b"], ["bob", 4])
    assert table.shown(["a", "c"], None) is None  # a is there
    with pytest.raises(
        ValueError, match=r"no identity of the gallery, got 'bob', which is one. Give its identity too, to"
    ):
        table.shown(["c", "bob"], None)
    with pytest.raises(ValueError, match=r"got '4' where another is 4. Give both as int, or another name."):
        table.shown(["4"], None)
    assert table.shown(["bob"], "bob") == ["bob"]


def test_numbers_go_on_after_the_largest() -> None:
    assert IdTable().numbers(3) == [0, 1, 2]
    assert IdTable([7, -3]).numbers(2) == [8, 9]
    assert IdTable(["a"]).numbers(1) == [0]


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("a", ["a"]),
        (3, [3]),
        (np.int64(4), [4]),
        (Path("x/y.png"), ["x/y.png"]),
        (["a", Path("b")], ["a", "b"]),
        (np.array([5, 6]), [5, 6]),
        (torch.tensor([7]), [7]),
        ((name for name in "ab"), ["a", "b"]),
    ],
)
def test_kinds_of_ids(given: Any, ids: list[Any]) -> None:
    found = as_ids(given)
    assert found == ids
    assert {type(name) for name in found} <= {str, int}


@pytest.mark.parametrize("given", [[1.5], [None], [True], [np.bool_(False)], [("a", "b")]])
def test_what_is_no_id(given: Any) -> None:
    with pytest.raises(TypeError, match="Expected ids to be strings or whole numbers"):
        as_ids(given)


@pytest.mark.parametrize("given", [{"a": "x", "b": "y"}, {"7", "2"}, frozenset({1})])
def test_ids_without_the_order_of_images(given: Any) -> None:
    with pytest.raises(TypeError, match=rf"in the order of the images, got a {type(given).__name__}\. Give a list\."):
        as_ids(given)
    with pytest.raises(TypeError, match="in the order of the images"):
        given_identities(given, 2)
    assert as_ids({"a": 1}.keys()) == ["a"]  # in the order of the dictionary


def test_ids_that_clash() -> None:
    table = IdTable(["a"])
    with pytest.raises(ValueError, match="not in the gallery, got 'a'"):
        table.new(["b", "a"])
    assert table.of_one_kind(["b", "a"]) == ["b", "a"]
    with pytest.raises(ValueError, match="each id once, got 'b' twice"):
        table.of_one_kind(["b", "b"])
    with pytest.raises(ValueError, match="ids of one kind, got 1 where others are strings"):
        table.new([1])
    with pytest.raises(ValueError, match="ids of one kind, got 'x' where others are ints"):
        IdTable().new([1, "x"])


def test_names_of_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "sub/a.png"):
        Image.new("L", (4, 4)).save(tmp_path / name)
    images, names = named_images(tmp_path, None, IdTable())
    assert [path.relative_to(tmp_path).as_posix() for path in images] == names == ["b.png", "sub/a.png"]  # type: ignore[union-attr]
    assert named_images(str(tmp_path), [4, 5], IdTable())[1] == [4, 5]
    paths: list[Any] = [tmp_path / "b.png", str(tmp_path / "sub/a.png")]
    assert named_images(paths, None, IdTable()) == (paths, [str(path) for path in paths])
    assert named_images(iter(paths), None, IdTable())[1] == [str(path) for path in paths]
    assert named_images(paths[0], None, IdTable())[1] == [str(paths[0])]
    pixels = torch.zeros(3, 1, 4, 4, dtype=torch.uint8)
    images, names = named_images(pixels, None, IdTable([9]))
    assert images is pixels
    assert names == [10, 11, 12]
    assert named_images(pixels[0], None, IdTable())[1] == [0]
    with pytest.raises(ValueError, match="got 1 paths among 2 images"):
        named_images([paths[0], pixels[0]], None, IdTable())
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="Expected pictures"):
        named_images(tmp_path / "none", None, IdTable())


def test_numbers_of_ids() -> None:
    check_number(None, ["a"])
    check_number(1, ["a"])
    with pytest.raises(ValueError, match="got 1 ids for 0 images"):
        check_number(0, ["a"])
