from __future__ import annotations

import numpy as np
import pytest
import torch
from exported import SIZE, Branching, OfTwo, Owned, Random, Tiny, isotonic, pixels, small_model
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pairsim import Calibration, SimilarityModel
from pairsim.errors import ExportError
from pairsim.export.graphs import Comparison, Embedding, largest_difference, random_pixels, trace
from pairsim.export.onnx_models import Float32Array, Pixels
from pairsim.images import Preprocessing


def test_embedding_is_the_models_own() -> None:
    model = small_model()
    with torch.no_grad():
        torch.testing.assert_close(Embedding(model)(pixels(4)), model.embed(pixels(4)), rtol=0, atol=1e-6)


def test_without_mean_and_std_pixels_are_only_scaled() -> None:
    model = SimilarityModel(Tiny(), preprocessing=Preprocessing(image_size=SIZE, channels=3))
    torch.testing.assert_close(Embedding(model)(pixels(4)), model.embed(pixels(4)), rtol=0, atol=1e-6)


def test_a_subclass_embeds_in_its_own_way() -> None:
    model = Owned(Tiny()).eval()
    torch.testing.assert_close(Embedding(model)(pixels(4)), model.embed(pixels(4)))
    assert not torch.allclose(Embedding(model)(pixels(4)), Embedding(SimilarityModel(Tiny()))(pixels(4)))


def calibrations() -> st.SearchStrategy[Calibration | None]:
    numbers = st.floats(-1.2, 1.2)
    prior = st.floats(0.001, 0.999)
    platt = st.builds(
        lambda prior, weight, bias: Calibration(method="platt", prior=prior, weight=weight, bias=bias),
        prior,
        st.floats(0.1, 50),
        st.floats(-20, 20),
    )

    def on_points(prior: float, places: list[float], steps: list[float]) -> Calibration:
        x = sorted(places)
        y = torch.tensor(steps[: len(x)], dtype=torch.float64).cumsum(0) - 5
        return Calibration(method="isotonic", prior=prior, similarities=tuple(x), evidence=tuple(y.tolist()))

    points = st.lists(numbers, min_size=1, max_size=9, unique=True)
    steps = st.lists(st.floats(0, 4), min_size=9, max_size=9)
    return st.one_of(st.none(), platt, st.builds(on_points, prior, points, steps))


@given(calibrations(), st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20))
def test_probability_is_the_models_own(calibration: Calibration | None, similarities: list[float]) -> None:
    model = SimilarityModel(Tiny())
    model.calibration = calibration
    graph = Comparison(model)
    points = [] if calibration is None else [x for x in calibration.similarities if -1 <= x <= 1]
    similarity = torch.tensor(similarities + points)
    torch.testing.assert_close(graph.probability(similarity), model.probability(similarity), rtol=0, atol=2e-6)


def test_tracing_leaves_the_model_as_it_is() -> None:
    model = small_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    traced = trace(model, "pair")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert traced.description.embedding_dim == 8
    first, second = pixels(3), pixels(3, seed=1)
    similarity, probability = traced.program.module()(first, second)
    model.eval()
    expected = (model.encode(first) * model.encode(second)).sum(dim=1)
    torch.testing.assert_close(similarity, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(probability, model.predict_proba(first, second), rtol=0, atol=1e-5)


def test_calibration_of_a_traced_pair() -> None:
    model = small_model(calibration=isotonic())
    similarity, probability = trace(model, "pair").program.module()(pixels(5), pixels(5, seed=1))
    torch.testing.assert_close(probability, model.probability(similarity), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Branching(), "Expected a net that can be traced, but tracing Branching failed: "),
        (OfTwo(), "tracing OfTwo failed: .*or on the number of images"),
    ],
)
def test_nets_that_have_no_graph(net: nn.Module, said: str) -> None:
    model = SimilarityModel(net, preprocessing=Preprocessing(image_size=SIZE, channels=3))
    with pytest.raises(ExportError, match=said):
        trace(model, "embed")


def test_a_graph_that_differs_is_refused() -> None:
    traced = trace(SimilarityModel(Random()), "embed")
    graph = traced.program.module()

    def run(images: Pixels) -> list[Float32Array]:
        return [graph(torch.from_numpy(images)).numpy()]

    with pytest.raises(ExportError, match=r"by at most 0\.0001, found a difference of .*Nothing was written"):
        largest_difference(traced, run)
    with pytest.raises(ExportError, match="found a difference of inf"):
        largest_difference(traced, lambda images: [run(images)[0] * np.float32("nan")])

    def fixed(images: Pixels) -> list[Float32Array]:
        return run(images[:2].reshape(2, 3, *SIZE))

    with pytest.raises(ExportError, match="to run on 1 image at once, but: "):
        largest_difference(traced, fixed)


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="Expected kind to be one of embed, pair, got 'both'"):
        trace(small_model(), "both")  # type: ignore[arg-type]


def test_random_pixels_are_the_same_in_every_run_and_not_of_one_brightness() -> None:
    a = random_pixels((1, 30, 30), 4, seed=3)
    assert torch.equal(a, random_pixels((1, 30, 30), 4, seed=3))
    assert not torch.equal(a, random_pixels((1, 30, 30), 4, seed=4))
    assert (a.float().mean(dim=(1, 2, 3)).diff() < 0).all()
