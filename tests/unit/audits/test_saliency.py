from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.audits.saliency import similarity_saliency


def test_occlusion_is_the_mean_drop_over_patches() -> None:
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    model = SimilarityModel().eval()
    found = similarity_saliency(model, images[0], images[1], patch=7, stride=7)
    for row, column in ((0, 0), (10, 20), (27, 27)):
        top, left = row // 7 * 7, column // 7 * 7
        changed = images[:1].clone()
        window = changed[..., max(top - 7, 0) : top + 14, max(left - 7, 0) : left + 14]
        changed[..., top : top + 7, left : left + 7] = window.mean()
        drop = (model(images[:1], images[1:]) - model(changed, images[1:])) / model.projection.weight.item()
        assert found.first[row, column] == pytest.approx(drop.item(), abs=2e-5)
    assert found.similarity == pytest.approx(model.get_raw_similarity(images[:1], images[1:]).item(), abs=1e-5)


def test_the_gradient_map_is_the_slope_times_the_value() -> None:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet()).double().eval()
    images = torch.rand(2, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = similarity_saliency(model, images[0], images[1], method="gradient")
    assert found.patch == 0
    for row, column in ((5, 9), (14, 14)):
        step = torch.zeros_like(images[:1])
        step[..., row, column] = 1e-6
        a, b = (model.get_raw_similarity(images[:1] + sign * step, images[1:]).item() for sign in (1, -1))
        slope = (a - b) / 2e-6
        assert found.first[row, column] == pytest.approx(slope * images[0, 0, row, column].item(), abs=1e-6)


def test_patches_that_do_not_divide_the_image_reach_every_pixel() -> None:
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = similarity_saliency(SimilarityModel(), images[0], images[1], patch=9, stride=9)
    assert np.isfinite(found.first).all()
    assert found.first.shape == found.second.shape == (28, 28)
    changed = images[:1].clone()
    changed[..., 19:, 19:] = images[0, :, 10:, 10:].mean()  # the last patch ends at the edge
    model = SimilarityModel().eval()
    drop = model.get_raw_similarity(images[:1], images[1:]) - model.get_raw_similarity(changed, images[1:])
    found = similarity_saliency(model, images[0], images[1], patch=9, stride=9)
    assert found.first[27, 27] == pytest.approx(drop.item(), abs=2e-6)


def test_the_maps_swap_with_the_images() -> None:
    a, b = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    model = SimilarityModel()
    one, other = similarity_saliency(model, a, b), similarity_saliency(model, b, a)
    assert one.first == pytest.approx(other.second, abs=1e-6)
    assert one.second == pytest.approx(other.first, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "shap"}, "Expected method to be"),
        ({"patch": 29}, "Expected patch to be a whole number from 1 to 28, got 29"),
        ({"patch": 2.5}, "Expected patch to be a whole number from 1 to 28, got 2.5"),
        ({"method": "gradient", "patch": 3}, "Expected no patch or stride"),
        ({"patch": 4, "stride": 5}, "Expected stride to be a whole number from 1 to 4, got 5"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    image = torch.rand(1, 28, 28)
    with pytest.raises(ValueError, match=message):
        similarity_saliency(SimilarityModel(), image, image, **options)
