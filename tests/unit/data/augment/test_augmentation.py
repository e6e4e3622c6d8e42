from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairsim.data import ColorJitter, Compose, RandomAffine, RandomCrop, RandomErasing, RandomFlip
from pairsim.data.augment import Augmentation, make_augmentation
from pairsim.errors import DataError


def test_a_batch_is_a_function_of_seed_epoch_and_number() -> None:
    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    one = Augmentation(RandomAffine(), seed=4)
    expected = one(images, 2, 3)
    one(images, 9, 9)
    torch.manual_seed(55)
    assert torch.equal(one(images, 2, 3), expected)
    assert torch.equal(Augmentation(RandomAffine(), seed=4)(images, 2, 3), expected)
    for other in (one(images, 2, 4), one(images, 3, 3), Augmentation(RandomAffine(), seed=5)(images, 2, 3)):
        assert not torch.equal(other, expected)


def test_torchvision_transforms_are_seeded_and_leave_the_generators_alone() -> None:
    from torchvision.transforms import v2

    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    transform = v2.Compose([v2.RandomCrop(16, padding=4), v2.RandomRotation(20)])
    augmentation = Augmentation(transform, seed=1)
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    expected = augmentation(images, 0, 0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), repr(np.random.get_state())) == states[1:]  # noqa: NPY002
    torch.manual_seed(8)
    assert torch.equal(augmentation(images, 0, 0), expected)
    assert not torch.equal(augmentation(images, 0, 1), expected)


def test_any_module_is_called_with_the_images_alone() -> None:
    class Noise(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images + torch.rand_like(images)

    images = torch.zeros(2, 1, 3, 3)
    augmentation = Augmentation(Noise(), seed=1)
    assert torch.equal(augmentation(images, 0, 0), augmentation(images, 0, 0))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda images, _: images[:, :, 1:], r"\[4, 1, 8, 8\] torch.uint8, found \[4, 1, 7, 8\] torch.uint8"),
        (lambda images, _: images / 255, r"found \[4, 1, 8, 8\] torch.float32. Keep size and dtype"),
        (lambda images, _: None, "Expected augment to return a tensor of images, got NoneType"),
    ],
)
def test_what_an_augmentation_must_not_do(function: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Augmentation(function, seed=0)(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 0, 0)


def test_names() -> None:
    assert make_augmentation("none", 0) is None
    affine = make_augmentation("affine", 3)
    assert affine is not None
    assert (affine.function, affine.seed) == (RandomAffine(), 3)
    own = RandomAffine(degrees=90)
    made = make_augmentation(own, 0)
    assert made is not None
    assert made.function is own


def test_names_of_photographs() -> None:
    crop, photo = make_augmentation("crop", 0), make_augmentation("photo", 0)
    assert crop is not None
    assert photo is not None
    assert crop.function == Compose((RandomCrop(), RandomFlip()))
    assert photo.function == Compose((RandomCrop(), RandomFlip(), ColorJitter(), RandomErasing()))


def test_parts_draw_in_turn() -> None:
    def add_draw(images: Tensor, generator: torch.Generator) -> Tensor:
        return images * 2 + torch.rand((), generator=generator)

    first, second = torch.rand(2, generator=torch.Generator().manual_seed(3))
    found = Compose([add_draw, add_draw])(torch.zeros(1, 1, 1, 1), torch.Generator().manual_seed(3))
    assert found.item() == pytest.approx(float(2 * first + second))


@pytest.mark.parametrize("name", ["crop", "photo"])
@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_are_a_function_of_seed_epoch_and_number(name: Any, channels: int) -> None:
    images = torch.randint(0, 256, (5, channels, 12, 16), dtype=torch.uint8)
    one, same, other = (make_augmentation(name, seed) for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    assert torch.equal(one(images, 2, 3), same(images, 2, 3))
    for changed in (one(images, 2, 4), one(images, 3, 3), other(images, 2, 3)):
        assert not torch.equal(one(images, 2, 3), changed)
