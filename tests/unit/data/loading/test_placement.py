from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import datasets
from torchvision.transforms import v2

from pairsim.data import ImageFiles, ImageTensors
from pairsim.data.image_sets import fetch_images
from pairsim.data.loading.mapped_images import MappedImages
from pairsim.data.loading.placement import Placement
from pairsim.errors import DataError
from pairsim.images import Preprocessing

CPU = torch.device("cpu")
META = torch.device("meta")  # another device than the one where images are, without a GPU
PREPROCESSING = Preprocessing(image_size=(10, 10), channels=3)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """12 pictures of 10 x 10 x 3 bytes, in a folder for each class."""
    paths = []
    for number in range(12):
        path = tmp_path / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (10, 10), (number, 20 * number, 255 - number)).save(path)
        paths.append(path)
    return ImageFiles(paths, [number % 2 for number in range(12)], image_size=(10, 10))


def place(dataset: Any, device: torch.device = CPU, **settings: Any) -> tuple[Any, str]:
    placement = Placement(device=device, progress=False, **settings)
    placed = placement.place(dataset, np.arange(len(dataset)) % 2, PREPROCESSING)
    (note,) = placement.notes
    return placed, note


def test_images_in_memory_are_resident_whatever_the_budget() -> None:
    images = ImageTensors(torch.zeros(2000, 1, 28, 28, dtype=torch.uint8), np.arange(2000) % 2)
    for resident in (None, True, False):
        placed, note = place(images, memory_budget_mb=1, resident=resident)
        assert placed.images is images.images
        assert note == "Images resident on cpu: 2,000 x 1 x 28 x 28 uint8, 2 MB of a budget of 1 MB."


def test_colour_images_in_memory_are_laid_out_once_where_there_is_room() -> None:
    images = ImageTensors(torch.randint(0, 256, (2000, 3, 16, 16), dtype=torch.uint8), np.arange(2000) % 2)
    placed, _ = place(images, memory_budget_mb=5)
    assert placed.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(placed.images, images.images)
    assert place(images, memory_budget_mb=1)[0] is images
    assert place(images, memory_budget_mb=5, channels_last=False)[0] is images


def test_pictures_that_fit_are_read_once(files: ImageFiles) -> None:
    placed, note = place(files)
    assert isinstance(placed, ImageTensors)
    assert torch.equal(placed.images, fetch_images(files, np.arange(12)))
    assert note.startswith("Images resident on cpu: 12 x 3 x 10 x 10 uint8, 1 MB of a budget of ")


