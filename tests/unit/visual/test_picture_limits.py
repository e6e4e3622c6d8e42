"""What the pictures of models and lists do at their limits, and what they say to what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figure_parts import MNIST, axes_of, misplaced, picture, random_images, texts, title
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing
from pairsim.models import Calibration
from pairsim.search.gallery import SearchResult
from pairsim.visual import (
    draw_class_ranking,
    draw_confusing_pairs,
    draw_embedding_net,
    draw_neighbors,
    draw_similarity_model,
)
from pairsim.visual.page.text_styles import BAD_INK, GOOD_INK


def model_images(count: int) -> torch.Tensor:
    """Images of the size that the reference net takes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)


def found(ids: list[list[Any]]) -> SearchResult:
    similarity = torch.linspace(0.9, -0.5, len(ids[0])).expand(len(ids), -1)
    return SearchResult(ids, similarity, similarity.clamp(0, 1))


def frame(figure: Figure, label: str) -> str:
    return to_hex(axes_of(figure, label).spines["left"].get_edgecolor()).upper()


def test_which_neighbours_are_right() -> None:
    figure = draw_neighbors(
        random_images(2),
        found([[3, 0, 1], [1, 2, 3]]),
        random_images(4, seed=1),
        query_labels=torch.tensor([7, 8]),
        gallery_labels=np.array([7, 8, 7, 8]),
        names={7: "cat"},
    )
    marks = [text for text in texts(figure) if text[:2] in ("✓ ", "✗ ") and text[-1].isdigit()]
    assert marks == ["✗ 0.900", "✓ 0.200", "✗ −0.500", "✓ 0.900", "✗ 0.200", "✓ −0.500"]
    right = {"neighbor 0 1", "neighbor 1 0", "neighbor 1 2"}
    for axes in figure.axes:
        if str(axes.get_label()).startswith("neighbor"):
            assert frame(figure, str(axes.get_label())) == (GOOD_INK if axes.get_label() in right else BAD_INK)
    assert any("3 of 6 neighbours drawn are right" in text for text in texts(figure))
    assert texts(figure).count("cat") == 3
    assert not misplaced(figure)


@pytest.mark.slow
def test_more_queries_and_neighbours_than_fit_are_told() -> None:
    figure = draw_neighbors(random_images(15), found([list(range(11))] * 15), random_images(11))
    assert title(figure) == (
        "Queries and their nearest images: the first 12 of 15 queries, the first 10 of 11 neighbours"
    )
    assert len(figure.axes) == 12 * 11
    assert not misplaced(figure)
    figure = draw_neighbors(random_images(1), found([list(range(11))]), random_images(11), title="Mine")
    assert title(figure) == "Mine: the first 10 of 11 neighbours"


