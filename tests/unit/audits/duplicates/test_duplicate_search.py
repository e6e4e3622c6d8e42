"""Planted copies are all found and named, and nothing else, whatever the order."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import Pixels, photograph, smooth_photograph
from PIL import Image
from small_models import small_model

from pairsim.audits.duplicates import duplicate_search
from pairsim.audits.duplicates.duplicate_report import DuplicateReport
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.duplicates.matching.registered_search import related
from pairsim.audits.duplicates.rates.edits import EDITS
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError


def small(seed: int, height: int = 90, width: int = 120) -> Pixels:
    return photograph(seed, height, width)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 distinct pictures and copies of nine of them, each made in another way."""
    place = tmp_path_factory.mktemp("pictures")
    images = [small(seed) for seed in range(40)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(place / f"{number:03}.png")
    copies = place / "copies"
    copies.mkdir()
    shutil.copy(place / "000.png", copies / "bytes.png")
    Image.fromarray(images[1]).save(copies / "again.bmp")
    Image.fromarray(images[1]).save(copies / "again.tif")
    Image.fromarray(images[2]).save(copies / "lossy.jpg", quality=80)
    Image.fromarray((images[3] * 0.6).astype(np.uint8)).save(copies / "darker.png")
    Image.fromarray(images[4]).resize((60, 45), Image.Resampling.LANCZOS).save(copies / "half.png")
    Image.fromarray(images[5][:, ::-1].copy()).save(copies / "mirrored.png")
    Image.fromarray(np.rot90(images[6], -1).copy()).save(copies / "turned.png")
    Image.fromarray(images[7][9:, 12:]).save(copies / "part.png")
    Image.fromarray(images[8]).convert("L").save(copies / "grey.png")
    return place


PLANTED = {
    ("000.png", "copies/bytes.png", "identical file"),
    ("001.png", "copies/again.bmp", "identical pixels"),
    ("001.png", "copies/again.tif", "identical pixels"),
    ("002.png", "copies/lossy.jpg", "re-encoded"),
    ("003.png", "copies/darker.png", "brightness or contrast changed"),
    ("004.png", "copies/half.png", "resized to 50 %"),
    ("005.png", "copies/mirrored.png", "mirrored"),
    ("006.png", "copies/turned.png", "turned 90 degrees"),
    ("007.png", "copies/part.png", "cropped to 81 %"),
    ("008.png", "copies/grey.png", "grey"),
}
EXACT = {pair for pair in PLANTED if pair[2].startswith("identical")}


def found(report: DuplicateReport) -> set[tuple[str, str, str]]:
    return {(cluster.keep, member.file, member.kind) for cluster in report.clusters for member in cluster.members}


def groups(report: DuplicateReport) -> set[frozenset[str]]:
    return {frozenset((cluster.keep, *(member.file for member in cluster.members))) for cluster in report.clusters}


def test_planted_copies_are_found_and_nothing_else(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    report = find_duplicates(folder)
    assert found(report) == PLANTED
    assert (report.num_images, report.num_duplicates, report.skipped) == (50, 10, ())
    assert all(similarity >= 0.8 for _, _, similarity in report.pairs)
    assert all(cluster.reason for cluster in report.clusters)
    assert sorted(folder.rglob("*")) == before  # nothing is deleted


def test_thresholds_decide_what_is_a_copy(folder: Path) -> None:
    exact, usual, low = (find_duplicates(folder, threshold=level) for level in (1.0, 0.8, 0.1))
    assert found(exact) == EXACT
    similar = {file for cluster in exact.similar for file in (cluster.keep, *(one.file for one in cluster.members))}
    assert {"002.png", "copies/lossy.jpg"} <= similar  # they are not lost
    for high, less in ((exact, usual), (usual, low)):
        assert all(any(group <= other for other in groups(less)) for group in groups(high))


@pytest.mark.parametrize("name", ["brighter x1.4", "logo added", "rotated 2 degrees"])
def test_edits_of_smooth_pictures_are_found(name: str) -> None:
    pictures = [smooth_photograph(seed) for seed in range(2, 8)]
    pixels = torch.from_numpy(pictures[0]).permute(2, 0, 1).contiguous()
    edited = next(edit for edit in EDITS if edit.name == name).apply(pixels).pixels
    report = find_duplicates([*pictures, edited.permute(1, 2, 0).numpy()])
    assert groups(report) == {frozenset(("#0", "#6"))}


def test_copies_of_one_picture_are_one_cluster() -> None:
    """Though an edit with a logo and a crop, or one that is brighter, are less like each other than the threshold."""
    pixels = torch.from_numpy(photograph(3)).permute(2, 0, 1).contiguous()
    images = [photograph(3), photograph(4), *(edit.apply(pixels).pixels.permute(1, 2, 0).numpy() for edit in EDITS)]
    (cluster,) = find_duplicates(images).clusters
    assert len(cluster.members) == len(EDITS)
    assert all(member.similarity >= 0.8 for member in cluster.members)


def test_one_thread_of_pytorch_is_used_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return related(*arguments)

    monkeypatch.setattr(duplicate_search, "related", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        find_duplicates([small(0), small(1)])
        assert (seen, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(ImageReadError):
            find_duplicates([tmp_path / "gone.png"])
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


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
    Image.fromarray(small(0)).save(picture)
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


def test_nothing_to_compare() -> None:
    report = find_duplicates([])
    assert (report.num_images, report.num_duplicates, report.clusters) == (0, 0, ())
    assert str(report) == "0 pictures compared: no duplicates"
    assert str(find_duplicates([small(0)])) == "1 picture compared: no duplicates"


def mixed(first: Pixels, second: Pixels, share: float) -> Pixels:
    return (first * (1.0 - share) + second * share).astype(np.uint8)


def test_no_chains() -> None:
    """Of steps A, B, C from one picture to another, A is like B and B like C, but A is not like C."""
    first, second = small(0), small(1)
    a, b, c = (mixed(first, second, share) for share in (0.1, 0.35, 0.6))
    found_at: dict[float, set[str]] = {}
    for level in (0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1):
        for order in ("abc", "cab"):
            report = find_duplicates([{"a": a, "b": b, "c": c}[one] for one in order], threshold=level)
            named = {"".join(sorted(order[int(name[1:])] for name in group)) for group in groups(report)}
            assert found_at.setdefault(level, named) == named
    assert found_at[0.99] == set()
    assert {"ac"} not in found_at.values()
    assert {"ab"} in found_at.values() or {"bc"} in found_at.values()


@pytest.mark.slow
def test_many_pictures_each_with_a_copy() -> None:
    images = [small(seed, 48, 64) for seed in range(150)]
    copies = [(image * 0.7 + 20).astype(np.uint8) for image in images]
    report = find_duplicates([*images, *copies])
    assert groups(report) == {frozenset((f"#{k}", f"#{150 + k}")) for k in range(150)}


@pytest.mark.slow
def test_thousands_of_equal_pictures_are_one_cluster() -> None:
    report = find_duplicates([small(0, 20, 20)] * 2000 + [small(1, 20, 20)] * 2)
    assert sorted(len(cluster.members) for cluster in report.clusters) == [1, 1999]
    assert all(kind == "identical pixels" for _, _, kind in found(report))


def test_copies_of_several_kinds_are_one_cluster() -> None:
    picture = small(2)
    copies = [picture, picture[:, ::-1], picture[6:, 6:], (picture * 0.7).astype(np.uint8), np.rot90(picture)]
    report = find_duplicates([*copies, small(3)])
    (cluster,) = report.clusters
    assert cluster.keep == "#0"
    assert len(cluster.members) == 4


def test_a_grey_copy_is_a_member_and_the_one_in_colour_is_kept() -> None:
    picture = small(4)
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    assert found(find_duplicates([grey, picture])) == {("#1", "#0", "grey")}


def test_what_cannot_be_told_apart_by_few_pixels_is_no_copy() -> None:
    tiny = [np.arange(35, dtype=np.uint8).reshape(5, 7) * 7, np.arange(35, dtype=np.uint8).reshape(5, 7) * 6]
    plain = [np.full((20, 20), value, np.uint8) for value in (10, 20, 200)]
    lines = [np.full((1, 1), 3, np.uint8), np.arange(40, dtype=np.uint8)[None], np.full((2, 2), 9, np.uint8)]
    everything = [*tiny, *plain, *lines]
    assert find_duplicates(everything).clusters == ()
    for one in everything:
        assert find_duplicates([one]).clusters == ()
    assert found(find_duplicates([*everything, plain[1].copy(), tiny[0].copy()])) == {
        ("#0", "#9", "identical pixels"),
        ("#3", "#8", "identical pixels"),
    }


def test_other_views_are_similar_and_no_duplicates() -> None:
    picture = photograph(5, 240, 320)
    image = Image.fromarray(picture)
    skewed = image.transform(image.size, Image.Transform.AFFINE, (1, 0.12, -14, 0, 1, 0), Image.Resampling.BICUBIC)
    report = find_duplicates([picture[20:-20, 30:-30], np.asarray(skewed)[20:-20, 30:-30]])
    assert report.clusters == ()
    (similar,) = report.similar
    assert {similar.keep, similar.members[0].file} == {"#0", "#1"}
    assert similar.members[0].kind == "similar"


# --- against a second folder ---


def test_what_both_folders_leave_out_is_told(tmp_path: Path) -> None:
    for name in ("new", "kept"):
        (tmp_path / name).mkdir()
        Image.fromarray(small(0)).save(tmp_path / name / f"{name}.png")
        (tmp_path / name / "notes.txt").write_text("x")
    report = find_duplicates(tmp_path / "new", against=tmp_path / "kept")
    assert report.num_duplicates == 1
    assert sum(one.files for one in report.left_out) == 2
    assert "2 other files left out" in str(report)


def test_pictures_of_the_folder_compared_against_are_kept(folder: Path, tmp_path: Path) -> None:
    new, kept = tmp_path / "new", tmp_path / "kept"
    new.mkdir()
    kept.mkdir()
    shutil.copy(folder / "000.png", new / "large.png")
    shutil.copy(folder / "copies" / "lossy.jpg", kept / "lossy.jpg")
    shutil.copy(folder / "002.png", new / "lossless.png")
    shutil.copy(folder / "copies" / "part.png", kept / "part.png")
    shutil.copy(folder / "007.png", new / "whole.png")
    for copy in ("a.png", "b.png"):  # twice in the first folder, and not in the second
        shutil.copy(folder / "009.png", new / copy)
    report = find_duplicates(new, against=kept)
    assert {(keep, file) for keep, file, _ in found(report)} == {
        (str(kept / "lossy.jpg"), "lossless.png"),
        (str(kept / "part.png"), "whole.png"),
    }
    assert {cluster.reason for cluster in report.clusters} == {"the only one in the folder compared against"}
    assert report.num_images == 7
    assert report.similar == ()


# --- the order ---


def variants(seed: int, count: int) -> list[Pixels]:
    """Pictures of four sources, most of them edited."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = small(int(generator.integers(4)), 48, 64)
        match int(generator.integers(5)):
            case 0:
                image = image[:, ::-1].copy()
            case 1:
                image = (image * generator.uniform(0.6, 1.0)).astype(np.uint8)
            case 2:
                image = image[int(generator.integers(8)) :, int(generator.integers(8)) :].copy()
            case 3:
                image = (image + generator.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
        images.append(image)
    return images


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.integers(2, 14), st.sampled_from([0.5, 0.8, 0.95]))
def test_pairs_are_similar_and_lower_thresholds_lose_none(seed: int, count: int, level: float) -> None:
    images = variants(seed, count)
    report, lower = (find_duplicates(images, threshold=one) for one in (level, level - 0.2))
    names = [name for group in groups(report) for name in group]
    assert len(names) == len(set(names))
    assert all(any(group <= other for other in groups(lower)) for group in groups(report))
    for keep, file, similarity in report.pairs:
        assert level <= similarity <= 1.0
        if np.array_equal(images[int(keep[1:])], images[int(file[1:])]):
            assert (keep, file, "identical pixels") in found(report)


def test_the_order_changes_nothing(tmp_path: Path) -> None:
    paths = []
    for number, image in enumerate(variants(1, 40)):
        paths.append(tmp_path / f"{number:03}.png")
        Image.fromarray(image).save(paths[-1])
    expected = find_duplicates(paths)
    assert sum(map(len, groups(expected))) > 30
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(paths))
        report = find_duplicates([paths[k] for k in order])
        assert found(report) == found(expected)
        assert [c.keep for c in report.clusters] == [c.keep for c in expected.clusters]


# --- refusals ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": 0.0}, "Expected threshold to be in (0, 1], got 0.0. Use 0.8."),
        ({"threshold": float("nan")}, "got nan"),
        ({"on_error": "ignore"}, "Expected on_error to be 'raise' or 'skip', got 'ignore'."),
    ],
)
def test_refused_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="Expected") as error:
        find_duplicates([], **options)
    assert said in str(error.value)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        find_duplicates(tmp_path / "absent")
    with pytest.raises(DataError, match="found none"):
        find_duplicates(tmp_path)


def test_a_model_still_tells_identical_files(folder: Path) -> None:
    report = find_duplicates(folder, model=small_model(16, 16), threshold=1.0)
    assert found(report) >= EXACT
