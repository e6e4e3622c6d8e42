from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pairsim import (
    EmbeddingNet,
    Gallery,
    SimilarityModel,
    TrainConfig,
    Trainer,
    audit_labels,
    calibrate,
    compare_models,
    encode_dataset,
    encode_pictures,
    evaluate,
    similarity_saliency,
    verify_pairs,
)
from pairsim.data import ImageTensors
from pairsim.export import export_onnx

LABELS = torch.arange(12) % 2
IMAGES = ImageTensors((torch.arange(256).view(1, 1, 16, 16) * (1 + 2 * LABELS[:, None, None, None])).byte(), LABELS)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "evaluate": lambda model, **options: evaluate(model, IMAGES, **options),
    "calibrate": lambda model, **options: calibrate(model, IMAGES, **options),
    "compare_models": lambda model, **options: compare_models(model, model, IMAGES, **options),
    "encode_dataset": lambda model, **options: encode_dataset(model, IMAGES, **options),
    "encode_pictures": lambda model, **options: encode_pictures(model, IMAGES.images, **options),
    "encode_pictures one by one": lambda model, **options: encode_pictures(model, list(IMAGES.images), **options),
    "Gallery": lambda model, **options: Gallery(model).add(IMAGES.images, **options),
}
OTHERS: dict[str, Callable[..., Any]] = {
    "verify_pairs": lambda model: verify_pairs(model, []),
    "Trainer": lambda model: Trainer(model, train=IMAGES),
    "saliency": lambda model: similarity_saliency(model, IMAGES.images[0], IMAGES.images[1]),
    "export_onnx": lambda model: export_onnx(model, "model.onnx"),
    "audit_labels": lambda model: audit_labels(IMAGES, model=model),
}


@pytest.mark.parametrize("name", FUNCTIONS | OTHERS)
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("runs/mine", r"got str\. Load one: SimilarityModel\.from_pretrained"),
        (EmbeddingNet(image_size=16), r"got EmbeddingNet\. Wrap the net in one"),
    ],
)
def test_what_is_no_model(name: str, model: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"Expected model to be a SimilarityModel, {said}"):
        (FUNCTIONS | OTHERS)[name](model)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("batch_size", "error", "said"),
    [
        ("32", TypeError, "to be a whole number of at least 1, got '32'"),
        (2.5, TypeError, "to be a whole number of at least 1, got 2.5"),
        ([4], TypeError, r"to be a whole number of at least 1, got \[4\]"),
        (0, ValueError, "to be at least 1, got 0"),
    ],
)
def test_batch_sizes_that_are_none(name: str, batch_size: Any, error: type[Exception], said: str) -> None:
    model = SimilarityModel(EmbeddingNet(image_size=16))
    with pytest.raises(error, match=f"Expected batch_size {said}"):
        FUNCTIONS[name](model, batch_size=batch_size)


@pytest.mark.parametrize("threshold", [50, -1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["verify", "evaluate", "verify_pairs"])
def test_thresholds_as_percentages(name: str, threshold: float) -> None:
    model = SimilarityModel(EmbeddingNet(image_size=16))
    use: dict[str, Callable[[], Any]] = {
        "verify": lambda: model.verify(IMAGES.images[0], IMAGES.images[1], threshold),
        "evaluate": lambda: evaluate(model, IMAGES, threshold=threshold),
        "verify_pairs": lambda: verify_pairs(model, [], threshold=threshold),
    }
    with pytest.raises(ValueError, match=r"Expected threshold to be a similarity in \[-1, 1\], got"):
        use[name]()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (
            {"target_fmr": 1},
            ValueError,
            "Expected target_fmr below 1, got 1: then every pair matches. For 1 % give 0.01",
        ),
        ({"target_fmr": 5}, ValueError, "Expected target_fmr to be a rate from 0 to 1, got 5.0. Give a fraction"),
        ({"target_fmr": "0.1"}, TypeError, "Expected target_fmr to be a number, got '0.1'"),
        ({"prior": 50}, ValueError, "Expected prior to be between 0 and 1, got 50"),
        ({"prior": "0.5"}, TypeError, "Expected prior to be a number, got '0.5'"),
        ({"costs": 5}, ValueError, "Expected costs as two numbers, of a false match and a false non-match, got 5"),
        ({"costs": ("1", 2)}, TypeError, "Expected the cost false_match to be a number, got '1'"),
        ({"equal_errors": "no"}, TypeError, "Expected equal_errors to be True or False, got 'no'"),
    ],
)
def test_options_of_calibrate(options: dict[str, Any], error: type[Exception], said: str) -> None:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(image_size=16))
    with pytest.raises(error, match=said):
        calibrate(model, IMAGES, **options)
    assert model.calibration is None


def test_a_config_is_no_dictionary() -> None:
    config: Any = {"epochs": 1}
    with pytest.raises(TypeError, match=r"Expected config to be a TrainConfig, got dict\. Give TrainConfig\(\.\.\.\)"):
        Trainer(SimilarityModel(EmbeddingNet(image_size=16)), config, train=IMAGES)
    assert TrainConfig(**config).epochs == 1


@pytest.mark.parametrize("indices", [[99], [-1], ["a"], [0.5], [[0, 1]]])
def test_indices_outside_the_dataset(indices: Any) -> None:
    model = SimilarityModel(EmbeddingNet(image_size=16))
    with pytest.raises(ValueError, match=r"Expected indices to be whole numbers from 0 to 11, \[n\], got"):
        encode_dataset(model, IMAGES, indices=np.array(indices))
    assert encode_dataset(model, IMAGES, indices=[1, 2]).shape == (2, 128)  # type: ignore[arg-type]
