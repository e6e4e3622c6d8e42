"""From anything that is an image to batches."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from pairsim.errors import ImageReadError
from pairsim.images import PictureLike, Preprocessing
from pairsim.models import inputs
from pairsim.models.inputs import image_batches

GREY = Preprocessing(image_size=(6, 5), channels=1)
COLOUR = Preprocessing(image_size=(6, 5), channels=3)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Pictures of which each has its own number as its grey value."""
    paths = [tmp_path / f"{number}.png" for number in range(50)]
    for number, path in enumerate(paths):
        Image.new("L", (5, 6), number).save(path)
    return paths


def numbers(batches: Iterable[Tensor]) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in batches]


@pytest.mark.parametrize("batch_size", [1, 3, 8, 20, 49, 50, 64])
def test_files_come_in_order_and_in_batches(files: list[Path], batch_size: int) -> None:
    expected = [list(range(k, min(k + batch_size, 50))) for k in range(0, 50, batch_size)]
    found = image_batches(files, GREY, batch_size)
    assert found.num_images == 50
    assert found.indices is None
    assert numbers(found.batches) == expected
    generated = image_batches((path for path in files), GREY, batch_size)
    assert generated.num_images is None
    assert numbers(generated.batches) == expected


def test_what_comes_twice_is_read_once(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[PictureLike] = []
    original = Preprocessing.read

    def counting(self: Preprocessing, image: PictureLike) -> Tensor:
        read.append(image)
        return original(self, image)

    monkeypatch.setattr(Preprocessing, "read", counting)
    picture = Image.new("L", (5, 6), 99)
    asked: list[Any] = [files[3], files[1], picture, str(files[3]), files[2], picture]
    found = image_batches(asked, GREY, 4)
    assert found.num_images == 4
    assert numbers(found.batches) == [[3, 1, 99, 2]]
    assert found.indices is not None
    assert found.indices.tolist() == [0, 1, 2, 0, 3, 2]
    assert len(read) == 4


def test_the_first_bad_file_is_named(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    asked = [*files[:20], tmp_path / "a.png", *files[20:40], tmp_path / "absent.png"]
    batches = image_batches(asked, GREY, 5).batches
    assert numbers(islice(batches, 4)) == [list(range(k, k + 5)) for k in (0, 5, 10, 15)]
    with pytest.raises(ImageReadError, match=r"Expected .*a\.png to be an image"):
        next(batches)


def test_reading_ahead_ends_with_the_batches(files: list[Path]) -> None:
    found = image_batches(iter(files), GREY, 2)
    next(found.batches)
    found.batches.close()
    for thread in threading.enumerate():
        if thread.name.startswith("pairsim-read"):
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_an_endless_generator_is_not_read_to_its_end(files: list[Path]) -> None:
    def endless() -> Iterator[Path]:
        while True:
            yield files[7]

    found = image_batches(endless(), GREY, 4)
    assert [next(found.batches)[:, 0, 0, 0].tolist() for _ in range(5)] == [[7] * 4] * 5
    found.batches.close()


def test_pixels_of_the_right_size_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    grey, colour = (generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((6, 5), (6, 5, 3)))
    frozen = grey.copy()
    frozen.setflags(write=False)
    ours: list[Any] = [grey, grey[..., None], frozen, np.flip(np.flip(grey, 1).copy(), 1), torch.from_numpy(grey)[None]]
    theirs: list[Any] = [colour, torch.from_numpy(colour).permute(2, 0, 1), np.flip(colour)[::-1, ::-1, ::-1]]
    expected = [GREY.read(grey)] * 5, [COLOUR.read(colour)] * 3
    with monkeypatch.context() as patched:
        patched.setattr(Preprocessing, "read", lambda *_: pytest.fail("went through Pillow"))
        found = [next(image_batches(p, s, 9).batches) for p, s in ((ours, GREY), (theirs, COLOUR))]
    for batch, wanted in zip(found, expected, strict=True):
        assert torch.equal(batch, torch.stack(wanted))
    mixed: list[Any] = [colour, grey, np.zeros((9, 9), np.uint8), Image.fromarray(grey), torch.from_numpy(grey)]
    for preprocessing in (GREY, COLOUR):
        batch = next(image_batches(mixed, preprocessing, 9).batches)
        assert torch.equal(batch, torch.stack([preprocessing.read(image) for image in mixed]))


def test_array_of_several_pictures() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    found = image_batches(pictures, COLOUR, 3)
    assert found.num_images == 4
    assert torch.equal(torch.cat(list(found.batches)), torch.from_numpy(pictures).permute(0, 3, 1, 2))


def test_datasets_are_sent_elsewhere() -> None:
    dataset: Any = TensorDataset(torch.zeros(2, 1, 6, 5), torch.zeros(2))
    for images in (dataset, DataLoader(dataset)):
        with pytest.raises(TypeError, match=r"Expected images or paths, got a .*\. Use pairsim.encode_dataset\(model"):
            image_batches(images, GREY, 2)
    with pytest.raises(TypeError, match=r"Expected images or paths, got a list of tuple"):
        list(image_batches([(torch.zeros(1, 6, 5), 3)] * 4, GREY, 2).batches)  # type: ignore[list-item]


def test_tensor_is_cut_without_a_copy() -> None:
    images = torch.zeros(7, 1, 6, 5)
    parts = list(image_batches(images, GREY, 3).batches)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert parts[1].data_ptr() == images[3:].data_ptr()
    assert list(image_batches(images[:0], GREY, 3).batches) == []
    assert list(image_batches([], GREY, 3).batches) == []
    assert list(image_batches(iter([]), GREY, 3).batches) == []


def test_threads_are_few(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    names = set()
    original = Preprocessing.read

    def noting(self: Preprocessing, image: PictureLike) -> Tensor:
        names.add(threading.current_thread().name)
        return original(self, image)

    monkeypatch.setattr(Preprocessing, "read", noting)
    monkeypatch.setattr(inputs, "QUICK_S", 0.0)  # whatever is read counts as slow
    list(image_batches(files, GREY, 50).batches)
    threads = {name for name in names if name.startswith("pairsim-read")}
    assert 1 <= len(threads) <= 8
    assert names - threads == {"MainThread"}  # the first few, by which it is told


def test_pictures_that_are_quick_to_read_need_no_threads(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "QUICK_S", 1e9)
    names: set[str] = set()
    original = Preprocessing.read

    def noting(self: Preprocessing, image: PictureLike) -> Tensor:
        names.add(threading.current_thread().name)
        return original(self, image)

    monkeypatch.setattr(Preprocessing, "read", noting)
    quick = torch.cat(list(image_batches(files, GREY, 7).batches))
    assert names == {"MainThread"}
    monkeypatch.undo()
    monkeypatch.setattr(inputs, "QUICK_S", 0.0)
    assert torch.equal(torch.cat(list(image_batches(files, GREY, 7).batches)), quick)
