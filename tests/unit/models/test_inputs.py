"""Whatever encode takes becomes batches: read once, in order, failures included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel, encode_dataset
from pairsim.data import ImageTensors
from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing
from pairsim.models.inputs import image_batches

PREPROCESSING = Preprocessing(image_size=(6, 6), channels=1)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(50):
        found.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((6, 6), number, np.uint8)).save(found[-1])
    return found


@pytest.mark.parametrize("batch_size", [1, 7, 8, 50, 300])
@pytest.mark.parametrize("as_generator", [True, False])
def test_pictures_come_in_order_and_in_batches(paths: list[Path], batch_size: int, as_generator: bool) -> None:
    found = image_batches(iter(paths) if as_generator else paths, PREPROCESSING, batch_size)
    batches = list(found.batches)
    assert [int(image[0, 0, 0]) for batch in batches for image in batch] == list(range(50))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert found.num_images == (None if as_generator else 50)


def test_a_path_that_comes_twice_is_read_once(paths: list[Path]) -> None:
    asked: list[Path | str] = [paths[3], paths[1], str(paths[3]), paths[1], paths[2]]
    found = image_batches([*asked], PREPROCESSING, 8)
    assert found.places is not None
    pixels = torch.cat(list(found.batches))
    assert len(pixels) == 3
    assert pixels[found.places][:, 0, 0, 0].tolist() == [3, 1, 3, 1, 2]


@pytest.mark.parametrize("place", [0, 20, 49])
def test_an_unreadable_picture_is_named(paths: list[Path], place: int) -> None:
    paths[place].write_bytes(b"no picture")
    model = SimilarityModel(EmbeddingNet(image_size=6))
    with pytest.raises(ImageReadError, match=rf"{place}\.png to be an image"):
        model.encode(paths, batch_size=16)


def test_the_first_of_several_failures_is_told(paths: list[Path]) -> None:
    for place in (45, 12, 30):
        paths[place].unlink()
    with pytest.raises(ImageReadError, match=r"12\.png"):
        list(image_batches(paths, PREPROCESSING, 50).batches)


def test_a_generator_is_not_read_far_ahead(paths: list[Path]) -> None:
    asked: list[int] = []

    def endless() -> object:
        number = 0
        while True:
            asked.append(number)
            yield paths[number % 50]
            number += 1

    found = image_batches(endless(), PREPROCESSING, 8)  # type: ignore[arg-type]
    assert len(next(found.batches)) == 8
    assert len(asked) < 100
    found.batches.close()


def test_encode_of_files_equals_that_of_their_pixels(paths: list[Path]) -> None:
    model = SimilarityModel(EmbeddingNet(image_size=6)).eval()
    pixels = torch.arange(50, dtype=torch.uint8).view(-1, 1, 1, 1).expand(50, 1, 6, 6)
    torch.testing.assert_close(model.encode(paths, batch_size=16), model.encode(pixels), rtol=0, atol=1e-6)


def test_a_dataset_is_answered_with_the_function_for_it() -> None:
    images = ImageTensors(torch.zeros(4, 28, 28, dtype=torch.uint8), [0, 0, 1, 1])
    with pytest.raises(TypeError, match=r"got a ImageTensors\. Use pairsim\.encode_dataset\(model, dataset\)"):
        SimilarityModel().encode(images)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [None, 1, 7, 100])
def test_encode_dataset_equals_encode(batch_size: int | None) -> None:
    pixels = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    model = SimilarityModel().eval()
    images = ImageTensors(pixels, range(20))
    expected = model.encode(pixels)
    torch.testing.assert_close(encode_dataset(model, images, batch_size=batch_size), expected, rtol=0, atol=1e-6)
    places = np.array([5, 0, 19])
    found = encode_dataset(model, images, places=places, batch_size=batch_size)
    torch.testing.assert_close(found, expected[[5, 0, 19]], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="Expected images to embed, found none"):
        encode_dataset(model, images, places=places[:0])
