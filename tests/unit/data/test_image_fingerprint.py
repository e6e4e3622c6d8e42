from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from picture_files import write_pictures
from small_runs import random_images
from torch.utils.data import Subset

from pairsim.data import ImageFiles, ImageTensors
from pairsim.data.image_fingerprint import TIMES, image_changes, image_fingerprint, pixels_sha256


def test_pixels_in_memory() -> None:
    images = random_images(6)
    own = image_fingerprint(images)
    assert own == {"pixels": pixels_sha256(images)}
    assert own == image_fingerprint(Subset(images, range(6)))
    assert own == image_fingerprint(ImageTensors(images.images.clone(), [9] * 6))  # labels are of others
    shapes = (
        images.images.to(memory_format=torch.channels_last),
        images.images.reshape(6, 1, 4, 16),
        images.images[:5],
    )
    same = [image_fingerprint(ImageTensors(pixels, [0] * len(pixels))) == own for pixels in shapes]
    assert same == [True, False, False]
    assert image_fingerprint(ImageTensors(images.images.double(), [0] * 6)) != own
    assert image_fingerprint(ImageTensors(images.images.flip(0), [0] * 6)) != own


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path / "a", [f"{group}/{number}.png" for group in "xy" for number in range(3)])


def fingerprint(paths: list[Path]) -> dict[str, str]:
    return image_fingerprint(ImageFiles(paths, [0] * len(paths)))


def test_picture_files(paths: list[Path], tmp_path: Path) -> None:
    before = fingerprint(paths)
    assert set(before) == {"files", "contents", "times"}
    os.utime(paths[2], (0, 0))
    assert image_changes(before, fingerprint(paths)) == [TIMES]
    paths[0].write_bytes(paths[0].read_bytes()[::-1])
    assert image_changes(before, fingerprint(paths)) == ["content of files", TIMES]
    assert image_changes(before, fingerprint(paths[::-1])) == [
        "names, sizes or number of files",
        "content of files",
        TIMES,
    ]
    now = fingerprint(paths)
    (tmp_path / "a").rename(tmp_path / "b")
    moved = [tmp_path / "b" / path.relative_to(tmp_path / "a") for path in paths]
    assert fingerprint(moved) == now
    assert image_changes({}, now) == []
    assert len(image_changes(now, {})) == 3


def test_files_that_are_gone_are_left_to_the_reader(paths: list[Path]) -> None:
    before = fingerprint(paths)
    paths[1].unlink()
    os.mkfifo(paths[1])
    assert "names, sizes or number of files" in image_changes(before, fingerprint(paths))
    paths[1].unlink()
    assert "names, sizes or number of files" in image_changes(before, fingerprint(paths))


def test_other_datasets_are_not_read() -> None:
    class Items(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            raise AssertionError

    assert image_fingerprint(Items()) == {}
