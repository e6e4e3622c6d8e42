from __future__ import annotations

import numpy as np
import pytest
import torch

from pairsim.evaluation import all_pair_scores
from pairsim.evaluation.pairs.similarities import by_class, pair_rows, similarity_blocks


def _embeddings(num_images: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_images, dim, generator=generator), dim=1)


def test_images_are_sorted_by_class_and_keep_their_order_within() -> None:
    embeddings = np.eye(5)
    vectors, codes, order = by_class(embeddings, [7, 3, 7, -2, 3])
    assert order.tolist() == [3, 1, 4, 0, 2]
    assert codes.tolist() == [0, 1, 1, 2, 2]
    assert vectors.dtype == np.float32
    assert vectors.tolist() == embeddings[order].tolist()


@pytest.mark.parametrize("block_size", [1, 3, 100])
def test_each_pair_comes_once(block_size: int) -> None:
    vectors, codes, _ = by_class(_embeddings(10), np.arange(10) % 3)
    products = vectors @ vectors.T
    rows = list(pair_rows(vectors, codes, block_size))
    assert len(rows) == 10
    for image, (same, other) in enumerate(rows):
        later = np.arange(10) > image
        np.testing.assert_allclose(same, products[image, later & (codes == codes[image])], atol=1e-6)
        np.testing.assert_allclose(other, products[image, later & (codes != codes[image])], atol=1e-6)


@pytest.mark.parametrize("upper", [False, True])
def test_blocks_cover_the_matrix(upper: bool) -> None:
    vectors = _embeddings(7).numpy()
    for start, products in similarity_blocks(vectors, 3, upper=upper):
        columns = slice(start, None) if upper else slice(None)
        np.testing.assert_allclose(products, (vectors @ vectors.T)[start : start + 3, columns], atol=1e-6)
        assert products.max() <= 1.0


def test_torch_precision_settings_do_not_reach_the_scores() -> None:
    embeddings = _embeddings(64, 256)
    expected = all_pair_scores(embeddings, [0] * 64).positive
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = all_pair_scores(embeddings, [0] * 64).positive
    finally:
        torch.set_float32_matmul_precision(before)
    assert found.tolist() == expected.tolist()


def test_block_size_message() -> None:
    with pytest.raises(ValueError, match=r"Expected block_size to be a whole number of at least 1, got 0. Use 1024"):
        all_pair_scores(_embeddings(3), [0, 0, 1], block_size=0)
