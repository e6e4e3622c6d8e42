"""Blobs are found where they are, and descriptions turn with the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image
from torch import Tensor

from pairsim.audits.duplicates.matching.local_features import (
    COEFFICIENTS,
    LENGTH,
    NUM_FEATURES,
    Features,
    coarse_values,
    describe_pictures,
)
from pairsim.audits.duplicates.matching.orientations import FLIP_X, FLIP_Y, FREQUENCIES, TRANSPOSED

SIDE = 96


def canvas(seed: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    """A picture in the upper left corner of a canvas, float32 `[96, 96]`."""
    grey = np.asarray(Image.fromarray(photograph(seed, height, width)).convert("L"))
    return torch.from_numpy(np.pad(grey, ((0, SIDE - height), (0, SIDE - width)), mode="edge").astype(np.float32))


def blob(x: float, y: float, sigma: float, height: float = 100.0) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    return 50 + height * torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2))


def as_it_is(found: Features) -> Tensor:
    """The description of the first patch, turned back from its standard orientation."""
    transposed, flip_x, flip_y = found.orientation[0].tolist()
    values = found.description[0].int() * (FLIP_X if flip_x else 1) * (FLIP_Y if flip_y else 1)
    return values[TRANSPOSED] if transposed else values


@pytest.mark.parametrize("sigma", [2.5, 5.0, 8.0])
@pytest.mark.parametrize("height", [100.0, -40.0])
def test_a_blob_is_found_at_its_place_and_scale(sigma: float, height: float) -> None:
    found = describe_pictures(blob(40.5, 56.5, sigma, height)[None], torch.tensor([[SIDE, SIDE]]))
    centres = (found.place[1:, :, 2] + 1) * SIDE / 2
    near = (centres - torch.tensor([40.5, 56.5])).norm(dim=1) < max(1.5, sigma / 3)
    assert near.any()
    scales = found.place[1:, 0, 0][near] * SIDE / (1.1 * 16)  # a patch is 16 samples of 1.1 sigma wide
    # differences of Gaussians respond most to a Gaussian where the mean of both scales is near its own
    assert ((scales / sigma).log().abs() < 0.35).any()


def test_sizes_and_order() -> None:
    canvases = torch.stack([canvas(0), torch.full((SIDE, SIDE), 80.0), canvas(1, 50, 96), canvas(2, 96, 30)])
    sizes = torch.tensor([[96, 96], [96, 96], [50, 96], [96, 30]])
    found = describe_pictures(canvases, sizes)
    assert len(found) == len(found.picture) == len(found.place) == len(found.orientation) == len(found.description)
    assert found.picture.tolist() == sorted(found.picture.tolist())
    assert found.picture.unique().tolist() == [0, 1, 2, 3]
    counts = found.picture.bincount().tolist()
    assert counts[1] == 1  # one colour has no blob, but is described as a whole
    assert all(10 < counts[row] <= NUM_FEATURES + 1 for row in (0, 2))
    assert (found.description.dtype, found.description.shape[1]) == (torch.int8, len(COEFFICIENTS))
    for row, size in enumerate(sizes.tolist()):
        first = int((found.picture == row).nonzero()[0])
        half = [size[1] / max(size), size[0] / max(size)]
        torch.testing.assert_close(found.place[first], torch.tensor([[half[0], 0.0, 0.0], [0.0, half[1], 0.0]]))
        centres = found.place[found.picture == row, :, 2]
        assert (centres.abs() <= torch.tensor(half)).all()


def test_descriptions_have_one_length() -> None:
    found = describe_pictures(canvas(3)[None], torch.tensor([[SIDE, SIDE]]))
    lengths = found.description.double().norm(dim=1)
    assert lengths.sub(LENGTH).abs().max() < 4  # rounding
    assert lengths.min() > 0


def test_light_and_contrast_change_no_description() -> None:
    picture, sizes = canvas(4), torch.tensor([[SIDE, SIDE]])
    one, other = describe_pictures(picture[None], sizes), describe_pictures(0.6 * picture[None] + 40, sizes)
    assert abs(len(one) - len(other)) <= 3
    cosine = one.description.double() @ other.description.double().T / LENGTH**2
    assert cosine.amax(dim=1).quantile(0.1) > 0.99


def test_the_rest_of_the_canvas_does_not_count() -> None:
    part, sizes = canvas(5, 60, 96), torch.tensor([[60, 96]])
    whole = describe_pictures(part[None], sizes)
    other = part.clone()
    other[90:] = 0.0  # far from the picture
    torch.testing.assert_close(describe_pictures(other[None], sizes).place[0], whole.place[0])
    assert torch.equal(describe_pictures(other[None], sizes).description[0], whole.description[0])


def test_frequencies_are_those_of_a_cosine_transform() -> None:
    """The whole of a picture of 16 x 16 averages, described by the definition in float64."""
    picture = canvas(6)
    means = picture.double().view(16, 6, 16, 6).mean(dim=(1, 3)).numpy()
    grid = np.linspace(-1 + 1 / 16, 1 - 1 / 16, 16)
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 0.9**2))
    centred = (means - (means * window).sum() / window.sum()) * window
    expected = []
    for i, j in FREQUENCIES:
        waves = np.cos(np.pi * i * (np.arange(16) + 0.5) / 16)[:, None] * np.cos(np.pi * j * (np.arange(16) + 0.5) / 16)
        expected.append((centred * waves).sum() * np.hypot(i, j))
    scaled = np.array(expected) * LENGTH / np.linalg.norm(expected)
    found = as_it_is(describe_pictures(picture[None], torch.tensor([[SIDE, SIDE]]))).numpy()
    assert np.abs(found - scaled).max() < 0.51


@pytest.mark.parametrize("grid", [4, 8])
def test_a_description_gives_back_coarse_values(grid: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="ij")
    picture = 100 + 40 * torch.sin(3 * columns + 1) * torch.cos(4 * rows) + 20 * columns
    own = as_it_is(describe_pictures(picture[None], torch.tensor([[SIDE, SIDE]])))
    found = torch.einsum("d,dyx->yx", own.double(), coarse_values(grid)).flatten()
    means = picture.view(grid, SIDE // grid, grid, SIDE // grid).mean(dim=(1, 3)).flatten()
    assert np.corrcoef(found, means)[0, 1] > 0.99


def test_signs_and_order_of_turned_pictures() -> None:
    picture = canvas(7)
    sizes = torch.tensor([[SIDE, SIDE]])

    def whole(pixels: Tensor) -> Tensor:
        return as_it_is(describe_pictures(pixels[None].contiguous(), sizes))

    own = whole(picture)
    for changed, expected in (
        (picture.flip(1), own * FLIP_X),
        (picture.flip(0), own * FLIP_Y),
        (picture.T, own[TRANSPOSED]),
    ):
        assert (whole(changed) - expected).abs().max() <= 1


def test_no_pictures() -> None:
    found = describe_pictures(torch.zeros(0, SIDE, SIDE), torch.zeros(0, 2, dtype=torch.int64))
    assert len(found) == 0
