from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import small_model

from pairsim import Gallery
from pairsim.errors import DataError
from pairsim.search.named_pictures import named_pictures


def gallery(ids: list[Any], identities: list[Any] | None = None) -> Gallery:
    found = Gallery(small_model(dim=8))
    found.add_embeddings(torch.eye(8)[: len(ids)], ids, identities=identities)
    return found


@pytest.mark.parametrize(
    ("ids", "identities", "name", "found"),
    [
        (["a", "b", "c"], ["x", "x", "y"], "x", ["a", "b"]),
        (["a", "b", "c"], ["x", "x", "y"], "b", ["b"]),
        (["a", "b", "c"], ["x", "x", "y"], "z", []),
        (["a", "b", "c"], [3, 3, 4], "3", ["a", "b"]),
        (["a", "b", "c"], [3, 3, 4], "3/", ["a", "b"]),
        (["a", "b", "c"], [3, 3, 4], "03", []),
        ([5, 6], None, "6", [6]),
        ([5, 6], ["person 1", "person 1"], "person 1", [5, 6]),
        ([5, 6], ["person 1", "person 1"], "./6", [6]),
        ([1, 2, 3], [2, 7, 7], "./2", [2]),
        ([1, 2, 3], [2, 7, 7], "2/", [1]),
        (["x", "z"], ["y", "x"], "./x", ["x"]),
        (["x", "z"], ["y", "x"], "x/", ["z"]),
    ],
)
def test_names_and_their_pictures(ids: list[Any], identities: list[Any] | None, name: str, found: list[Any]) -> None:
    assert named_pictures(gallery(ids, identities), name) == found


@pytest.mark.parametrize(("ids", "identities", "name"), [(["x", "z"], ["y", "x"], "x"), ([1, 2], [2, 7], "2")])
def test_a_picture_and_an_identity_of_one_name(ids: list[Any], identities: list[Any], name: str) -> None:
    with pytest.raises(
        DataError, match=rf"which is both: .* of 1 pictures. Nothing .* Give \./{name} for .* or {name}/ "
    ):
        named_pictures(gallery(ids, identities), name)
