from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim.data import ImageFiles
from pairsim.data.image_sets import fetch_images, subset
from pairsim.data.loading import pixel_cache as pixel_cache_module
from pairsim.data.loading.pixel_cache import cached_images
from pairsim.errors import ImageReadError, RunError
from pairsim.images import Preprocessing


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (10, 12, 3), dtype=np.uint8)).save(path)
    return ImageFiles(paths, [number % 2 for number in range(9)], image_size=(6, 8), channels=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def everything(dataset: Any) -> torch.Tensor:
    return fetch_images(dataset, np.arange(len(dataset)))


def test_pixels_are_those_of_the_files(files: ImageFiles, folder: Path) -> None:
    images, note = cached_images(files, folder)
    assert note == f"Decoded pictures written to {only_file(folder)}."
    assert len(images) == 9
    assert torch.equal(everything(images), everything(files))
    assert images[4][1] == files[4][1]
    assert torch.equal(images[4][0], files[4][0])


def test_the_file_is_used_again_without_decoding(
    files: ImageFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_images(files, folder)

    def decode(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(pixel_cache_module, "read_through", decode)
    images, note = cached_images(files, folder)
    assert note == f"Decoded pictures found in {only_file(folder)}."
    assert len(images) == 9


def test_a_part_of_it_and_a_copy_for_a_worker(files: ImageFiles, folder: Path) -> None:
    images, _ = cached_images(files, folder)
    part = subset(subset(images, np.array([8, 1, 5])), np.array([2, 0]))
    expected = everything(files)[[5, 8]]
    assert torch.equal(everything(part), expected)
    sent = pickle.dumps(part)
    assert len(sent) < 2000  # its path, not its content
    assert torch.equal(everything(pickle.loads(sent)), expected)
    assert part.targets.tolist() == [1, 0]


def test_writing_into_a_batch_does_not_reach_the_file(files: ImageFiles, folder: Path) -> None:
    images, _ = cached_images(files, folder)
    before = only_file(folder).read_bytes()
    everything(images).fill_(0)
    images.batch(np.array([0])).fill_(0)
    assert only_file(folder).read_bytes() == before


@pytest.mark.parametrize(
    ("offset", "said"),
    [(5, "no header"), (4096 + 77, "its SHA-256 differs"), (-1, "its SHA-256 differs"), (None, "its SHA-256 differs")],
)
def test_a_damaged_file_is_written_again(files: ImageFiles, folder: Path, offset: int | None, said: str) -> None:
    cached_images(files, folder)
    content = bytearray(only_file(folder).read_bytes())
    if offset is None:
        del content[-1]
    else:
        content[offset] ^= 0x80
    only_file(folder).write_bytes(content)
    images, note = cached_images(files, folder)
    assert note.startswith(
        f"Decoded pictures written again to {only_file(folder)}, as the old file was damaged ({said}"
    )
    assert torch.equal(everything(images), everything(files))
    assert "found in" in cached_images(files, folder)[1]


def test_every_flipped_bit_of_the_header_is_found_or_harmless(files: ImageFiles, folder: Path) -> None:
    cached_images(files, folder)
    file = only_file(folder)
    whole = file.read_bytes()
    for bit in range(0, 8 * 400, 37):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(hurt)
        images, _ = cached_images(files, folder)
        assert torch.equal(everything(images), everything(files))


def test_changed_pictures_are_decoded_again(files: ImageFiles, folder: Path) -> None:
    cached_images(files, folder)
    Image.new("RGB", (10, 10), (1, 2, 3)).save(files.paths[3])
    images, note = cached_images(files, folder)
    assert note.endswith("as pictures, labels or the decoder have changed since.")
    assert images[3][0][:, 0, 0].tolist() == [1, 2, 3]
    other_labels = ImageFiles(files.paths, [0] * 9, image_size=(6, 8))
    assert "written again to" in cached_images(other_labels, folder)[1]


def test_other_sizes_and_other_pictures_have_files_of_their_own(files: ImageFiles, folder: Path) -> None:
    cached_images(files, folder)
    cached_images(ImageFiles(files.paths, files.targets, image_size=(6, 6)), folder)
    cached_images(ImageFiles(files.paths, files.targets, image_size=(6, 8), channels=1), folder)
    cached_images(subset(files, np.array([1, 2])), folder)
    assert len(list(folder.iterdir())) == 4
    for fit in ("stretch", "crop", "pad"):
        for interpolation in ("bilinear", "bicubic"):
            preprocessing = Preprocessing(image_size=(6, 8), channels=3, fit=fit, interpolation=interpolation)
            read = ImageFiles(files.paths, files.targets, preprocessing=preprocessing)
            expected = torch.stack([preprocessing.read(path) for path in files.paths])
            assert torch.equal(everything(read), expected)
            assert torch.equal(everything(cached_images(read, folder)[0]), expected)
    assert len(list(folder.iterdir())) == 4 + 5  # today's way is the one that was there
    with_white = Preprocessing(image_size=(6, 8), channels=3, white=4095)
    cached_images(ImageFiles(files.paths, files.targets, preprocessing=with_white), folder)
    assert len(list(folder.iterdir())) == 4 + 5 + 1


def test_a_picture_that_cannot_be_read_leaves_nothing(files: ImageFiles, folder: Path) -> None:
    Path(files.paths[5]).write_text("not a picture")
    with pytest.raises(ImageReadError, match=r"5\.png"):
        cached_images(files, folder)
    assert list(folder.iterdir()) == []
    Path(files.paths[5]).unlink()
    with pytest.raises(ImageReadError, match=r"Expected an image file at .*5\.png, but: No such file"):
        cached_images(files, folder)


def test_a_full_disk_leaves_the_old_file(files: ImageFiles, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_images(files, folder)
    before = only_file(folder).read_bytes()
    os.utime(files.paths[0])

    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RunError, match=r"Could not write .*\.pixels: No space left on device"):
        cached_images(files, folder)
    assert only_file(folder).read_bytes() == before
