from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.nn import functional

from pairsim import Gallery
from pairsim.search import gallery_shards
from pairsim.search.gallery_shards import Shard, whole

MODEL = small_model(dim=6)


def test_many_small_shards_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_shards, "MAX_SMALL", 5)
    gallery = Gallery(MODEL)
    most = 0
    for number in range(20):
        row = torch.randn(1, 6, generator=torch.Generator().manual_seed(number))
        gallery.add_embeddings(functional.normalize(row, dim=1), [number])
        gallery.save(tmp_path)
        most = max(most, len(json.loads((tmp_path / "gallery.json").read_text())["shards"]))
    loaded = Gallery.load(tmp_path, MODEL)
    assert loaded.ids == gallery.ids
    np.testing.assert_array_equal(loaded.embeddings, gallery.embeddings)
    assert most <= 7


def test_rows_that_a_shard_keeps() -> None:
    shard = Shard.from_dict(
        {"number": 3, "rows": 6, "embeddings_sha256": "", "ids_sha256": "", "removed": [[0, 2], [4, 5]]}
    )
    assert (shard.num_kept, shard.kept().tolist()) == (3, [False, False, True, True, False, True])
    assert (shard.embeddings_file, shard.ids_file) == ("embeddings-00003.safetensors", "ids-00003.json")


@pytest.mark.parametrize("removed", [[[0, 9]], [[3, 2]], [[2, 3], [1, 2]], [[-1, 2]], [[0.5, 2]]])
def test_spans_that_are_not_possible(removed: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Shard.from_dict({"number": 0, "rows": 6, "embeddings_sha256": "", "ids_sha256": "", "removed": removed})


def test_whole_numbers() -> None:
    assert whole(2**53) == 2**53
    for value in (True, -1, 1.0, "1", 2**53 + 1):
        with pytest.raises(ValueError, match="expected a whole number, found"):
            whole(value)
