from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from figure_parts import axes_of, misplaced, texts, title
from matplotlib.figure import Figure
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.audits.saliency import PairSaliency, similarity_saliency
from pairsim.visual import draw_saliency


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images[0], images[1]


@pytest.fixture(scope="module")
def drawn() -> tuple[Figure, PairSaliency]:
    torch.manual_seed(0)
    model, (a, b) = SimilarityModel().eval(), pair()
    figure = draw_saliency(model, a, b, patch=7, stride=7)
    return figure, similarity_saliency(model, a, b, patch=7, stride=7)


def test_maps_and_pixels_are_those_of_similarity_saliency(drawn: tuple[Figure, PairSaliency]) -> None:
    figure, expected = drawn
    maps = [axes_of(figure, name).images[1] for name in ("first map", "second map")]
    assert np.array_equal(maps[0].get_array(), expected.first)  # type: ignore[arg-type]
    assert np.array_equal(maps[1].get_array(), expected.second)  # type: ignore[arg-type]
    limit = max(abs(expected.first).max(), abs(expected.second).max())
    assert all(one.get_clim() == pytest.approx((-limit, limit)) for one in maps)
    assert np.array_equal(axes_of(figure, "first").images[0].get_array(), pair()[0][0].numpy())  # type: ignore[arg-type]
    assert title(figure) == f"Saliency of two images: similarity {expected.similarity:.3f}"
    assert "patches of 7 × 7 pixels" in " ".join(texts(figure))
    assert not misplaced(figure)


def test_lines_surround_what_adds_most(drawn: tuple[Figure, PairSaliency]) -> None:
    figure, found = drawn
    limit = max(abs(found.first).max(), abs(found.second).max())
    for name, values in (("first", found.first), ("second", found.second)):
        expected = 2 * (int(values.max() > limit / 2) + int(values.min() < -limit / 2))  # white below dark
        assert len(axes_of(figure, name).collections) == len(axes_of(figure, f"{name} map").collections) == expected
    assert any(len(axes.collections) for axes in figure.axes if axes.get_label() != "scale")


def test_where_no_region_matters_it_says_so() -> None:
    black = torch.zeros(1, 28, 28, dtype=torch.uint8)
    figure = draw_saliency(SimilarityModel(), black, black)
    assert "No region changes the similarity." in texts(figure)
    assert not axes_of(figure, "first").collections


def test_pictures_by_path_in_colour_and_of_unequal_size(tmp_path: Path) -> None:
    for name, size in (("a.png", (40, 20)), ("b.png", (24, 31))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    model = SimilarityModel(EmbeddingNet(in_channels=3))
    figure = draw_saliency(model, tmp_path / "a.png", tmp_path / "b.png", method="gradient", title="Two")
    assert axes_of(figure, "second").images[0].get_array().shape == (28, 28, 3)  # type: ignore[union-attr]
    assert title(figure).startswith("Two: similarity ")
    assert not misplaced(figure)


def test_what_does_not_fit_is_said() -> None:
    a, b = pair()
    with pytest.raises(ValueError, match='Expected method to be "occlusion" or "gradient", got \'lime\''):
        draw_saliency(SimilarityModel(), a, b, method="lime")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected one image as second, got 2"):
        draw_saliency(SimilarityModel(), a, torch.stack([a, b]))
    with pytest.raises(TypeError, match="Expected model to be a SimilarityModel, got Linear"):
        draw_saliency(torch.nn.Linear(1, 1), a, b)  # type: ignore[arg-type]
