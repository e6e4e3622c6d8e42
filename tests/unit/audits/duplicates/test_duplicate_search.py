"""Planted duplicates are all found and nothing else, as a brute-force search has them, whatever the order."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_models import small_model

from pairsim import SimilarityModel
from pairsim.audits.duplicates.duplicate_report import DuplicateReport
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.picture_matching import comparison_grid, pixel_correlations, resized
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError
from pairsim.images import Preprocessing, read_image

Pixels = npt.NDArray[np.uint8]


def digits(count: int) -> list[Pixels]:
    """Handwritten digits, 32 x 32, with room for a little more brightness."""
    from sklearn.datasets import load_digits

    small = (load_digits().images[:count] * 12).astype(np.uint8)
    return [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in small]


def textures(count: int, seed: int, size: tuple[int, int] = (40, 40)) -> list[Pixels]:
    coarse = np.random.default_rng(seed).integers(20, 200, (count, 7, 7), dtype=np.uint8)
    return [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in coarse]


def shifted(image: Pixels) -> Pixels:
    return np.pad(image, ((0, 0), (1, 0)), mode="edge")[:, :-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 distinct digits and copies of six of them, each made in another way."""
    place = tmp_path_factory.mktemp("pictures")
    images = digits(120)
    for number, image in enumerate(images):
        Image.fromarray(image).save(place / f"{number:03}.png")
    copies = place / "copies"
    copies.mkdir()
    shutil.copy(place / "000.png", copies / "bytes.png")
    Image.fromarray(images[1]).save(copies / "again.bmp")
    Image.fromarray(images[1]).convert("RGB").save(copies / "colour.png")
    Image.fromarray(images[2]).save(copies / "lossy.jpg", quality=60)
    Image.fromarray((images[3] * 0.8 + 15).astype(np.uint8)).save(copies / "brighter.png")
    Image.fromarray(images[4]).resize((64, 64), Image.Resampling.BICUBIC).save(copies / "double.png")
    Image.fromarray(shifted(images[5])).save(copies / "moved.png")
    Image.fromarray(np.rot90(images[6]).copy()).save(copies / "turned.png")
    return place


PLANTED = {
    ("000.png", "copies/bytes.png", "identical file"),
    ("001.png", "copies/again.bmp", "identical pixels"),
    ("001.png", "copies/colour.png", "identical pixels"),
    ("002.png", "copies/lossy.jpg", "near"),
    ("003.png", "copies/brighter.png", "near"),
    ("copies/double.png", "004.png", "near"),
    ("005.png", "copies/moved.png", "near"),
}


def found(report: DuplicateReport) -> set[tuple[str, str, str]]:
    return {(cluster.keep, member.file, member.kind) for cluster in report.clusters for member in cluster.members}


