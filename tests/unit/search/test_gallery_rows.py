"""Rows keep their order through additions, replacements and removals, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pairsim import SimilarityModel
from pairsim.errors import RunError
from pairsim.search.gallery_rows import GalleryRows, check_number


def unit(count: int, seed: int, dim: int = 8) -> Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_additions_replacements_and_removals(tiny_model: SimilarityModel, tmp_path: Path) -> None:
    rows = GalleryRows(tiny_model)
    assert rows.joined().shape == (0, 0)
    first, second = unit(3, 0), unit(3, 1)
    rows.append(first[:2], ["a", "b"])
    rows.append(first[2:], ["c"])
    assert torch.equal(rows.joined(), first)
    assert not rows.put(second[:1], ["d"])
    assert rows.put(second[1:], ["b", "e"])
    expected = torch.stack((first[0], second[1], first[2], second[0], second[2]))
    assert torch.equal(rows.joined(), expected)
    assert rows.table.names == list("abcde")
    rows.keep([4, 1])
    assert torch.equal(rows.joined(), expected[[4, 1]])
    rows.save(tmp_path)
    loaded = GalleryRows.load(tmp_path, tiny_model)
    assert torch.equal(loaded.joined(), expected[[4, 1]])
    assert (loaded.table.names, len(loaded)) == (["e", "b"], 2)


def test_what_does_not_fit_changes_nothing(tiny_model: SimilarityModel) -> None:
    rows = GalleryRows(tiny_model)
    rows.append(unit(2, 0), ["a", "b"])
    for call in (rows.append, rows.put):
        with pytest.raises(ValueError, match=r"gallery's size, \[n, 8\], got \[1, 5\]"):
            call(unit(1, 1, dim=5), ["c"])
        with pytest.raises(ValueError, match="one id per image, got 1 ids for 2 images"):
            call(unit(2, 1), ["c"])
    assert torch.equal(rows.joined(), unit(2, 0))
    rows.keep([])
    rows.append(unit(1, 1, dim=5), ["c"])  # without rows any size fits
    assert rows.joined().shape == (1, 5)


def test_rows_belong_to_the_weights_they_were_made_with(tiny_model: SimilarityModel, tmp_path: Path) -> None:
    rows = GalleryRows(tiny_model)
    rows.append(unit(1, 0), ["a"])
    rows.save(tmp_path)
    with torch.no_grad():
        next(tiny_model.embedding_net.parameters()).add_(0.1)
    with pytest.raises(ValueError, match="found its weights changed"):
        rows.save(tmp_path)
    with pytest.raises(RunError, match="found those of another"):
        GalleryRows.load(tmp_path, tiny_model)


def test_numbers_of_ids() -> None:
    check_number(None, ["a"])
    check_number(1, ["a"])
    with pytest.raises(ValueError, match="got 1 ids for 0 images"):
        check_number(0, ["a"])
