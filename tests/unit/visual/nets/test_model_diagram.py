from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from figure_parts import axes_of, misplaced, model_images, picture, random_images, texts
from torch import nn

from pairsim import SimilarityModel
from pairsim.images import Preprocessing
from pairsim.models import Calibration
from pairsim.visual import draw_similarity_model


def test_the_model_diagram_has_the_models_own_numbers() -> None:
    model, (a, b) = SimilarityModel().eval(), model_images(2)
    figure = draw_similarity_model(model, a, b)
    assert {"10.000 × similarity", "− 5.000"} <= set(texts(figure))
    assert any(f"probability {model.predict_proba(a[None], b[None]).item():.3f}" in text for text in texts(figure))
    boxes = {"net", "embedding", "similarity", "logit"}  # text stands in these on purpose
    assert [pair for pair in misplaced(figure) if not boxes & set(pair)] == []


CALIBRATIONS = {
    "platt": (
        Calibration(method="platt", prior=0.01, weight=12.0, bias=-3.0),
        {"calibration", "12.000 × similarity", "− 3.000", "= evidence"},
    ),
    "isotonic": (
        Calibration(method="isotonic", prior=0.25, similarities=(-0.5, 0.25, 0.75), evidence=(-4.0, 0.0, 5.0)),
        {"calibration", "isotonic: by a", "rising function", "= evidence"},
    ),
}


@pytest.mark.parametrize("method", list(CALIBRATIONS))
def test_a_calibrated_model_shows_its_calibration(method: str) -> None:
    model, (a, b) = SimilarityModel().eval(), model_images(2)
    model.calibration, expected = CALIBRATIONS[method]
    figure = draw_similarity_model(model, a, b)
    written = set(texts(figure))
    assert expected <= written
    below = " ".join(texts(figure)).replace("\n", " ")
    assert f"for {'1' if method == 'platt' else '25'} % positive pairs" in below
    assert f"probability {model.predict_proba(a[None], b[None]).item():.3f}" in below
    similarity = model.get_raw_similarity(model.preprocessing(a[None]), model.preprocessing(b[None])).item()
    evidence = (
        12 * similarity - 3 if method == "platt" else float(np.interp(similarity, [-0.5, 0.25, 0.75], [-4.0, 0.0, 5.0]))
    )
    assert any(t.startswith("here ") and abs(float(t[5:].replace("−", "-")) - evidence) < 2e-3 for t in written)
    (curve,) = [line for line in axes_of(figure, "probability").lines if len(line.get_xdata()) > 10]  # type: ignore[arg-type]
    x, y = (np.asarray(values, dtype=np.float64) for values in (curve.get_xdata(), curve.get_ydata()))
    assert model.calibration is not None
    assert y == pytest.approx(model.calibration.probability(torch.from_numpy(x)).double().numpy(), abs=1e-5)


def test_preprocessed_images_do_not_wrap() -> None:
    size_28 = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
    model = SimilarityModel(preprocessing=size_28)
    values = model.preprocessing(torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)) * 1.5
    with pytest.warns(UserWarning, match="got values from 4.232 to 4.232"):
        figure = draw_similarity_model(model, values[0], values[1])
    assert picture(figure, "first").min() == 255


def test_a_model_without_a_threshold_says_so() -> None:
    model, (a, b) = SimilarityModel().eval(), model_images(2)
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    figure = draw_similarity_model(model, a, b)
    below = " ".join(texts(figure))
    assert "no threshold: the projection does not rise with similarity" in below
    assert "match where" not in below
    assert len(axes_of(figure, "probability").lines) == 2  # the curve and the two images, no threshold


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: draw_similarity_model(nn.Linear(1, 1)), TypeError, "to be a SimilarityModel, got Linear"),  # type: ignore[arg-type]
    (lambda: draw_similarity_model(SimilarityModel(), random_images(1)), ValueError, "both images or neither, got one"),
    (
        lambda: draw_similarity_model(SimilarityModel(), random_images(1), random_images(2)),
        ValueError,
        "Expected one image as second, got 2",
    ),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