def test_planted_duplicates_are_found_and_nothing_else(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    report = find_duplicates(folder)
    assert found(report) == PLANTED
    assert (report.num_images, report.num_duplicates, report.skipped) == (128, 7, ())
    assert all(similarity >= 0.99 for _, _, similarity in report.pairs)
    assert {(keep, file) for keep, file, _ in report.pairs} == {(keep, file) for keep, file, _ in PLANTED}
    assert sorted(folder.rglob("*")) == before  # nothing is deleted


def test_threshold_decides_what_is_near(folder: Path) -> None:
    exact = find_duplicates(folder, threshold=1.0)
    assert {pair for pair in PLANTED if pair[2] != "near"} <= found(exact)
    assert not {"copies/lossy.jpg", "004.png"} & {file for _, file, _ in found(exact)}
    assert find_duplicates(folder, threshold=0.9).num_duplicates > 7


def test_files_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    for name in ("000.png", "copies/bytes.png", "001.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "bad.png").write_text("no picture")
    (tmp_path / "worse.jpg").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        find_duplicates(tmp_path)
    report = find_duplicates(tmp_path, on_error="skip")
    assert [one.name for one in report.skipped] == ["bad.png", "worse.jpg"]
    assert all(str(one.name) in one.reason for one in report.skipped)
    assert report.num_images == 3
    assert found(report) == {("000.png", "copies/bytes.png", "identical file")}
    assert str(report).endswith("3 pictures compared: 1 duplicate in 1 cluster; 2 skipped")
    assert "skipped bad.png: Expected " in str(report)
    assert report.to_dict()["skipped"][0]["file"] == "bad.png"


def test_a_file_is_no_duplicate_of_itself(tmp_path: Path) -> None:
    picture = tmp_path / "z.png"
    Image.fromarray(textures(1, 0)[0]).save(picture)
    (tmp_path / "a.png").symlink_to(picture)
    report = find_duplicates(tmp_path)
    assert (report.num_images, report.clusters) == (1, ())
    assert report.to_dict()["left_out"] == [
        {
            "reason": "links to what is there anyway or to a folder above",
            "files": 1,
            "folders": 0,
            "examples": ["a.png"],
        }
    ]
    assert str(report) == "1 picture compared: no duplicates; 1 other file left out"
    report = find_duplicates([str(tmp_path / "a.png"), str(picture), picture, f"{tmp_path}/./z.png"])
    assert (report.num_images, report.clusters) == (1, ())
    shutil.copy(picture, tmp_path / "b.png")
    report = find_duplicates(tmp_path)  # the link is not kept in place of what it leads to
    assert found(report) == {("b.png", "z.png", "identical file")}


def test_no_chains() -> None:
    """Of brightness steps A, B, C along a line of pictures, A is like B and B like C but A not like C."""
    first, last = (image.astype(np.float64) for image in textures(2, 3))
    a, b, c = ((first * (1 - share) + last * share).astype(np.uint8) for share in (0.0, 0.1, 0.2))
    level = 0.98
    assert correlation(a, b) > level
    assert correlation(b, c) > level
    assert correlation(a, c) < level
    report = find_duplicates([a, b, c], threshold=level)
    assert found(report) == {("#0", "#1", "near")}
    report = find_duplicates([c, a, b], threshold=level)
    assert found(report) == {("#0", "#2", "near")}


def test_many_pictures_each_with_a_copy() -> None:
    images = textures(300, 4, (24, 24))
    copies = [(image * 0.7 + 20).astype(np.uint8) for image in images]
    report = find_duplicates([*images, *copies])
    assert found(report) == {(f"#{k}", f"#{300 + k}", "near") for k in range(300)}


def test_colours_count() -> None:
    first, second = (np.stack(textures(3, seed), axis=2) for seed in (5, 6))
    darker = (first * 0.7 + 10).astype(np.uint8)
    others = first[:, :, [1, 2, 0]]  # the same in grey
    assert found(find_duplicates([first, second, darker, others])) == {("#0", "#2", "near")}
    grey = first.mean(axis=2).round().astype(np.uint8)  # has no colours to compare
    assert found(find_duplicates([first, second, grey])) == {("#0", "#2", "near")}


@pytest.mark.parametrize("way", list(Image.Resampling), ids=lambda way: str(way.name))
def test_sharp_drawings_and_doubled_ones(way: Image.Resampling) -> None:
    drawings = [((image > 110) * 255).astype(np.uint8) for image in textures(30, 7, (28, 28))]
    doubled = [np.asarray(Image.fromarray(image).resize((56, 56), way)) for image in drawings]
    report = find_duplicates([*drawings, *doubled])
    assert found(report) == {(f"#{30 + k}", f"#{k}", "near") for k in range(30)}


def test_what_cannot_be_told_apart_by_few_pixels_is_not_near() -> None:
    tiny = [np.arange(35, dtype=np.uint8).reshape(5, 7) * 7, np.arange(35, dtype=np.uint8).reshape(5, 7) * 6]
    plain = [np.full((20, 20), value, np.uint8) for value in (10, 20)]
    assert find_duplicates([*tiny, *plain]).clusters == ()
    assert found(find_duplicates([*tiny, *plain, plain[1].copy(), tiny[0].copy()])) == {
        ("#0", "#5", "identical pixels"),
        ("#3", "#4", "identical pixels"),
    }


def test_nothing_to_compare() -> None:
    report = find_duplicates([])
    assert (report.num_images, report.num_duplicates, report.clusters) == (0, 0, ())
    assert str(report) == "0 pictures compared: no duplicates"
    assert str(find_duplicates(textures(1, 0))) == "1 picture compared: no duplicates"


# --- against brute force ---


def correlation(first: Pixels, second: Pixels) -> float:
    """Of one pair alone, at the size that pictures of these sizes are compared at, in the order of rank."""
    grid = comparison_grid(first.shape[:2], second.shape[:2])
    if grid is None:
        return 0.0
    a, b = (resized(read_image(image)[None], grid) for image in (first, second))
    return float(pixel_correlations(a, b))


def brute_force(images: Sequence[Pixels], level: float) -> dict[int, set[int]]:
    """Each picture that is kept with its duplicates: every pair looked at, by the definition."""
    order = sorted(range(len(images)), key=lambda k: (-images[k].size, k))
    kept: dict[int, set[int]] = {}
    taken: set[int] = set()
    for k in order:
        if k in taken:
            continue
        same = {n for n in order if n not in taken and n != k and np.array_equal(images[n], images[k])}
        near = {
            n
            for n in order
            if n not in taken | same | {k} and n not in kept and correlation(images[k], images[n]) >= level
        }
        kept[k] = same | near
        taken |= same | near
    return {k: members for k, members in kept.items() if members}


def family(seed: int, spread: float, count: int) -> list[Pixels]:
    """Pictures of two sizes about three prototypes, near to and far from each other, with copies."""
    generator = np.random.default_rng(seed)
    prototypes = np.stack(textures(3, seed, (24, 24))).astype(np.float64)
    images = []
    for number in range(count):
        image = prototypes[generator.integers(3)] + generator.normal(0, 1, (24, 24)) * spread * generator.random()
        pixels = image.clip(0, 255).astype(np.uint8)
        if number % 4 == 3:
            pixels = np.asarray(Image.fromarray(pixels).resize((36, 30), Image.Resampling.BICUBIC))
        images.append(pixels)
        if number % 5 == 4:
            images.append(images[int(generator.integers(len(images)))].copy())
    return images


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([5.0, 15.0, 40.0]), st.integers(1, 24))
def test_clusters_are_those_of_brute_force(seed: int, spread: float, count: int) -> None:
    images = family(seed, spread, count)
    report = find_duplicates(images, threshold=0.97)
    clusters = {int(c.keep[1:]): {int(m.file[1:]) for m in c.members} for c in report.clusters}
    assert clusters == brute_force(images, 0.97)
    for cluster in report.clusters:
        for member in cluster.members:
            first, second = (images[int(name[1:])] for name in (cluster.keep, member.file))
            expected = 1.0 if np.array_equal(first, second) else correlation(first, second)
            assert member.similarity == pytest.approx(expected, abs=1e-5)
            assert (member.kind == "near") == (not np.array_equal(first, second))


def test_order_changes_nothing_and_clusters_are_a_partition(tmp_path: Path) -> None:
    paths = []
    for number, image in enumerate(family(1, 15.0, 150)):
        paths.append(tmp_path / f"{number:03}.png")
        Image.fromarray(image).save(paths[-1])
    expected = find_duplicates(paths, threshold=0.97)
    names = [name for c in expected.clusters for name in (c.keep, *(m.file for m in c.members))]
    assert len(names) == len(set(names)) > 100
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(paths))
        report = find_duplicates([paths[k] for k in order], threshold=0.97)
        assert found(report) == found(expected)
        assert [c.keep for c in report.clusters] == [c.keep for c in expected.clusters]


