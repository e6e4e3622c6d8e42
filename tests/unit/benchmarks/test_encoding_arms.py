"""The arms of the benchmark "encoding" do the same work."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from PIL import Image

from benchmarks import encoding
from pairsim import SimilarityModel


def test_arms_give_the_same_embeddings(tmp_path: Path) -> None:
    paths = encoding.make_photos(tmp_path, 5, seed=0)
    assert paths == sorted(tmp_path.iterdir())
    with Image.open(paths[0]) as photo:
        assert photo.size == (1024, 768)
    assert paths[0].read_bytes() != paths[1].read_bytes()
    model = SimilarityModel().eval()
    expected = model.encode(paths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process that has threads
        arms = [arm(model, paths) for arm in (encoding.by_picture, encoding.by_batch, encoding.with_loader)]
    for found in arms:
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
