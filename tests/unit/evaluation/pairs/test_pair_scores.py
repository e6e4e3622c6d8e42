from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pairsim.evaluation import Logistic, PairScores, all_pair_scores


def _embeddings(num_images: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_images, dim, generator=generator), dim=1)


def test_by_hand() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    pairs = all_pair_scores(embeddings, [7, 3, 7])
    np.testing.assert_allclose(pairs.positive, [0.6], atol=1e-7)
    np.testing.assert_allclose(pairs.negative, [0.0, 0.8], atol=1e-7)
    assert (pairs.num_positive, pairs.num_negative, pairs.num_pairs) == (1, 2, 3)


def test_label_values_and_image_order_do_not_matter() -> None:
    embeddings, labels = _embeddings(50), torch.arange(50) % 4
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    first, second = all_pair_scores(embeddings, labels), all_pair_scores(embeddings[order], 9 - labels[order].numpy())
    np.testing.assert_allclose(first.positive, second.positive, atol=1e-6)
    np.testing.assert_allclose(first.negative, second.negative, atol=1e-6)


def test_identical_images_are_clipped_to_one() -> None:
    pairs = all_pair_scores(_embeddings(1, 513).repeat(20, 1), [0] * 20)
    assert pairs.positive.max() <= 1.0
    assert pairs.positive.min() > 1.0 - 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_computed_in_float32(dtype: torch.dtype) -> None:
    embeddings = _embeddings(30, 64).to(dtype).requires_grad_()
    pairs = all_pair_scores(embeddings, torch.arange(30) % 3)
    expected = all_pair_scores(embeddings.detach().float(), torch.arange(30) % 3)
    assert pairs.negative.tolist() == expected.negative.tolist()
    assert pairs.negative.dtype == np.float32


@pytest.mark.parametrize("num_images", [0, 1])
def test_no_pairs(num_images: int) -> None:
    pairs = all_pair_scores(torch.ones(num_images, 1), [0] * num_images)
    assert pairs.num_pairs == 0
    assert math.isnan(pairs.roc_auc())
    assert math.isnan(pairs.equal_error_rate())
    assert math.isnan(pairs.equal_error_threshold())
    assert math.isnan(pairs.threshold_at_fmr(0.1))
    assert math.isnan(pairs.log_loss(Logistic(1, 0)))


@pytest.mark.parametrize(
    ("embeddings", "labels", "error", "message"),
    [
        (torch.ones(4), [0] * 4, ValueError, r"Expected embeddings to have shape \[N, D\], got \[4\]. Give one row"),
        (torch.ones(2, 1).int(), [0, 1], TypeError, "Expected embeddings of a float dtype, got int32. Convert"),
        (torch.ones(2, 1), [0, 1, 1], ValueError, r"Expected one label per embedding, shape \[2\], got shape \[3\]"),
        (torch.ones(2, 1), [0.0, 1.0], TypeError, "Expected labels to be whole numbers, got dtype float64"),
        (
            torch.ones(2, 1),
            ["a", "b"],
            TypeError,
            r"Expected labels to be whole numbers, got dtype <U1\. Give class numbers: ClassIndex",
        ),
        (
            torch.tensor([[1.0], [2.0], [3.0]]),
            [0, 1, 1],
            ValueError,
            r"Expected embeddings of length 1, got length 2 at index 1 \(2 such of 3\). Normalise them: torch.nn",
        ),
        (torch.full((1, 2), float("nan")), [0], ValueError, "got length nan at index 0"),
    ],
)
def test_messages(embeddings: torch.Tensor, labels: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        all_pair_scores(embeddings, labels)


def test_pair_scores_check_themselves() -> None:
    ascending = np.array([0.0, 1.0])
    for wrong in (np.array([1.0, 0.0]), np.array([0.0, np.nan]), np.array([np.nan]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match=r"Expected negative to be one ascending array without NaN"):
            PairScores(ascending, wrong)
    with pytest.raises(TypeError, match=r"Expected positive and negative both float32 or both float64, got"):
        PairScores(ascending, ascending.astype(np.float32))
    with pytest.raises(TypeError, match="got int64 and int64"):
        PairScores(np.arange(2), np.arange(2))  # type: ignore[arg-type]


def test_pair_scores_are_locked_and_the_arrays_given_are_not() -> None:
    mine = np.array([0.0, 1.0])
    pairs = PairScores(mine, mine)
    assert not pairs.positive.flags.writeable
    assert mine.flags.writeable
