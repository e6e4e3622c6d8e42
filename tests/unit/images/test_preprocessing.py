from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pairsim.images import Preprocessing
from pairsim.images.preprocessing import central_part, channel_statistics


def test_equals_to_tensor_and_normalize() -> None:
    from torchvision.transforms import v2

    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    expected = v2.Normalize(list(mean), list(std))(pixels.float() / 255)
    found = Preprocessing(image_size=(8, 8), channels=3, mean=mean, std=std)(pixels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(Preprocessing(image_size=(8, 8), channels=3)(pixels), pixels.float() / 255)


def test_floating_point_is_passed_on() -> None:
    images = torch.rand(2, 1, 4, 4)
    assert Preprocessing(image_size=(4, 4), channels=1, mean=(0.5,), std=(0.5,))(images) is images


def test_statistics_are_exact() -> None:
    images = torch.randint(0, 256, (300, 2, 5, 5), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    values = images.numpy().transpose(1, 0, 2, 3).reshape(2, -1) / 255.0
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(std, values.std(axis=1), rtol=1e-10)
    assert channel_statistics(torch.zeros(2, 1, 2, 2, dtype=torch.uint8)) == ((0.0,), (1.0,))


def test_round_trip() -> None:
    for preprocessing in (
        Preprocessing(image_size=(4, 5), channels=1),
        Preprocessing(image_size=(4, 5), channels=1, mean=(0.1,), std=(0.2,)),
        Preprocessing(image_size=(4, 5), channels=1, white=4095),
        Preprocessing(image_size=(4, 5), channels=1, central_fraction=0.6),
    ):
        assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_what_is_written_without_white_is_what_version_0_1_0_wrote() -> None:
    """Galleries hold the SHA-256 of it."""
    assert Preprocessing(image_size=(4, 5), channels=1).to_dict() == {
        "image_size": [4, 5],
        "channels": 1,
        "mean": None,
        "std": None,
        "fit": "stretch",
        "interpolation": "bilinear",
    }


def test_pictures_are_read_with_white() -> None:
    pixels = np.array([[0, 1000], [2000, 4095]], np.uint16)
    found = Preprocessing(image_size=(2, 2), channels=1, white=4095).read(Image.fromarray(pixels))
    assert found[0].tolist() == (pixels >> 4).tolist()


def test_what_older_versions_wrote_means_the_same() -> None:
    old = {"image_size": [4, 5], "channels": 1, "mean": [0.1], "std": [0.2]}
    assert Preprocessing.from_dict(old) == Preprocessing(image_size=(4, 5), channels=1, mean=(0.1,), std=(0.2,))
    assert (Preprocessing.from_dict(old).fit, Preprocessing.from_dict(old).interpolation) == ("stretch", "bilinear")


def test_pixels_in_grey_and_in_colour_turn_into_each_other() -> None:
    grey = Preprocessing(image_size=(8, 9), channels=1, mean=(0.3,), std=(0.2,))
    colour = Preprocessing(image_size=(8, 9), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    for channels in (1, 3):
        pixels = torch.randint(0, 256, (40, channels, 8, 9), dtype=torch.uint8)
        for preprocessing in (grey, colour):
            found = preprocessing(pixels)
            expected = preprocessing(torch.stack([preprocessing.read(image) for image in pixels]))
            assert torch.equal(found, expected)
            assert found.shape[1] == preprocessing.channels
    assert grey(torch.rand(2, 3, 8, 9)).shape == (2, 3, 8, 9)  # floating point is passed on
    plain = Preprocessing(image_size=(8, 9), channels=2)
    assert plain(torch.zeros(2, 3, 8, 9, dtype=torch.uint8)).shape == (2, 3, 8, 9)  # which the net refuses


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image_size": (0, 4)}, "Expected image_size as"),
        ({"channels": 0}, "Expected channels to be at least 1"),
        ({"mean": (0.1,)}, "Expected mean and std together"),
        ({"mean": (0.1, 0.2), "std": (1.0, 1.0)}, "Expected mean to have one number for each of 1 channels"),
        ({"mean": (0.1,), "std": (0.0,)}, "Expected std to be positive"),
        ({"central_fraction": 0.0}, r"Expected central_fraction to be in \(0, 1\], got 0.0. Use 1 for whole images"),
        ({"central_fraction": 1.5}, "Expected central_fraction to be in"),
        ({"central_fraction": float("nan")}, "Expected central_fraction to be in"),
    ],
)
def test_bad_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Preprocessing(**{"image_size": (4, 4), "channels": 1, **settings})


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.001, 1.0))
def test_the_central_part_is_central(height: int, width: int, fraction: float) -> None:
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for part, side in ((central_part(rows, fraction)[:, 0], height), (central_part(columns, fraction)[0], width)):
        assert part[0] == side - 1 - part[-1]
        assert abs(len(part) - fraction * side) <= 1 or len(part) in (1, 2)


def test_the_central_part_is_enlarged_to_the_size_of_the_image() -> None:
    from torchvision.transforms.v2 import functional as oracle

    pixels = torch.randint(0, 256, (3, 3, 30, 40), dtype=torch.uint8)
    scale: dict[str, Any] = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    whole = Preprocessing(image_size=(30, 40), channels=3, **scale)
    part = replace(whole, central_fraction=0.6)
    cut = oracle.center_crop(whole(pixels), [18, 24])
    expected = oracle.resize(cut, [30, 40], interpolation=oracle.InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(part(pixels), expected, rtol=0, atol=1e-5)
    grey = Preprocessing(image_size=(30, 40), channels=1, central_fraction=0.6)
    torch.testing.assert_close(grey(pixels), grey(torch.stack([grey.read(image) for image in pixels])))
    floats = torch.rand(2, 3, 30, 40)
    assert part(floats) is floats
    assert torch.equal(replace(part, central_fraction=1.0)(pixels), whole(pixels))


def test_constants_are_sent_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = Preprocessing(image_size=(2, 2), channels=1, mean=(0.123,), std=(0.456,))
    pixels = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    with torch.inference_mode():  # what is made here must serve training too
        expected = preprocessing(pixels).clone()
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: pytest.fail("made again"))
    weight = torch.ones((), requires_grad=True)
    (preprocessing(pixels) * weight).sum().backward()
    assert torch.equal(preprocessing(pixels), expected)
    assert weight.grad is not None


def test_images_of_one_pixel_are_vectors() -> None:
    assert Preprocessing(image_size=(1, 1), channels=512).of_vectors
    assert not Preprocessing(image_size=(1, 2), channels=512).of_vectors


def test_numbers_of_numpy_become_those_of_python() -> None:
    whole: Any = np.int64(8)
    real: Any = np.float32(0.5)
    one, deviations = whole // 8, real * np.array([0.5])
    size = (whole, 8)
    numpy = Preprocessing(
        image_size=size, channels=one, mean=(real,), std=deviations, white=whole, central_fraction=real
    )
    plain = Preprocessing(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.25,), white=8, central_fraction=0.5)
    assert numpy == plain
    assert json.dumps(numpy.to_dict()) == json.dumps(plain.to_dict())
    pixels = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(numpy(pixels), plain(pixels))
