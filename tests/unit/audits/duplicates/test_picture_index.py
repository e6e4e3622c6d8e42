"""The index gives back what was added, notices changed files, and is never mistaken for something else."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image

from pairsim import SimilarityModel
from pairsim.audits.duplicates import duplicate_search, picture_index
from pairsim.audits.duplicates.duplicate_search import find_duplicates
from pairsim.audits.duplicates.indexing import read_rows
from pairsim.audits.duplicates.listed_pictures import Listed, listed
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.registered_search import described, separated
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.audits.duplicates.picture_index import PictureIndex, packed
from pairsim.errors import ImageReadError, RunError
from pairsim.images import read_image
from pairsim.images.folders import scan


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files that were just written."""
    monkeypatch.setattr(picture_index, "_SETTLED_SECONDS", -1.0)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of pictures that a search reads, as it goes on."""
    names: list[str] = []

    def counting(pictures: Sequence[Listed], *arguments: Any, **options: Any) -> Any:
        names.extend(one.name for one in pictures)
        return read_rows(pictures, *arguments, **options)

    monkeypatch.setattr(duplicate_search, "read_rows", counting)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    (place / "more").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "more/c.png")):
        Image.fromarray(photograph(seed, 90, 60 + 40 * seed)).save(place / name)
    return place


def added(index: PictureIndex, folder: Path) -> tuple[list[Listed], list[Fingerprint], list[Features]]:
    """Add all pictures of a folder."""
    pictures = listed(scan(folder))
    assert index.find(pictures) == {}
    prints = [replace(fingerprint(read_image(one.picture)), frames=k + 1) for k, one in enumerate(pictures)]
    features = separated(described(prints))
    for one, found, own in zip(pictures, prints, features, strict=True):
        index.add(one, packed(found, own))
    return pictures, prints, features


def expect_same(index: PictureIndex, pictures: list[Listed], prints: list[Fingerprint], parts: list[Features]) -> None:
    entries = index.find(pictures)
    assert sorted(entries) == [one.index for one in pictures]
    rows = [entries[one.index].row for one in pictures]
    for one, expected in zip(pictures, prints, strict=True):
        assert (entries[one.index].digest, entries[one.index].size) == (expected.digest, expected.size)
        found = index.fingerprint(entries[one.index].row)
        assert (found.digest, found.size, found.content) == (expected.digest, expected.size, expected.content)
        assert (found.detail, found.noise, found.frames) == (expected.detail, expected.noise, expected.frames)
        assert np.array_equal(found.grey, expected.grey)
        assert np.array_equal(found.chroma, expected.chroma)
    order = [2, 0]
    whole = frames([one.grey for one in prints])
    chosen = index.frames(rows)[torch.tensor(order)]
    assert torch.equal(chosen.pixels, whole.pixels[order])
    assert torch.equal(chosen.sizes, whole.sizes[order])
    features = index.features(rows)
    assert torch.equal(features.picture, torch.cat([torch.full((len(one),), k) for k, one in enumerate(parts)]))
    assert torch.equal(features.place, torch.cat([one.place for one in parts]))
    assert torch.equal(features.description, torch.cat([one.description for one in parts]))


@pytest.mark.parametrize("name", [None, "new/index.sqlite"])
def test_what_was_added_is_given_back(name: str | None, folder: Path, tmp_path: Path) -> None:
    path = None if name is None else tmp_path / name
    with PictureIndex(path) as index:
        content = added(index, folder)
        expect_same(index, *content)
    if path is not None:
        with PictureIndex(path) as index:
            expect_same(index, *content)
        assert [one.name for one in path.parent.iterdir()] == [path.name]  # no journal stays


def test_changed_files_are_not_known(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "index"
    with PictureIndex(path) as index:
        pictures, _, _ = added(index, folder)
    state = (folder / "a.png").stat()
    content = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(content[:-1] + b"?")  # of the same size, and the time of before
    os.utime(folder / "a.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    (folder / "b.png").unlink()
    with PictureIndex(path) as index:
        assert sorted(index.find(pictures)) == [pictures[2].index]


def test_files_that_were_just_written_are_not_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_index, "_SETTLED_SECONDS", 3600.0)
    with PictureIndex(tmp_path / "index") as index:
        pictures, _, _ = added(index, folder)
        assert index.find(pictures) == {}


def test_a_picture_has_one_row(folder: Path, tmp_path: Path) -> None:
    with PictureIndex(tmp_path / "index") as index:
        (one, *_), (found, *_), (own, *_) = added(index, folder)
        index.add(one, packed(found, own))
    with sqlite3.connect(tmp_path / "index") as rows:
        assert rows.execute("SELECT count(*) FROM pictures").fetchone() == (3,)
    rows.close()


def test_pictures_that_are_gone_are_removed_below_the_folder_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures-2").mkdir()
    Image.fromarray(photograph(5, 90, 60)).save(tmp_path / "pictures-2" / "d.png")
    with PictureIndex(tmp_path / "index") as index:
        pictures, _, _ = added(index, folder)
        others, _, _ = added(index, tmp_path / "pictures-2")
        index.remove_others(folder / "more", [])
        assert sorted(index.find(pictures)) == [pictures[0].index, pictures[1].index]
        index.remove_others(folder, [pictures[0]])
        assert sorted(index.find(pictures)) == [pictures[0].index]
        assert len(index.find(others)) == 1


def test_pictures_in_memory_are_not_kept(tmp_path: Path) -> None:
    pixels = photograph(0, 90, 60)
    (one,) = listed([pixels])
    found = fingerprint(read_image(pixels))
    (own,) = separated(described([found]))
    with PictureIndex(tmp_path / "index") as index:
        first, second = index.add(one, packed(found, own)), index.add(one, packed(found, own))
        assert first.row != second.row
        assert index.find([one]) == {}
    with sqlite3.connect(tmp_path / "index") as rows:
        assert rows.execute("SELECT count(*) FROM pictures").fetchone() == (0,)
    rows.close()


def test_an_index_of_another_version_is_emptied(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with PictureIndex(tmp_path / "index") as index:
        added(index, folder)
    monkeypatch.setattr(picture_index, "_FORMAT", picture_index._FORMAT + 1)
    with PictureIndex(tmp_path / "index") as index:
        content = added(index, folder)
    with PictureIndex(tmp_path / "index") as index:
        expect_same(index, *content)


def other_database(path: Path, kind: str) -> None:
    with PictureIndex(path if kind == "view" else path.with_name("unused")):
        pass
    with sqlite3.connect(path) as rows:
        if kind == "view":  # which never ends
            rows.execute("ALTER TABLE pictures RENAME TO others")
            endless = "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n) SELECT k AS id FROM n"
            rows.execute(f"CREATE VIEW pictures AS {endless}")
        else:
            rows.execute("CREATE TABLE pictures (id INTEGER PRIMARY KEY, path TEXT)")
    rows.close()


@pytest.mark.parametrize("kind", ["text", "database", "view"])
def test_other_files_are_named_and_left_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    if kind == "text":
        path.write_text("not an index, but a text of some length\n" * 40)
    else:
        other_database(path, kind)
    before = path.read_bytes()
    with pytest.raises(RunError) as caught:
        PictureIndex(path)
    assert str(caught.value) == f"Expected {path} to be an index of duplicates, found another file. Give another path."
    assert path.read_bytes() == before


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is a folder, not a file"):
        PictureIndex(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with PictureIndex(path), pytest.raises(RunError) as caught:
        PictureIndex(path)
    assert str(caught.value) == f"Expected {path} to be free, but another process uses it. Wait for it."


@pytest.mark.parametrize("name", [None, "index"])
def test_a_full_disk_is_named_and_what_was_there_stays(name: str | None, folder: Path, tmp_path: Path) -> None:
    path = None if name is None else tmp_path / name
    with PictureIndex(path) as index:
        content = added(index, folder)

    def overflow() -> None:
        with PictureIndex(path) as index:
            limit = index._rows.execute("PRAGMA page_count").fetchone()[0] + 2
            index._rows.execute(f"PRAGMA max_page_count = {limit}")  # as if no more fitted on the disk
            for number in range(100):
                one = Listed(number, f"{number}.png", f"{number}.png", str(tmp_path / f"{number}.png"))
                index.add(one, packed(content[1][0], content[2][0]))

    with pytest.raises(RunError) as caught:
        overflow()
    what = "the temporary file of the search" if path is None else path
    assert str(caught.value) == (
        f"Expected space for {what}, about 8 kB for each picture, but the disk is full. "
        "Free some, or use an index on another disk."
    )
    if path is not None:
        with PictureIndex(path) as index:
            expect_same(index, *content)


@pytest.mark.parametrize("column", ["facts", "copies", "features"])
def test_damage_is_named(column: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "index"
    with PictureIndex(path) as index:
        pictures, prints, parts = added(index, folder)
    with sqlite3.connect(path) as rows:
        (content,) = rows.execute(f"SELECT {column} FROM pictures WHERE id = 1").fetchone()
        damaged = bytes([content[0] ^ 1]) + content[1:]
        rows.execute(f"UPDATE pictures SET {column} = ? WHERE id = 1", (damaged,))
    rows.close()
    with PictureIndex(path) as index, pytest.raises(RunError) as caught:
        expect_same(index, pictures, prints, parts)
    assert str(caught.value) == (
        f"Expected {path} to be undamaged, but parts have other checksums. Delete it: then all pictures are read again."
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_damaged_file_gives_the_same_or_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("damaged")
    Image.fromarray(photograph(0, 90, 60)).save(place / "a.png")
    with PictureIndex(place / "index") as index:
        (one,), (found,), _ = added(index, place)
    content = bytearray((place / "index").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (place / "index").write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        with PictureIndex(place / "index") as index:
            for entry in index.find([one]).values():
                assert index.fingerprint(entry.row).digest == found.digest
                index.features([entry.row])
                index.greys([entry.row])
    except RunError as error:
        assert "\n" not in str(error)  # noqa: PT017  most damage is harmless


def test_names_that_are_not_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        Image.fromarray(photograph(0, 90, 60)).save(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with PictureIndex(tmp_path / "index") as index:
        expected, _, _ = added(index, tmp_path)
        assert len(index.find(expected)) == 1


def with_copies(folder: Path) -> Path:
    """Add a copy of each picture that is smaller."""
    for path in [one.picture for one in listed(scan(folder))]:
        with Image.open(str(path)) as image:
            image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(Path(str(path)).with_suffix(".jpg"))
    return folder


def test_a_second_search_reads_only_what_is_new(folder: Path, tmp_path: Path, counted: list[str]) -> None:
    first = find_duplicates(with_copies(folder), index=tmp_path / "index")
    assert len(counted) == first.num_images == 6
    assert first.num_duplicates == 3
    counted.clear()
    assert find_duplicates(folder, index=tmp_path / "index").to_dict() == first.to_dict()
    assert counted == []
    shutil.copy(folder / "a.png", folder / "more" / "d.png")
    (folder / "b.jpg").unlink()
    Image.fromarray(photograph(9, 80, 70)).save(folder / "b.png")
    again = find_duplicates(folder, index=tmp_path / "index")
    assert counted == ["b.png", "more/d.png"]
    assert again.to_dict() == find_duplicates(folder).to_dict() != first.to_dict()


def test_animations_stay_different_from_an_index(tmp_path: Path, counted: list[str]) -> None:
    (tmp_path / "pictures").mkdir()
    first, *others = (Image.fromarray(photograph(seed, 90, 120)) for seed in range(3))
    for name, other in zip(("one.webp", "other.webp"), others, strict=True):
        first.save(tmp_path / "pictures" / name, save_all=True, append_images=[other], duration=100, lossless=True)
    reports = [find_duplicates(tmp_path / "pictures", index=tmp_path / "index") for _ in range(2)]
    assert counted == ["one.webp", "other.webp"]
    assert [(report.clusters, len(report.similar)) for report in reports] == [((), 1)] * 2


def test_a_picture_takes_about_8_kb(folder: Path, tmp_path: Path) -> None:
    path, count = tmp_path / "index", 200
    with PictureIndex(path) as index:
        _, (found, *_), (own, *_) = added(index, folder)
        rows = torch.arange(41) % len(own)  # as many features as a picture can have
        most = Features(rows * 0, own.place[rows], own.orientation[rows], own.description[rows])
        before = index._rows.execute("PRAGMA page_count").fetchone()[0]
        for number in range(count):
            name = f"{number}.png"
            index.add(Listed(10 + number, name, name, str(tmp_path / name)), packed(found, most))
        pages = index._rows.execute("PRAGMA page_count").fetchone()[0] - before
        size = index._rows.execute("PRAGMA page_size").fetchone()[0]
    assert 7000 < pages * size / count < 8800


def test_folders_share_an_index(folder: Path, tmp_path: Path, counted: list[str]) -> None:
    shutil.copytree(folder, tmp_path / "others")
    for place in (folder, tmp_path / "others"):
        find_duplicates(place, index=tmp_path / "index")
    counted.clear()
    report = find_duplicates(folder, against=tmp_path / "others", index=tmp_path / "index")
    assert report.num_duplicates == 3
    assert counted == []


def test_what_was_read_before_an_error_is_kept(folder: Path, tmp_path: Path, counted: list[str]) -> None:
    (folder / "more" / "z.png").write_text("no picture")
    with pytest.raises(ImageReadError, match=r"z\.png"):
        find_duplicates(folder, index=tmp_path / "index")
    counted.clear()
    report = find_duplicates(folder, index=tmp_path / "index", on_error="skip")
    assert counted == [one.name for one in report.skipped] == ["more/z.png"]
    assert report.num_images == 3


def test_an_index_is_not_for_models(folder: Path, tmp_path: Path, tiny_model: SimilarityModel) -> None:
    with pytest.raises(ValueError, match="Expected index without model"):
        find_duplicates(folder, model=tiny_model, threshold=0.9, index=tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize(
    "count", [pytest.param(0, marks=pytest.mark.slow), 3, pytest.param(4, marks=pytest.mark.slow), 5]
)
def test_killed_and_started_again(count: int, folder: Path, tmp_path: Path, counted: list[str]) -> None:
    expected = find_duplicates(with_copies(folder)).to_dict()
    counted.clear()
    program = Path(__file__).parents[3] / "helpers" / "killed_search.py"
    done = subprocess.run([sys.executable, program, folder, tmp_path / "index", str(count)], timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL
    assert find_duplicates(folder, index=tmp_path / "index").to_dict() == expected
    assert len(counted) == (6 - count if count % 2 else 6)
    assert not (tmp_path / "index-journal").exists()