def test_ids_are_paths_of_pictures_of_any_size(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), []
    for name, size in (("tall.png", (30, 10, 3)), ("a_very_long_name_of_a_file.png", (12, 40, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
        paths.append(str(tmp_path / name))
    figure = draw_neighbors(random_images(1, channels=3), found([paths]))
    assert picture(figure, "neighbor 0 0").shape == (30, 10, 3)
    assert picture(figure, "neighbor 0 1").shape == (12, 40, 3)
    assert "tall.png" in texts(figure)
    assert "a_very_…le.png" in texts(figure)
    assert not misplaced(figure)
    with pytest.raises(ImageReadError, match="missing"):
        draw_neighbors(random_images(1, channels=3), found([[str(tmp_path / "missing.png")]]))


def test_neighbours_by_a_mapping() -> None:
    images = random_images(2)
    figure = draw_neighbors(images[:1], found([["x"]]), {"x": images[1]}, query_labels=["a"], gallery_labels={"x": "a"})
    assert np.array_equal(picture(figure, "neighbor 0 0"), images[1, 0].numpy())
    assert "✓ 0.900" in texts(figure)


def test_the_nearest_of_many_classes_are_drawn() -> None:
    model, images = SimilarityModel().eval(), model_images(24)
    names = [f"class {k}" for k in range(23)]
    figure = draw_class_ranking(model, images[0], images[1:], names=names)
    order = model.similarity_matrix(images[:1], images[1:])[0]
    nearest = [names[k] for k in order.argsort(descending=True).tolist()[:20]]
    assert [text for text in texts(figure) if text in names] == nearest
    assert "20 of 23" in title(figure)
    assert not misplaced(figure)


def test_classes_in_colour_and_of_unequal_size() -> None:
    model = SimilarityModel(EmbeddingNet(in_channels=3))
    examples = [torch.zeros(3, 10, 40, dtype=torch.uint8), torch.full((3, 60, 20), 200, dtype=torch.uint8)]
    figure = draw_class_ranking(model, random_images(1, channels=3), examples)
    assert {picture(figure, f"example {k}").shape for k in range(2)} == {(10, 40, 3), (60, 20, 3)}
    assert not misplaced(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    size_28 = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
    model = SimilarityModel(preprocessing=size_28)
    white = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    values = model.preprocessing(white) * 1.5
    figures = [
        (draw_similarity_model(model, values[0], values[1]), "first"),
        (draw_class_ranking(model, values[0], values), "example 1"),
    ]
    assert all(picture(figure, label).min() == 255 for figure, label in figures)
    dark_and_light = MNIST(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 12, 12)) * 1.5
    figure = draw_neighbors(dark_and_light, found([[0], [1]]), dark_and_light, preprocessing=MNIST)
    assert picture(figure, "neighbor 0 0").max() == 0
    assert picture(figure, "neighbor 1 0").min() == 255
    figure = draw_confusing_pairs(ImageTensors(dark_and_light, [0, 0]), torch.eye(2), 0.5, preprocessing=MNIST)
    assert picture(figure, "first 0").max() == 0
    assert picture(figure, "second 0").min() == 255


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


def neighbors(**changes: Any) -> Figure:
    options: dict[str, Any] = {
        "queries": random_images(1),
        "result": found([[0]]),
        "pictures": random_images(1),
    } | changes
    return draw_neighbors(**options)


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: neighbors(queries=random_images(2)), ValueError, "as many queries as the search had, got 2 and 1"),
    (lambda: neighbors(result=found([[]])), ValueError, "Expected at least one query with a neighbour, got none"),
    (lambda: neighbors(query_labels=[1]), ValueError, "Expected query_labels and gallery_labels together"),
    (lambda: neighbors(query_labels=[1, 2], gallery_labels=[1]), ValueError, "Expected 1 query_labels, .*, got 2"),
    (lambda: neighbors(query_labels=[1], gallery_labels=[]), ValueError, "Expected a label for id 0, found none"),
    (lambda: neighbors(pictures={}), ValueError, "Expected a picture for id 0, found none"),
    (lambda: neighbors(pictures=None), ValueError, "Expected pictures of the gallery, as the id 0 is no path"),
    (lambda: neighbors(result=found([[4]])), ValueError, "Expected ids from 0 to 0, got 4. Pass all pictures"),
    (lambda: neighbors(queries="x.png"), TypeError, "Expected queries as tensors"),
    (lambda: draw_embedding_net(EmbeddingNet), TypeError, "Expected net to be a torch.nn.Module, got type"),  # type: ignore[arg-type]
    (lambda: draw_embedding_net(nn.Conv2d(1, 2, 3)), ValueError, "Expected image_size, as Conv2d does not tell it"),
    (lambda: draw_embedding_net(nn.Flatten(), image_size=4), ValueError, "Expected in_channels, as Flatten does not"),
    (lambda: draw_embedding_net(EmbeddingNet(), depth=0), ValueError, "Expected depth to be at least 1, got 0"),
    (lambda: draw_embedding_net(EmbeddingNet(), image_size=0), ValueError, "of at least 1, got 0 and 1"),
    (lambda: draw_embedding_net(nn.Linear(3, 1), image_size=5, in_channels=1), ValueError, "to take images of shape"),
    (lambda: draw_similarity_model(nn.Linear(1, 1)), TypeError, "to be a SimilarityModel, got Linear"),  # type: ignore[arg-type]
    (lambda: draw_similarity_model(SimilarityModel(), random_images(1)), ValueError, "both images or neither, got one"),
    (
        lambda: draw_similarity_model(SimilarityModel(), random_images(1), random_images(2)),
        ValueError,
        "Expected one image as second, got 2",
    ),
    (
        lambda: draw_class_ranking(SimilarityModel(), random_images(2), random_images(2)),
        ValueError,
        "Expected one image as query, got 2",
    ),
    (lambda: draw_class_ranking(SimilarityModel(), random_images(1), []), ValueError, "at least one class, got none"),
    (
        lambda: draw_class_ranking(SimilarityModel(), random_images(1), random_images(2), true_label=5),
        ValueError,
        "Expected true_label to be the label of an example, got 5",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 1]), torch.eye(2), 0.5),
        ValueError,
        "Expected a pair that is judged wrongly at threshold 0.5, found none: all 1 pairs",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), 0.5, count=13),
        ValueError,
        "Expected count to be at most 12, got 13",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), float("inf")),
        ValueError,
        "Expected threshold to be finite, got inf",
    ),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
