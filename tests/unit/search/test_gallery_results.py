from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Gallery
from pairsim.search.gallery_results import SearchResult, class_votes

torch.manual_seed(0)  # the same weights in every process
MODEL = small_model(dim=6)


def unit(count: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_votes_are_those_of_weighted_neighbours(k: int) -> None:
    stored, queries = unit(80, 0), unit(40, 1)
    labels = np.random.default_rng(0).integers(0, 5, 80)
    gallery = Gallery(MODEL)
    gallery.add_embeddings(stored, [f"image {number}" for number in range(80)])
    found = gallery.predict_embeddings(queries, labels, k)

    def weights(distances: Any) -> Any:
        return MODEL.probability(torch.tensor(1.0 - distances)).double().numpy()

    other = KNeighborsClassifier(k, metric="cosine", weights=weights).fit(stored.numpy(), labels)
    shares = other.predict_proba(queries.numpy())
    assert len(found) == 40
    assert found.labels == other.classes_[shares.argmax(1)].tolist()
    np.testing.assert_allclose(found.scores.numpy(), shares.max(1), rtol=1e-5)
    by_id = dict(zip(gallery.ids, labels.tolist(), strict=True))
    assert gallery.predict_embeddings(queries, by_id, k).labels == found.labels
    assert gallery.predict_embeddings(queries, torch.from_numpy(labels), k).labels == found.labels


def test_by_images() -> None:
    images = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    gallery = Gallery(MODEL)
    gallery.add(images, list("abcde"))
    found = gallery.predict(images[[3, 0]], {"a": "x", "b": "y", "c": "y", "d": "z", "e": "y"}, k=1)
    assert found.labels == ["z", "x"]
    assert found.scores.tolist() == [1.0, 1.0]
    assert found.neighbours.ids == [["d"], ["a"]]
    none = gallery.predict(images[:0], list("vwxyz"))
    assert (none.labels, none.scores.shape) == ([], (0,))


@pytest.mark.parametrize(
    ("probabilities", "winner", "score"),
    [
        ([0.5, 0.5, 0.5, 0.5], "x", 0.5),  # a tie goes to the nearer
        ([0.6, 0.5, 0.4, 0.2], "y", 0.9 / 1.7),
        ([0.0, 0.0, 0.0, 0.0], "x", 0.5),
        ([0.9, 0.4, 0.3, 0.0], "x", 0.9 / 1.6),
    ],
)
def test_who_wins(probabilities: list[float], winner: str, score: float) -> None:
    found = SearchResult([["a", "b", "c", "d"]], torch.ones(1, 4), torch.tensor([probabilities]))
    prediction = class_votes(found, {"a": "x", "b": "y", "c": "y", "d": "x"})
    assert prediction.labels == [winner]
    assert prediction.scores.item() == pytest.approx(score, rel=1e-6)


def test_labels_that_are_missing() -> None:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(unit(3, 0), ["a", "b", "c"])
    with pytest.raises(ValueError, match=r"Expected a label for every image of the gallery, found none for 'b'\. Add"):
        gallery.predict_embeddings(unit(1, 1), {"a": 1, "c": 2}, k=3)
    with pytest.raises(ValueError, match=r"one label for each of the gallery's 3 images, got 2\. Give them"):
        gallery.predict_embeddings(unit(1, 1), [1, 2])
