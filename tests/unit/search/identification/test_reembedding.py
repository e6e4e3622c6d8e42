from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import small_model

from pairsim import Gallery
from pairsim.errors import DataError
from pairsim.search.identification.reembedding import reembedded


def saved(folder: Path, count: int) -> Gallery:
    generator = torch.Generator().manual_seed(1)
    (folder / "pictures").mkdir()
    for number in range(count):
        pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / f"pictures/{number}.png")
    gallery = Gallery(small_model(dim=6))
    gallery.add(folder / "pictures")
    gallery.save(folder / "old")
    return gallery


def test_pictures_that_are_alone_have_no_recall(tmp_path: Path) -> None:
    old = saved(tmp_path, 5)
    new, agreement = reembedded(tmp_path / "old", tmp_path / "pictures", small_model(dim=4, seed=2))
    assert (new.ids, new.embeddings.shape, agreement.num_images) == (old.ids, (5, 4), 5)
    assert (agreement.old_recall_at_1, agreement.new_recall_at_1) == (None, None)
    assert str(agreement) == f"the same nearest picture as before: {agreement.same_nearest:.1%} of 5"
    same, agreement = reembedded(tmp_path / "old", tmp_path / "pictures", small_model(dim=6))
    np.testing.assert_allclose(same.embeddings, old.embeddings, atol=1e-6)
    assert agreement.same_nearest == 1.0


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    with pytest.raises(DataError, match="at least two pictures, got 1"):
        reembedded(tmp_path / "old", tmp_path / "pictures", small_model())
