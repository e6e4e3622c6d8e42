from __future__ import annotations

import json
import math

import pytest
import torch
from small_models import small_model

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, compare_models, evaluate
from pairsim.data import ImageTensors


def test_compare_models_finds_what_is_better(model: SimilarityModel, splits: tuple[ImageTensors, ...]) -> None:
    torch.manual_seed(1)
    untrained = SimilarityModel(EmbeddingNet(image_size=16), preprocessing=model.preprocessing).eval()
    found = compare_models(model, untrained, splits[2], num_resamples=100)
    auc = found.differences["roc_auc"]
    assert auc.low > 0
    assert auc.p_value == pytest.approx(2 / 101)
    assert auc.first == evaluate(model, splits[2]).roc_auc
    assert "ROC AUC" in str(found)
    assert math.isnan(found.differences["roc_auc"].difference) is False
    assert found.to_dict()["differences"]["eer"]["difference"] == found.differences["eer"].difference
    by_class = compare_models(model, untrained, splits[2], unit="classes", num_resamples=50)
    assert by_class.unit == "classes"
    with pytest.raises(ValueError, match='"images" for given pairs'):
        compare_models(model, untrained, PairDataset(splits[2], 100), unit="classes", num_resamples=5)


def test_figures_without_pairs_are_null_and_have_no_line(
    model: SimilarityModel, splits: tuple[ImageTensors, ...]
) -> None:
    one_class = ImageTensors(splits[2].images[:4], [3] * 4)
    comparison = compare_models(model, model, one_class, num_resamples=5)
    values = json.loads(comparison.to_json())
    assert values["differences"]["roc_auc"]["difference"] is None
    assert values["differences"]["fnmr"]["difference"] == 0.0
    assert (values["num_pairs"], values["num_images"], values["protocol"]) == (6, 4, "all pairs")
    assert values["thresholds"] == [model.threshold] * 2
    assert "ROC AUC" not in str(comparison)
    assert "false non-match rate" in str(comparison)


@pytest.mark.parametrize("part", ["embedding_net.conv.0.weight", "projection.weight"])
def test_a_model_with_nan_is_not_compared(part: str) -> None:
    models = small_model(), small_model()
    with torch.no_grad():
        models[1].get_parameter(part).fill_(torch.nan)
    pixels = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    with pytest.raises(ValueError, match=rf"Expected finite weights of the model, found NaN or infinity in {part}"):
        compare_models(*models, ImageTensors(pixels, [0, 1] * 4), num_resamples=10)
