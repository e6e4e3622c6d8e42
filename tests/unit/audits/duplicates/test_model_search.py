"""Duplicates by a model's embeddings, among pictures and in a gallery, against all cosines in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph
from PIL import Image
from small_models import small_model

from pairsim import Gallery, SimilarityModel
from pairsim.audits.duplicates.duplicate_report import DuplicateReport
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing


def small(seed: int, height: int = 90, width: int = 120) -> Pixels:
    return photograph(seed, height, width)


def found(report: DuplicateReport) -> set[tuple[str, str, str]]:
    return {(cluster.keep, member.file, member.kind) for cluster in report.clusters for member in cluster.members}


def groups(report: DuplicateReport) -> set[frozenset[str]]:
    return {frozenset((cluster.keep, *(member.file for member in cluster.members))) for cluster in report.clusters}


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    return small_model(16, 16)


def family(count: int) -> list[Pixels]:
    """Pictures about three prototypes, near to and far from each other, with equal ones."""
    generator = np.random.default_rng(2)
    images: list[Pixels] = []
    for number in range(count):
        image = small(int(generator.integers(3)), 24, 24) + generator.normal(0, 25, (24, 24, 3)) * generator.random()
        images.append(image.clip(0, 255).astype(np.uint8))
        if number % 5 == 4:
            images.append(images[int(generator.integers(len(images)))].copy())
    return images


@pytest.mark.parametrize("level", [0.9, 0.99, 0.999])
def test_a_models_clusters_have_similar_pairs_and_none_can_be_joined(model: SimilarityModel, level: float) -> None:
    images = family(30)
    embeddings = model.encode(images).double()
    cosine = (embeddings @ embeddings.T).clamp(-1, 1).numpy()
    report = find_duplicates(images, model=model, threshold=level)
    clusters = [[int(name[1:]) for name in group] for group in groups(report)]
    assert clusters
    assert all(cosine[np.ix_(one, one)].min() >= level - 1e-6 for one in clusters)
    everything = clusters + [[k] for k in range(len(images)) if not any(k in one for one in clusters)]
    for row, one in enumerate(everything):
        assert all(cosine[np.ix_(one, other)].min() < level + 1e-6 for other in everything[:row])
    for keep, file, similarity in report.pairs:
        assert similarity == pytest.approx(cosine[int(keep[1:]), int(file[1:])], abs=1e-5)
    kinds = {kind for _, _, kind in found(report)}
    assert kinds <= {"near", "identical pixels"}
    assert report.similar == ()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_sees_files_as_encode_reads_them(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    model = small_model(16, 16, channels=channels)
    colour = np.concatenate([small(8, 20, 30), small(9, 20, 30)[:, :, :1]], axis=2)
    pictures = {
        "a.png": Image.fromarray(colour[:, :, :3]),
        "b.png": Image.fromarray(colour),  # with transparency
        "c.png": Image.fromarray(colour[:, :, 0]),
        "d.png": Image.fromarray(colour[:, :, 0].astype(np.uint16) * 256),
        "e.jpg": Image.fromarray(colour[:, :, 1:]),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    report = find_duplicates(tmp_path, model=model, threshold=-1.0)
    (cluster,) = report.clusters
    assert cluster.keep == "b.png"  # of most bits
    expected = {name: model.verify(tmp_path / "b.png", tmp_path / name).similarity for name in pictures}
    assert {member.file: member.similarity for member in cluster.members} == pytest.approx(
        {name: value for name, value in expected.items() if name != "b.png"}, abs=1e-5
    )


def test_a_model_without_pictures_or_sense(model: SimilarityModel) -> None:
    assert find_duplicates([], model=model, threshold=0.9).num_images == 0
    broken = small_model(16, 16)
    with torch.no_grad():
        next(broken.embedding_net.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"found NaN or infinity in embedding_net\.conv\.0\.weight"):
        find_duplicates([small(0), small(1)], model=broken, threshold=0.9)


def test_a_model_needs_a_threshold(model: SimilarityModel) -> None:
    with pytest.raises(ValueError, match=r"the model's own separates classes, not duplicates\. Begin with"):
        find_duplicates([], model=model)
    with pytest.raises(ValueError, match=r"Expected threshold to be a cosine in \[-1, 1\], got 1\.5"):
        find_duplicates([], model=model, threshold=1.5)


def test_pictures_are_read_with_the_white_of_the_model(tmp_path: Path) -> None:
    first, second = (small(seed)[:, :, 0] for seed in (0, 1))
    for name, image in (("a.png", first), ("b.png", first.astype(np.uint16) << 4), ("c.png", second)):
        Image.fromarray(image).save(tmp_path / name)
    model = SimilarityModel(preprocessing=Preprocessing(image_size=(28, 28), channels=1, white=4095))
    (cluster,) = find_duplicates(tmp_path, model=model, threshold=1.0).clusters
    assert [(cluster.keep, one.file, one.kind) for one in cluster.members] == [("b.png", "a.png", "identical pixels")]


# --- against a gallery ---


@pytest.mark.parametrize("level", [0.0, 0.99, 0.9999])
def test_each_picture_is_listed_with_the_nearest_of_a_gallery(model: SimilarityModel, level: float) -> None:
    images = family(40)
    kept, new = images[:25], [*images[25:], images[3].copy()]
    gallery = Gallery(model)
    gallery.add(kept, [f"kept-{k}" for k in range(25)])
    report = find_duplicates(new, against=gallery, threshold=level)
    cosine = (model.encode(new).double() @ model.encode(kept).double().T).numpy()
    expected = {k: row for k, row in enumerate(cosine) if row.max() >= level}
    assert expected
    listed = {member.file: (one.keep, member) for one in report.clusters for member in one.members}
    assert set(listed) == {f"#{k}" for k in expected}
    for k, row in expected.items():
        keep, member = listed[f"#{k}"]
        assert row[int(keep.removeprefix("kept-"))] == pytest.approx(row.max(), abs=1e-6)
        assert member.similarity == pytest.approx(row.max(), abs=1e-5)
        assert (member.kind, member.facts is not None and member.facts.width) == ("near", 24)
    assert listed[f"#{len(new) - 1}"][0] == "kept-3"
    assert [one.keep for one in report.clusters] == sorted(one.keep for one in report.clusters)
    assert all(one.reason == "in the gallery" for one in report.clusters)
    assert (report.num_images, report.threshold, report.similar) == (25 + len(new), level, ())
    for one in report.clusters:
        order = [(-member.similarity, member.file) for member in one.members]
        assert order == sorted(order)


def test_a_similarity_at_the_threshold_is_a_match(model: SimilarityModel) -> None:
    gallery = Gallery(model)
    gallery.add([small(0)], ["a"])
    (one,) = find_duplicates([small(1)], against=gallery, threshold=-1.0).clusters
    at = one.members[0].similarity
    assert find_duplicates([small(1)], against=gallery, threshold=at).num_duplicates == 1
    assert find_duplicates([small(1)], against=gallery, threshold=at + 1e-5).num_duplicates == 0


def test_a_folder_against_a_gallery_with_a_damaged_picture(model: SimilarityModel, tmp_path: Path) -> None:
    for seed in (0, 1):
        Image.fromarray(small(seed)).save(tmp_path / f"{seed}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:400])
    (tmp_path / "notes.txt").write_text("x")
    gallery = Gallery(model)
    gallery.add([small(1)], [7])
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        find_duplicates(tmp_path, against=gallery, threshold=0.999999)
    report = find_duplicates(tmp_path, against=gallery, threshold=0.999999, on_error="skip")
    assert found(report) == {("7", "1.png", "near")}
    assert [one.name for one in report.skipped] == ["broken.png"]
    assert sum(one.files for one in report.left_out) == 1
    assert str(report).startswith("7 (keep; in the gallery)\n  1.png  near, similarity 1.0000\n\nskipped broken.png")


def test_refused_galleries(model: SimilarityModel, tmp_path: Path) -> None:
    gallery = Gallery(model)
    gallery.add([small(0)], ["a"])
    gallery.save(tmp_path / "saved")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"against": Gallery(model), "threshold": 0.9}, "Expected a gallery with images, found it empty."),
        ({"against": gallery, "threshold": 0.9, "model": model}, "Expected no model with a gallery"),
        ({"against": gallery}, "Expected a threshold with a model"),
        ({"against": gallery, "threshold": 1.5}, "Expected threshold to be a cosine in [-1, 1], got 1.5."),
        ({"against": gallery, "target_false_rate": 1e-6}, "Expected target_false_rate without threshold and model"),
        ({"against": gallery, "threshold": 0.9, "index": tmp_path / "i"}, "Expected index without model"),
        ({"against": tmp_path / "saved", "threshold": 0.9}, "Expected a loaded gallery, got its folder"),
    ]
    for options, said in refused:
        with pytest.raises(ValueError, match="Expected") as error:
            find_duplicates([small(0)], **options)
        assert said in str(error.value)
    assert find_duplicates([], against=gallery, threshold=0.9).num_images == 1
    assert not (tmp_path / "i").exists()