def test_pictures_that_do_not_fit_stay_files(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.data.loading.placement.memory_budget", lambda *_: 100)
    placed, note = place(files, workers=2)
    assert placed is files
    assert note == (
        "Images read from their dataset by 2 workers as they are needed: 12 x 3 x 10 x 10 uint8, "
        "as their 1 MB are more than the 1 MB left of the budget."
    )
    with pytest.raises(
        DataError,
        match=r"Expected images of at most 1 MB for resident=True on cpu, found 1 MB \(images: 12 x 3 x 10 x 10 "
        r"uint8\)\. Raise memory_budget_mb, use a smaller image_size, or do not ask for resident=True",
    ):
        place(files, resident=True)


def test_the_budget_is_for_all_images_together(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pairsim.data.loading.placement.memory_budget", lambda *_: 5000
    )  # one of the two: 3,600 bytes each
    placement = Placement(device=CPU, progress=False)
    assert isinstance(placement.place(files, files.targets, PREPROCESSING), ImageTensors)
    assert placement.place(files, files.targets, PREPROCESSING, what="Validation images") is files
    assert [note.split(":")[0] for note in placement.notes] == [
        "Images resident on cpu",
        "Validation images read from their dataset by 2 workers as they are needed",
    ]


def test_asked_not_to(files: ImageFiles) -> None:
    placed, note = place(files, resident=False, workers=0)
    assert placed is files
    assert note.endswith(
        "by the training process as they are needed: 12 x 3 x 10 x 10 uint8, as resident=False was asked for."
    )


def test_pictures_of_many_sizes_are_not_held_by_themselves(files: ImageFiles) -> None:
    own = ImageFiles(files.paths, files.targets)
    placed, note = place(own)
    assert placed is own
    assert "not known to be the same every time" in note


class Own(Dataset[Any]):
    def __init__(self, transform: Any = None) -> None:
        self.transform = transform
        self.targets = [0, 1] * 5

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        image = torch.arange(300, dtype=torch.uint8).view(3, 10, 10) + index
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def test_a_dataset_of_ones_own_is_held_only_when_asked() -> None:
    own = Own()
    placed, note = place(own)
    assert placed is own
    assert "as they are not known to be the same every time (if they are, resident=True holds them in memory)" in note
    placed, note = place(own, resident=True)
    assert torch.equal(placed.images, fetch_images(own, np.arange(10)))
    assert "resident on cpu" in note


def test_random_transforms_are_never_held() -> None:
    own = Own(v2.RandomHorizontalFlip())
    placed, note = place(own)
    assert placed is own
    assert note.endswith("as they have the random transform RandomHorizontalFlip.")
    with pytest.raises(DataError, match="found the random transform RandomHorizontalFlip"):
        place(own, resident=True)


def test_torchvisions_folders_with_fixed_transforms_are_held(files: ImageFiles, tmp_path: Path) -> None:
    folder = datasets.ImageFolder(str(tmp_path), transform=v2.Compose([v2.Resize((10, 10)), v2.PILToTensor()]))
    placed, _ = place(folder)
    assert isinstance(placed, ImageTensors)
    assert torch.equal(placed.images, fetch_images(folder, np.arange(12)))
    bare = datasets.ImageFolder(str(tmp_path))
    assert torch.equal(place(bare)[0].images, placed.images)


def test_images_in_memory_go_to_another_device_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageTensors(torch.zeros(100, 3, 20, 20, dtype=torch.uint8), np.arange(100) % 2)
    placed, note = place(images, META, memory_budget_mb=1)
    assert placed.images.device == META
    assert placed.images.is_contiguous(memory_format=torch.channels_last)
    assert note == "Images resident on meta: 100 x 3 x 20 x 20 uint8, 1 MB of a budget of 1 MB."
    placed, note = place(images, META, memory_budget_mb=1, resident=False)
    assert placed is images
    assert note.startswith("Images in memory and copied to meta batch by batch: 100 x")
    monkeypatch.setattr("pairsim.data.loading.placement.memory_budget", lambda *_: 100)
    assert place(images, META)[0] is images
    with pytest.raises(DataError, match="for resident=True on meta"):
        place(images, META, resident=True)


def test_cache(files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placement = Placement(device=CPU, cache_dir=tmp_path / "cache", progress=False)
    mapped = placement.cached(files)
    assert isinstance(mapped, MappedImages)
    assert isinstance(placement.place(mapped, mapped.targets, PREPROCESSING), ImageTensors)
    assert [note.split(" /")[0].split(":")[0] for note in placement.notes] == [
        "Decoded pictures written to",
        "Images resident on cpu",
    ]
    monkeypatch.setattr("pairsim.data.loading.placement.memory_budget", lambda *_: 100)
    placed, note = place(mapped, workers=1)
    assert placed is mapped
    assert note.startswith(f"Images read from the cache {mapped.path} by 1 worker as they are needed: 12 x")


def test_cache_that_cannot_serve_is_said(tmp_path: Path) -> None:
    placement = Placement(device=CPU, cache_dir=tmp_path / "cache")
    own = Own()
    assert placement.cached(own) is own
    assert placement.notes == ["cache_dir is not used: only picture files of one image_size can be cached."]
    images = ImageTensors(torch.zeros(2, 2, 2, dtype=torch.uint8), [0, 1])
    assert placement.cached(images) is images
    assert len(placement.notes) == 1
