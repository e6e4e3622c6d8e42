"""Pictures are read in processes as in threads: the same rows, in order, and errors and warnings in their places."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image
from torch import Tensor

from pairsim._common.choices import OnError
from pairsim.audits.duplicates import indexing
from pairsim.audits.duplicates.indexing import read_rows
from pairsim.audits.duplicates.listed_pictures import Listed, listed
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.registered_search import described, separated
from pairsim.audits.duplicates.picture_index import PictureIndex, Row, packed
from pairsim.encoding.pictures import Skipped
from pairsim.errors import DataError, ImageReadError
from pairsim.images import read_image

WAYS = ("threads", "processes")

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How pictures are read: few in threads, many in processes."""
    return use(str(request.param), monkeypatch)


def use(way: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(indexing, "_MIN_FOR_PROCESSES", 1 if way == "processes" else 10**9)
    monkeypatch.setattr(indexing, "_num_cores", lambda: 2)
    return way


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    """Three blocks of pictures, of which one is an animation."""
    place = tmp_path_factory.mktemp("pictures")
    paths = [place / f"{number:02}.png" for number in range(37)]
    for number, path in enumerate(paths):
        Image.fromarray(photograph(number, 40 + number, 60)).save(path)
    frames = [Image.fromarray(photograph(seed, 50, 60)) for seed in (90, 91, 92)]
    paths.append(place / "moving.webp")
    frames[0].save(paths[-1], save_all=True, append_images=frames[1:], duration=100, lossless=True)
    return listed(paths)


def rows(pictures: list[Listed], on_error: OnError = "raise") -> list[tuple[Listed, Row | Skipped]]:
    found = list(read_rows(pictures, on_error, False))
    assert multiprocessing.active_children() == []
    return found


@pytest.mark.usefixtures("way")
def test_rows_are_those_of_each_picture_alone(pictures: list[Listed]) -> None:
    found = rows(pictures)
    assert [one for one, _ in found] == pictures
    with PictureIndex() as index:
        index.find(pictures)
        for one, row in found[:-1]:
            assert isinstance(row, Row)
            alone = fingerprint(read_image(one.picture))
            expected = separated(described([alone]))[0]
            known = packed(alone, expected)
            assert (row.digest, row.size) == (known.digest, known.size)
            assert (row.facts, row.copies) == (known.facts, known.copies)
            features = index.features([index.add(one, row).row])
            # a matrix product may round otherwise for several pictures at once, and so may what is made of it
            torch.testing.assert_close(features.place, expected.place, atol=1e-5, rtol=0)
            assert torch.equal(features.orientation, expected.orientation)
            torch.testing.assert_close(features.description, expected.description, atol=1, rtol=0)
    animation = found[-1][1]
    assert isinstance(animation, Row)
    assert animation.digest != fingerprint(read_image(pictures[-1].picture)).digest
    assert rows([]) == []


@pytest.mark.usefixtures("way")
def test_what_cannot_be_read_is_skipped_or_raised_in_its_place(pictures: list[Listed], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    given = listed([one.picture for one in pictures[:20]] + [bad] + [one.picture for one in pictures[20:]])
    found = rows(given, "skip")
    assert [one for one, _ in found] == given
    assert [k for k, (_, row) in enumerate(found) if isinstance(row, Skipped)] == [20]
    skipped = found[20][1]
    assert isinstance(skipped, Skipped)
    assert (skipped.index, skipped.name) == (20, str(bad))
    assert "bad.png" in skipped.reason
    with pytest.raises(ImageReadError, match=r"bad\.png"):
        rows(given)
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("way")
def test_the_rows_before_one_that_fails_are_given(pictures: list[Listed], tmp_path: Path) -> None:
    results = read_rows(listed([*(one.picture for one in pictures[:18]), tmp_path / "none.png"]), "raise", False)
    assert [next(results)[0].name for _ in range(18)] == [one.name for one in pictures[:18]]
    with pytest.raises(ImageReadError, match=r"none\.png"):
        next(results)


@pytest.mark.usefixtures("way")
def test_a_search_that_is_given_up_leaves_no_process(pictures: list[Listed]) -> None:
    results = read_rows(pictures, "raise", False)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


def test_a_warning_is_given_once_and_names_the_first(tmp_path: Path, way: str) -> None:
    paths = [tmp_path / f"{number:02}.png" for number in range(40)]
    for number, path in enumerate(paths):
        Image.fromarray(photograph(number, 40, 60)[:, :, 0].astype(np.uint16) << 4).save(path)
    given = listed(paths)
    with pytest.warns(UserWarning, match=r"16-bit samples of .*\.png to be up to 65535") as caught:
        rows(given)
    assert len(caught) == 1
    assert way == "threads" or "00.png" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="16-bit samples"):
            rows(given)
    assert multiprocessing.active_children() == []


def test_pictures_in_memory_are_read_by_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    use("processes", monkeypatch)
    readers = set()

    def noted(image: Tensor) -> Fingerprint:
        readers.add(os.getpid())
        return fingerprint(image)

    monkeypatch.setattr(indexing, "fingerprint", noted)
    rows(listed([photograph(seed, 40, 60) for seed in range(3)]))
    assert readers == {os.getpid()}


def test_without_shared_memory_this_process_reads(pictures: list[Listed], monkeypatch: pytest.MonkeyPatch) -> None:
    use("processes", monkeypatch)

    def no_lock() -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(multiprocessing, "Lock", no_lock)
    monkeypatch.setattr(indexing, "_in_processes", None)
    assert [one for one, _ in rows(pictures)] == pictures


def test_many_files_are_read_by_others(pictures: list[Listed], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use("processes", monkeypatch)

    def noted(image: Tensor) -> Fingerprint:
        (tmp_path / str(os.getpid())).touch()
        return fingerprint(image)

    monkeypatch.setattr(indexing, "fingerprint", noted)
    rows(pictures)
    readers = {path.name for path in tmp_path.iterdir()}
    assert readers
    assert str(os.getpid()) not in readers


def test_a_process_that_ends_is_told_with_what_it_read(pictures: list[Listed], monkeypatch: pytest.MonkeyPatch) -> None:
    use("processes", monkeypatch)
    heights = {size: name for name, size in ((one.name, read_image(one.picture).shape[1]) for one in pictures[:30])}

    def ending(image: Tensor) -> Fingerprint:
        if image.shape[1] == 60:
            os.kill(os.getpid(), signal.SIGKILL)
        return fingerprint(image)

    monkeypatch.setattr(indexing, "fingerprint", ending)
    with pytest.raises(DataError, match="A process that reads images ended while it read") as error:
        rows(pictures)
    assert heights[60] in str(error.value)
    assert "run the same search again" in str(error.value)
    assert "num_workers" not in str(error.value)
    assert multiprocessing.active_children() == []
