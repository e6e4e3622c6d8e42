from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional

from pairsim.data import ColorJitter, RandomCrop, RandomErasing, RandomFlip
from pairsim.errors import DataError

Change = Callable[[Tensor, torch.Generator], Tensor]

NOTHING: list[Change] = [
    RandomCrop(smallest=1),
    RandomFlip(chance=0),
    ColorJitter(brightness=0, contrast=0, saturation=0),
    RandomErasing(chance=0),
    RandomErasing(chance=1, largest=0),
]
ALL: list[Change] = [RandomCrop(), RandomFlip(), ColorJitter(), RandomErasing(chance=1)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(num: int = 4, channels: int = 3, height: int = 9, width: int = 13) -> Tensor:
    return torch.randint(0, 256, (num, channels, height, width), dtype=torch.uint8, generator=generator(1))


@pytest.mark.parametrize("change", NOTHING, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_nothing_to_change_changes_nothing(change: Change, channels: int) -> None:
    images = noise(channels=channels)
    assert torch.equal(change(images, generator()), images)


@pytest.mark.parametrize("change", ALL, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
def test_each_image_is_changed_by_its_own_amount(change: Change, channels_last: bool) -> None:
    images = noise(1).expand(16, -1, -1, -1)
    images = images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    before = images.clone()
    changed = change(images, generator())
    assert torch.equal(images, before)
    assert changed.dtype == torch.uint8
    assert changed.shape == images.shape
    kinds = 2 if isinstance(change, RandomFlip) else 12
    assert len(changed.flatten(1).unique(dim=0)) >= kinds
    assert torch.equal(changed, change(images, generator()))
    assert not torch.equal(changed, change(images, generator(1)))


def test_a_window_is_an_enlarged_part() -> None:
    images = torch.rand(8, 2, 10, 14, dtype=torch.float64).float()
    found = RandomCrop(smallest=0.3)(images, generator())
    side, down, across = (1 - 0.7 * draw if row == 0 else draw for row, draw in enumerate(_draws(3, 8)))
    down, across = across, down  # the horizontal position is drawn first
    for number in range(8):
        height, width = 10 * float(side[number]), 14 * float(side[number])
        top, left = (10 - height) * float(down[number]), (14 - width) * float(across[number])
        rows = top + (torch.arange(10) + 0.5) * height / 10 - 0.5
        columns = left + (torch.arange(14) + 0.5) * width / 14 - 0.5
        expected = _bilinear(images[number].double(), rows.double(), columns.double())
        torch.testing.assert_close(found[number].double(), expected, rtol=0, atol=1e-4)


def _draws(rows: int, num: int) -> Tensor:
    return torch.rand(rows, num, generator=generator())


def _bilinear(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    for dim, at in ((1, rows), (2, columns)):
        at = at.clamp(0, image.shape[dim] - 1)
        low = at.floor().long().clamp(max=image.shape[dim] - 2)
        share = (at - low).view([-1 if axis == dim else 1 for axis in range(3)])
        image = image.index_select(dim, low) * (1 - share) + image.index_select(dim, low + 1) * share
    return image


def test_windows_have_the_stated_sizes_and_lie_inside() -> None:
    across = torch.arange(100.0).expand(500, 1, 100, 100)
    found = RandomCrop(smallest=0.5)(across.contiguous(), generator())[:, 0, 50]
    sides = (found[:, -1] - found[:, 0]) / 99
    assert 0.49 < float(sides.min()) < 0.52
    assert 0.98 < float(sides.max()) <= 1
    assert float(sides.mean()) == pytest.approx(0.75, abs=0.02)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 99
    middles = found.mean(dim=1)
    assert float(middles.mean()) == pytest.approx(49.5, abs=1)
    assert float(middles.std()) > 4


def test_about_half_of_the_images_are_mirrored() -> None:
    images = noise(400, 1, 4, 6)
    mirrored = (RandomFlip()(images, generator()) == images.flip(3)).flatten(1).all(dim=1)
    kept = (RandomFlip()(images, generator()) == images).flatten(1).all(dim=1)
    assert bool((mirrored ^ kept).all())
    assert 160 < int(mirrored.sum()) < 240
    assert torch.equal(RandomFlip(chance=1)(images, generator()), images.flip(3))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_as_in_pillow(name: str) -> None:
    images = noise(6, 3, 20, 20) // 2 + 60  # away from 0 and 255
    amounts = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, name: 0.3}
    found = ColorJitter(**amounts)(images, generator())
    row = list(amounts).index(name)
    factors = 1 + 0.3 * (2 * _draws(3, 6)[row] - 1)
    kind = {"saturation": "Color"}.get(name, name.capitalize())
    for image, changed, factor in zip(images, found, factors.tolist(), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        expected = np.asarray(getattr(ImageEnhance, kind)(picture).enhance(factor)).astype(int)
        # Pillow cuts decimals off and rounds grey to whole numbers
        assert np.abs(changed.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 2


def test_colours_stay_in_range_and_grey_stays_grey() -> None:
    jitter = ColorJitter(brightness=1, contrast=1, saturation=1)
    extremes = torch.tensor([0, 255], dtype=torch.uint8).repeat(8).view(1, 1, 4, 4).expand(64, 3, 4, 4)
    changed = jitter(extremes, generator())
    assert int(changed.int().diff(dim=1).abs().max()) <= 1  # all three channels are equal up to rounding
    bright = jitter(torch.full((64, 1, 4, 4), 200, dtype=torch.uint8), generator())
    assert int(bright.max()) == 255
    assert bool((bright == bright[:, :, :1, :1]).all())


def test_colours_of_an_unknown_range() -> None:
    with pytest.raises(DataError, match=r'Expected uint8 pixels for ColorJitter, found torch\.float32\. .*"crop"'):
        ColorJitter()(torch.zeros(1, 3, 4, 4), generator())


def test_a_rectangle_is_covered_with_the_mean_colour() -> None:
    images = noise(300, 3, 40, 60)
    covered = RandomErasing(chance=1, largest=0.3)(images, generator())
    shares = []
    for image, changed in zip(images, covered, strict=True):
        mean = image.double().mean(dim=(1, 2)).round().to(torch.uint8)
        place = (changed == mean[:, None, None]).all(dim=0)
        rows, columns = (place.any(dim=1 - dim).nonzero()[:, 0] for dim in range(2))
        if not len(rows):
            continue
        box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        assert bool(place[box].all())
        height, width = place[box].shape
        shares.append(height * width / 2400)
        if height * width > 100:
            assert 0.4 < height / 40 / (width / 60) < 2.5
        outside = torch.ones(40, 60, dtype=torch.bool)
        outside[box] = False
        assert torch.equal(changed[:, outside], image[:, outside])
    assert len(shares) > 250
    assert 0.25 < max(shares) <= 0.32
    assert float(np.mean(shares)) == pytest.approx(0.15, abs=0.03)


def test_covered_floats_keep_their_mean_colour() -> None:
    images = torch.rand(64, 1, 16, 16)
    covered = RandomErasing(chance=0.5, largest=1)(images, generator())
    changed = (covered != images).flatten(1).any(dim=1)
    assert 16 < int(changed.sum()) < 48
    mean = functional.adaptive_avg_pool2d(images, 1).expand_as(images)
    torch.testing.assert_close(covered[covered != images], mean[covered != images])


@pytest.mark.parametrize(
    ("kind", "amounts", "said"),
    [
        (RandomCrop, {"smallest": 0.0}, r"Expected smallest to be in \(0, 1\], got 0.0"),
        (RandomFlip, {"chance": 1.5}, r"Expected chance to be in \[0, 1\], got 1.5"),
        (ColorJitter, {"contrast": -0.1}, r"Expected contrast to be in \[0, 1\], got -0.1"),
        (RandomErasing, {"largest": 2}, r"Expected largest to be in \[0, 1\], got 2"),
        (RandomErasing, {"chance": float("nan")}, "Expected chance"),
    ],
)
def test_amounts_out_of_range(kind: type, amounts: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        kind(**amounts)