# --- with a model ---


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    return small_model(16, 16)


@pytest.mark.parametrize("level", [0.9, 0.999, 0.99999])
def test_a_models_embeddings_against_brute_force(model: SimilarityModel, level: float) -> None:
    images = family(2, 25.0, 40)
    embeddings = model.encode(images).double()
    cosine = (embeddings @ embeddings.T).clamp(-1, 1).numpy()
    free, expected = set(range(len(images))), {}
    for k in sorted(free, key=lambda k: (-images[k].size, k)):
        if k in free:
            free.discard(k)
            members = {n for n in free if cosine[k, n] >= level or np.array_equal(images[k], images[n])}
            free -= members
            expected[k] = members
    report = find_duplicates(images, model=model, threshold=level)
    clusters = {int(c.keep[1:]): {int(m.file[1:]) for m in c.members} for c in report.clusters}
    assert clusters == {k: members for k, members in expected.items() if members}
    for keep, file, similarity in report.pairs:
        assert similarity == pytest.approx(cosine[int(keep[1:]), int(file[1:])], abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_sees_files_as_encode_reads_them(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    model = small_model(16, 16, channels=channels)
    colour = np.stack(textures(4, 8, (30, 20)), axis=2)
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
    assert cluster.keep == "a.png"
    expected = {name: model.verify(tmp_path / "a.png", tmp_path / name).similarity for name in pictures}
    assert {member.file: member.similarity for member in cluster.members} == pytest.approx(
        {name: value for name, value in expected.items() if name != "a.png"}, abs=1e-5
    )


def test_a_model_still_tells_identical_files(model: SimilarityModel, folder: Path) -> None:
    report = find_duplicates(folder, model=model, threshold=1.0)
    assert {pair for pair in PLANTED if pair[2] != "near"} <= found(report)


def test_a_model_without_pictures_or_sense(model: SimilarityModel) -> None:
    assert find_duplicates([], model=model, threshold=0.9).num_images == 0
    broken = small_model(16, 16)
    with torch.no_grad():
        next(broken.embedding_net.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match=r"found NaN or infinity in embedding_net\.conv\.0\.weight"):
        find_duplicates(textures(3, 0), model=broken, threshold=0.9)


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 0.0}, "Expected threshold to be in (0, 1], a correlation of pixels, got 0.0. Use 0.99."),
        ({"threshold": float("nan")}, "got nan"),
        ({"on_error": "ignore"}, "Expected on_error to be 'raise' or 'skip', got 'ignore'."),
    ],
)
def test_refused_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="Expected") as error:
        find_duplicates([], **options)
    assert said in str(error.value)


def test_a_model_needs_a_threshold(model: SimilarityModel) -> None:
    with pytest.raises(ValueError, match=r"the model's own separates classes, not duplicates\. Begin with"):
        find_duplicates([], model=model)
    with pytest.raises(ValueError, match=r"Expected threshold to be a cosine in \[-1, 1\], got 1\.5"):
        find_duplicates([], model=model, threshold=1.5)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        find_duplicates(tmp_path / "absent")
    with pytest.raises(DataError, match="found none"):
        find_duplicates(tmp_path)


def test_pictures_are_read_with_the_white_of_the_model(tmp_path: Path) -> None:
    first, second = digits(2)
    for name, image in (("a.png", first), ("b.png", first.astype(np.uint16) << 4), ("c.png", second)):
        Image.fromarray(image).save(tmp_path / name)
    model = SimilarityModel(preprocessing=Preprocessing(image_size=(28, 28), channels=1, white=4095))
    (cluster,) = find_duplicates(tmp_path, model=model, threshold=1.0).clusters
    assert [(cluster.keep, one.file, one.kind) for one in cluster.members] == [("a.png", "b.png", "identical pixels")]
