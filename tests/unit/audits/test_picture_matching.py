from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pairsim.audits.picture_matching import (
    coarse_descriptors,
    coarse_matches,
    first_of_each,
    indices_by_key,
    pixel_correlations,
    pixel_digests,
    thumbnails,
)


def pictures(count: int, *, size: tuple[int, int] = (28, 28), channels: int = 1, seed: int = 1) -> Tensor:
    """Smooth random pictures, uint8 `[count, channels, *size]`."""
    blobs = torch.rand(count, channels, 7, 7, generator=torch.Generator().manual_seed(seed))
    smooth = functional.interpolate(blobs, size=size, mode="bilinear", align_corners=True)
    return (20 + 200 * smooth).to(torch.uint8)


def best_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The highest correlation of the inner part of `b` and a window of `a`, both `[C, H, W]`."""
    height, width = a.shape[1:]
    inner = b[:, 1:-1, 1:-1].astype(np.float64).ravel()
    windows = [a[:, top : top + height - 2, left : left + width - 2] for top in range(3) for left in range(3)]
    return max(float(np.corrcoef(window.astype(np.float64).ravel(), inner)[0, 1]) for window in windows)


def test_digests_are_of_pixels_shape_and_dtype() -> None:
    images = pictures(3, channels=3)
    images[2] = images[0]
    digests = pixel_digests(images)
    assert [len(digest) for digest in digests] == [16] * 3
    assert digests[0] == digests[2] != digests[1]
    assert pixel_digests(images.contiguous(memory_format=torch.channels_last)) == digests
    assert pixel_digests(images[:1].reshape(1, 3, 14, 56)) != digests[:1]
    zeros = torch.zeros(1, 1, 4, 4)
    assert pixel_digests(zeros) != pixel_digests(zeros.to(torch.int32))


def test_indices_by_key() -> None:
    assert indices_by_key([b"x", b"y", b"x"]) == {b"x": [0, 2], b"y": [1]}
    assert indices_by_key([]) == {}


def test_first_of_each() -> None:
    groups, order = np.array([5, 5, 3, 5, 3]), np.array([4, 2, 3, 0, 1])
    assert first_of_each(groups, order, 2).tolist() == [4, 2, 3, 0]
    assert first_of_each(groups, order, 1).tolist() == [4, 3]
    assert first_of_each(groups, order, None).tolist() == order.tolist()


def test_thumbnails_average_pixels_or_leave_them() -> None:
    images = pictures(2, size=(8, 12))
    assert torch.equal(thumbnails(images, (8, 12)), images.float())
    expected = images.float().view(2, 1, 4, 2, 6, 2).mean(dim=(3, 5))
    torch.testing.assert_close(thumbnails(images, (4, 6)), expected)


def test_descriptors_are_unit_vectors_whose_products_are_correlations() -> None:
    images = pictures(5, channels=3).float()
    images[4] = 9.0
    plain = coarse_descriptors(images, shifted=False)
    assert plain.shape == (5, 1, 64)
    torch.testing.assert_close(plain[:4].norm(dim=2), torch.ones(4, 1))
    assert not plain[4].any()
    coarse = functional.adaptive_avg_pool2d(images[:4].mean(dim=1)[:, 1:-1, 1:-1], 8).flatten(1)
    expected = np.corrcoef(coarse.double().numpy())
    assert (plain[:4, 0] @ plain[:4, 0].T).numpy() == pytest.approx(expected, abs=1e-5)
    nine = coarse_descriptors(images, shifted=True)
    assert nine.shape == (5, 9, 64)
    torch.testing.assert_close(nine[:, 4], plain[:, 0])
    assert coarse_descriptors(images[..., :5, :6], shifted=True).shape == (5, 1, 30)  # too small to shift


def test_coarse_matches_are_those_of_one_product() -> None:
    thumbs = thumbnails(pictures(600), (28, 28))
    queries, gallery = coarse_descriptors(thumbs, shifted=True), coarse_descriptors(thumbs.flip(0), shifted=False)
    products = torch.einsum("mwd,nvd->mnw", queries.double(), gallery.double()).amax(2).numpy()
    found = {pair for part in coarse_matches(queries, gallery, 0.5) for pair in zip(*map(list, part), strict=True)}
    assert found == set(zip(*np.nonzero(products >= 0.5), strict=True))
    best = [pair for part in coarse_matches(queries, gallery, 0.0, limit=2) for pair in zip(*part, strict=True)]
    order = np.argsort(-products, axis=1)
    assert best == [(query, order[query, rank]) for query in range(600) for rank in range(2)]


def test_correlations_of_shifted_and_plain_images() -> None:
    images = pictures(9, channels=3).float()
    moved = images.roll((1, -1), dims=(2, 3))
    assert pixel_correlations(images, moved).min() > 0.99999
    assert pixel_correlations(moved, images).min() > 0.99999
    expected = [best_correlation(a, b) for a, b in zip(images.numpy(), images.flip(0).numpy(), strict=True)]
    assert pixel_correlations(images, images.flip(0)).tolist() == pytest.approx(expected, abs=1e-5)
    assert pixel_correlations(images, torch.full_like(images, 9.0)).tolist() == [0.0] * 9
    grey = images.mean(dim=1, keepdim=True)
    assert pixel_correlations(images, grey).min() > 0.99999
