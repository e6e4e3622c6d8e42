from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from torchvision import datasets
from torchvision import transforms as v1
from torchvision.transforms import v2

from pairsim.data import ImageFiles, ImageTensors
from pairsim.data.random_transforms import differing_item, is_known_fixed, random_transform


class Pictures(Dataset[Any]):
    def __init__(self, transform: Any = None) -> None:
        self.transform = transform
        self.targets = [0, 1] * 6

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        image = torch.full((1, 8, 8), index * 20, dtype=torch.uint8)
        image[:, :4] = 0
        return (image if self.transform is None else self.transform(image)), self.targets[index]


class Wrapped(Dataset[Any]):
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


RANDOM = [
    (v2.RandomCrop(4), "RandomCrop"),
    (v1.RandomCrop(4), "RandomCrop"),
    (v1.Compose([v1.Resize(8), v1.RandomHorizontalFlip()]), "RandomHorizontalFlip"),
    (v2.Compose([v2.Resize(8), v2.Compose([v2.ColorJitter(0.5)])]), "ColorJitter"),
    (nn.Sequential(v1.Resize(8), v1.RandomErasing()), "RandomErasing"),
    (v2.RandomApply([v2.Grayscale()]), "RandomApply"),
    (v1.AutoAugment(), "AutoAugment"),
    (v2.RandAugment(), "RandAugment"),
    (v2.TrivialAugmentWide(), "TrivialAugmentWide"),
    (v2.AugMix(), "AugMix"),
    (v2.GaussianBlur(3, sigma=(0.1, 2.0)), "GaussianBlur"),
]


@pytest.mark.parametrize(("transform", "name"), RANDOM)
def test_random_transforms_are_found_through_wrappers(transform: Any, name: str) -> None:
    pictures = Pictures(transform)
    wrapped: list[Dataset[Any]] = [
        pictures,
        Subset(pictures, [0, 3]),
        ConcatDataset([Pictures(), Subset(pictures, [1])]),
        Wrapped(Wrapped(Subset(pictures, [0]))),
    ]
    for dataset in wrapped:
        assert random_transform(dataset) == name
        assert not is_known_fixed(dataset)


@pytest.mark.parametrize(
    "transform",
    [
        v2.Compose([v2.Resize(8), v2.CenterCrop(8), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]),
        v1.Compose([v1.Grayscale(), v1.ToTensor(), v1.Normalize([0.5], [0.5])]),
        v1.ToTensor(),
        None,
    ],
)
def test_torchvision_datasets_with_fixed_transforms_are_known(tmp_path: Path, transform: Any) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "1.png")
    folder = datasets.ImageFolder(str(tmp_path), transform=transform)
    assert random_transform(folder) is None
    assert is_known_fixed(folder)
    assert is_known_fixed(Subset(folder, [0]))
    own_loader = datasets.ImageFolder(str(tmp_path), transform=transform, loader=lambda path: path)
    assert not is_known_fixed(own_loader)


def test_what_is_known_and_what_is_not() -> None:
    images = torch.zeros(2, 1, 4, 4)
    assert is_known_fixed(ImageFiles(["a"], [0]))
    assert is_known_fixed(TensorDataset(images, torch.zeros(2)))
    assert is_known_fixed(ImageTensors(images, [0, 1]))
    assert not is_known_fixed(Pictures())
    assert not is_known_fixed(Wrapped(ImageTensors(images, [0, 1])))
    assert is_known_fixed([(images[0], 0)])
    assert random_transform(Pictures(lambda image: image)) is None
    assert random_transform(Pictures(v2.GaussianBlur(3, sigma=1.0))) is None


def test_random_target_transforms_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "1.png")
    folder = datasets.ImageFolder(str(tmp_path), target_transform=v2.RandomChoice([v2.Identity()]))
    assert random_transform(folder) is None


def jittered(image: Tensor) -> Tensor:
    return image + random.randrange(1000)


def test_functions_that_draw_are_found_by_reading_twice() -> None:
    assert random_transform(Pictures(jittered)) is None
    assert differing_item(Pictures(jittered)) == 0
    assert differing_item(Pictures()) is None
    state = random.getstate(), torch.get_rng_state()
    differing_item(Pictures(v2.RandomCrop(4)))
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])


def test_a_ring_of_wrappers_ends() -> None:
    one = Wrapped(None)
    one.inner = Wrapped(one)
    assert random_transform(one) is None
