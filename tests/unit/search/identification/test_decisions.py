from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.nn import functional

from pairsim import Gallery, GalleryCalibration, Identification
from pairsim.search import PredictedFpir

MODEL = small_model(dim=8)


def unit(count: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def enrolled() -> Gallery:
    gallery = Gallery(MODEL)
    gallery.add_embeddings(unit(6, 1), [f"{name}{k}" for name in "abc" for k in range(2)], identities=list("aabbcc"))
    return gallery


def calibration(threshold: float = 0.5) -> GalleryCalibration:
    return GalleryCalibration(
        threshold=threshold,
        target_fpir=0.1,
        num_identities=3,
        predictions=(PredictedFpir(3, 0.08, 0.05, 0.12), PredictedFpir(6, 0.16, 0.1, 0.3)),
        num_searches=40,
        num_unknown=20,
        source="others",
        prior=0.5,
        weight=10.0,
        bias=-5.0,
    )


def test_the_most_similar_identity_or_none_of_these() -> None:
    gallery, queries = enrolled(), unit(50, 2)
    rows = gallery.embeddings.astype(np.float64)
    means = rows.reshape(3, 2, 8).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarities = queries.double().numpy() @ means.T
    found = gallery.identify_embeddings(queries, threshold=0.3)
    assert {one.id for one in found} == {"a", "b", "c", None}
    for one, row in zip(found, similarities, strict=True):
        assert one.nearest == "abc"[int(row.argmax())]
        assert one.similarity == pytest.approx(row.max(), abs=1e-6)
        assert one.id == (one.nearest if row.max() >= 0.3 else None)
        assert one.fpir is None


def test_images_are_embedded() -> None:
    gallery = Gallery(MODEL)
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gallery.add(images, ["x", "y", "z", "w"])
    assert [one.id for one in gallery.identify(images, threshold=0.999)] == ["x", "y", "z", "w"]
    assert gallery.identify(images[:0], threshold=0.5) == []


def test_the_rate_of_the_calibration() -> None:
    gallery = enrolled()
    gallery.calibration = calibration()
    (one,) = gallery.identify_embeddings(unit(1, 3))
    assert one.fpir == 0.08
    assert one.probability == pytest.approx(1 / (1 + np.exp(5 - 10 * one.similarity)), rel=1e-5)
    (other,) = gallery.identify_embeddings(unit(1, 3), threshold=0.6)
    assert (other.fpir, other.probability) == (None, one.probability)  # not measured at that threshold
    gallery.add_embeddings(unit(3, 4), ["d", "e", "f"])
    (grown,) = gallery.identify_embeddings(unit(1, 3))
    assert grown.fpir == 0.16
    gallery.add_embeddings(unit(1, 5), ["g"])
    assert gallery.identify_embeddings(unit(1, 3))[0].fpir is None  # larger than what was predicted


def test_the_rate_does_not_outlive_its_identities() -> None:
    gallery = enrolled()
    gallery.calibration = dataclasses.replace(calibration(), num_images=6, num_left=3)
    gallery.remove(["a0", "a1"])
    assert gallery.identify_embeddings(unit(1, 3))[0].fpir == 0.08  # fewer find no more
    gallery.add_embeddings(unit(1, 4), ["d"])
    (one,) = gallery.identify_embeddings(unit(1, 3))
    assert one.fpir is None
    assert 0 < one.probability < 1


def test_a_threshold_is_needed_and_checked() -> None:
    gallery = Gallery(MODEL)
    with pytest.raises(ValueError, match="gallery with images, found it empty"):
        gallery.identify_embeddings(unit(1, 0), threshold=0.5)
    gallery = enrolled()
    with pytest.raises(ValueError, match=r"a threshold or a gallery with a calibration, got neither\. Choose"):
        gallery.identify_embeddings(unit(1, 0))
    with pytest.raises(ValueError, match=r"threshold to be a similarity .*got 1\.5"):
        gallery.identify_embeddings(unit(1, 0), threshold=1.5)
    with pytest.raises(ValueError, match=r"of the gallery's size, \[Q, 8\], got \[1, 3\]"):
        gallery.identify_embeddings(torch.eye(3)[:1], threshold=0.5)


def test_changes_count_at_once() -> None:
    gallery, queries = enrolled(), unit(30, 7)
    gallery.identify_embeddings(queries, threshold=0.5)
    gallery.add_embeddings(unit(1, 8), ["c2"], identities="c")
    gallery.remove(["a0"])
    gallery._put(unit(1, 9), ["b1"], ["a"])
    fresh = Gallery(MODEL)
    fresh.add_embeddings(gallery.embeddings, gallery.ids, identities=gallery.identities)
    assert gallery.identities == ["a", "b", "a", "c", "c", "c"]
    assert gallery.identify_embeddings(queries, threshold=0.5) == fresh.identify_embeddings(queries, threshold=0.5)
    assert gallery.images_of("a") == ["a1", "b1"]
    gallery.remove(gallery.images_of("a"))
    assert "a" not in {one.nearest for one in gallery.identify_embeddings(queries, threshold=0.5)}


def test_text() -> None:
    assert str(Identification("ann", 0.8, 0.9, 0.01, "ann")) == (
        "ann: similarity 0.8000, probability 0.9000; 1.00% of unknown ones are assigned an identity"
    )
    assert str(Identification(None, 0.1, 0.2, None, "ann")).startswith("none of these (nearest: ann): similarity")
