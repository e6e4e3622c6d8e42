"""Known maps are recovered within a part of a pixel, and similarities are those of a plain loop in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from photographs import photograph
from PIL import Image, ImageDraw
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.affine_maps import composed, inverse
from pairsim.audits.duplicates.matching.registration import (
    COARSE,
    FINE,
    Frames,
    aligned,
    frames,
    in_blocks,
    locally_normalized,
    moved,
    paired_similarities,
    plausible,
    promising,
    registered,
    similarities,
)

SCALE = 8
"""Pixels of the picture below to one of a grey copy."""


def grey_picture(seed: int, height: int = 48, width: int = 64) -> Image.Image:
    """A picture of which grey copies are cut, 8 times as large."""
    return Image.fromarray(photograph(seed, height * SCALE, width * SCALE)).convert("L")


def reduced(picture: Image.Image) -> Frames:
    return frames([np.asarray(picture.reduce(SCALE))])


def warped(picture: Image.Image, affine: Tensor) -> Image.Image:
    """Move a picture by a map from coordinates of the result to those of the picture."""
    half = max(picture.size) / 2
    centre = np.array(picture.size) / 2
    linear = affine[:, :2].double().numpy()
    shift = affine[:, 2].double().numpy() * half + centre - linear @ centre
    data = (*linear[0], shift[0], *linear[1], shift[1])
    return picture.transform(picture.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)


MAPS = {
    "shift": [[1.0, 0.0, 0.07], [0.0, 1.0, -0.05]],
    "rotation": [[math.cos(0.05), -math.sin(0.05), 0.0], [math.sin(0.05), math.cos(0.05), 0.02]],
    "larger": [[1.06, 0.0, -0.03], [0.0, 1.06, 0.0]],
    "smaller and stretched": [[0.94, 0.0, 0.0], [0.0, 0.98, 0.03]],
    "mirrored": [[-1.0, 0.0, 0.04], [0.0, 1.0, 0.02]],
    "turned": [[0.0, -1.0, 0.03], [1.0, 0.0, 0.0]],
}
STARTS = {"mirrored": [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "turned": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]}


def registered_finely(first: Frames, second: Frames, start: Tensor) -> Tensor:
    return registered(first, second, registered(first, second, start, COARSE), FINE)


def error_in_pixels(found: Tensor, exact: Tensor) -> float:
    """The largest distance within the middle of a picture, in pixels of a grey copy of 64."""
    places = torch.tensor([[x, y, 1.0] for x in (-0.6, 0.0, 0.6) for y in (-0.4, 0.0, 0.4)])
    return float((places @ (found - exact).T).norm(dim=1).max()) * 32


@pytest.mark.parametrize("name", MAPS)
def test_known_maps_are_recovered(name: str) -> None:
    exact = torch.tensor(MAPS[name])
    for seed in range(3):
        picture = grey_picture(seed, 64, 64)
        first, second = reduced(warped(picture, exact)), reduced(picture)
        start = torch.tensor(STARTS.get(name, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        assert error_in_pixels(start, exact) > 0.7
        (found,) = registered_finely(first, second, start[None])
        assert error_in_pixels(found, exact) < 0.25


def test_light_contrast_and_a_text_do_not_move_it() -> None:
    exact = torch.tensor(MAPS["shift"])
    picture = grey_picture(3)
    copy = warped(picture, exact).point(lambda value: int(0.6 * value + 50))
    ImageDraw.Draw(copy).rectangle((100, 120, 330, 200), fill=255, outline=0, width=20)
    (found,) = registered_finely(reduced(copy), reduced(picture), torch.eye(2, 3)[None])
    assert error_in_pixels(found, exact) < 0.35


def test_each_pair_is_registered_alone() -> None:
    many = frames([np.asarray(grey_picture(seed).reduce(SCALE)) for seed in range(5)] * 14)
    other = Frames(many.pixels.roll(1, dims=2), many.sizes)
    starts = torch.eye(2, 3).expand(70, 2, 3)
    together = registered(many, other, starts, COARSE)
    alone = torch.cat([registered(many[k : k + 1], other[k : k + 1], starts[k : k + 1], COARSE) for k in (0, 4, 66)])
    torch.testing.assert_close(together[[0, 4, 66]], alone, atol=1e-4, rtol=0)
    assert registered(many[:0], other[:0], starts[:0], FINE).shape == (0, 2, 3)


def test_pictures_of_one_colour_give_finite_maps() -> None:
    plain, textured = frames([np.full((64, 64), 90, np.uint8)] * 2), frames([np.asarray(grey_picture(4).reduce(8))] * 2)
    for first, second in ((plain, plain), (plain, textured), (textured, plain)):
        assert registered_finely(first, second, torch.eye(2, 3).repeat(2, 1, 1)).isfinite().all()


def test_what_promises_something() -> None:
    same = frames([np.asarray(grey_picture(seed).reduce(SCALE)) for seed in range(3)] * 30)
    others = Frames(same.pixels.roll(1, dims=0), same.sizes)
    unmoved = torch.eye(2, 3).repeat(90, 1, 1)
    assert promising(same, same, unmoved).all()
    assert not promising(same, others, unmoved).any()
    assert promising(same, Frames(0.5 * same.pixels + 60, same.sizes), unmoved).all()
    assert promising(same[:0], same[:0], unmoved[:0]).shape == (0,)


def test_frames_fill_the_rest_with_the_nearest_pixels() -> None:
    found = frames([np.array([[1, 2], [3, 4]], np.uint8), np.zeros((64, 64), np.uint8)])
    assert found.sizes.tolist() == [[2, 2], [64, 64]]
    assert (found.pixels[0, 1:, 1:] == 4).all()
    assert (found.pixels[0, 0, 1:] == 2).all()
    assert len(frames([]).pixels) == len(frames([]).sizes) == 0


def test_moved_samples_between_pixels() -> None:
    ramp = frames([np.add.outer(2 * np.arange(48), np.arange(64)).astype(np.uint8)])
    halves = torch.tensor([[[1.0, 0.0, 0.5 / 32], [0.0, 1.0, 1.5 / 32]]])
    pixels, inside = moved(ramp, ramp, halves)
    assert inside[0, :46, :63].all()
    assert not inside[0, 47:].any()
    assert not inside[0, :, 64:].any()
    torch.testing.assert_close(pixels[0, :46, :63], ramp.pixels[0, :46, :63] + 2 * 1.5 + 0.5, atol=1e-2, rtol=0)


def test_local_normalization_is_that_of_a_plain_loop() -> None:
    grey = torch.from_numpy(np.array(grey_picture(5).reduce(SCALE))).float()
    pixels = torch.zeros(64, 64)
    pixels[:48] = grey
    inside = torch.zeros(64, 64)
    inside[:40, 5:] = 1.0
    found = locally_normalized(pixels[None], inside[None])[0].double()
    assert not found[inside == 0].any()
    distance = np.arange(64)[:, None] - np.arange(64)
    window = torch.from_numpy(np.exp(-(distance**2) / 32))
    exact, mask = pixels.double(), inside.double()

    def blurred(values: Tensor) -> Tensor:
        weights = torch.einsum("ay,yx,bx->ab", window, mask, window)
        return torch.einsum("ay,yx,bx->ab", window, values * mask, window) / weights

    centred = (exact - blurred(exact)) * mask
    expected = centred / (blurred(centred**2) + 9.0).sqrt()
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


# --- similarities ---


def family(count: int = 6) -> tuple[Tensor, Tensor]:
    """Copies with a text, noise, a part missing, and another picture; in one frame."""
    generator = np.random.default_rng(0)
    base = np.asarray(grey_picture(6).reduce(SCALE)).astype(float)
    greys = [base, base + generator.normal(0, 10, base.shape), 0.5 * base[:, :54] + 60, base.copy()]
    greys += [np.asarray(grey_picture(7).reduce(SCALE)).astype(float), 0.02 * base + 100]
    greys[3][20:26, 10:40] = 255
    pictures = frames([one.clip(0, 255).astype(np.uint8) for one in greys[:count]])
    maps = torch.eye(2, 3).repeat(count, 1, 1)
    maps[2] = torch.tensor([[32 / 27, 0.0, 5 / 27], [0.0, 32 / 27, 0.0]])  # the left 54 columns
    return aligned(pictures, pictures[torch.zeros(count, dtype=torch.int64)], maps)


def by_loops(pixels: Tensor, inside: Tensor, i: int, j: int) -> tuple[float, float]:
    """Median of the correlations of blocks, weighted by their energy, and the correlation of all; with evidence."""
    a, b = pixels[i].double().numpy(), pixels[j].double().numpy()
    u, v = inside[i].numpy(), inside[j].numpy()
    blocks, weights = [], []
    product = energy_a = energy_b = 0.0
    for y in range(0, 64, 8):
        for x in range(0, 64, 8):
            part = np.s_[y : y + 8, x : x + 8]
            p = float((a[part] * b[part]).sum())
            e, f = float((a[part] ** 2 * v[part]).sum()), float((b[part] ** 2 * u[part]).sum())
            weight = max(math.sqrt(e * f), 1e-6)
            blocks.append(p / weight)
            weights.append(weight)
            product, energy_a, energy_b = product + p, energy_a + e, energy_b + f
    reached = 0.0
    median = 0.0
    for k in sorted(range(64), key=lambda k: -blocks[k]):
        reached += weights[k]
        if reached >= sum(weights) / 2:
            median = blocks[k]
            break
    both = math.sqrt(energy_a * energy_b)
    corners = 1.0
    for one, other_inside in ((a, v), (b, u)):
        mixed = 0.0
        for y in range(63):
            for x in range(63):
                change = one[y + 1, x + 1] - one[y + 1, x] - one[y, x + 1] + one[y, x]
                mixed += change**2 * other_inside[y, x]
        corners *= mixed
    evidence = math.sqrt(min(max(math.sqrt(corners) / 600, 0.2), 1.0))
    limited = [max(-0.99999, min(0.99999, value)) for value in (median, product / max(both, 1e-6))]
    first, second = (math.tanh(math.atanh(value) * evidence) for value in limited)
    return first, second


def test_similarities_are_those_of_plain_loops() -> None:
    pixels, inside = family()
    median, overall = similarities(pixels, inside)
    for i in range(6):
        for j in range(6):
            # a median of blocks jumps where rounding exchanges two, so neighbouring blocks are near each other
            assert (float(median[i, j]), float(overall[i, j])) == pytest.approx(
                by_loops(pixels, inside, i, j), abs=2e-3
            ), (i, j)


def test_paired_similarities_are_the_second_ones() -> None:
    pixels, inside = family()
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    found = paired_similarities(pixels[rows], inside[rows], pixels[columns], inside[columns])
    torch.testing.assert_close(found.view(6, 6), similarities(pixels, inside)[1], atol=1e-4, rtol=0)


def test_a_text_hardly_changes_the_median_and_little_texture_is_little_evidence() -> None:
    pixels, inside = family()
    median, overall = (matrix.numpy() for matrix in similarities(pixels, inside))
    assert median[0, 3] > 0.999  # a text over a tenth
    assert overall[0, 3] < 0.95
    assert median[0, 2] > 0.99  # darker and with less in common
    assert abs(overall[0, 4]) < 0.3
    assert overall[0, 5] < overall[0, 2]


def test_pictures_of_one_colour_are_alike_with_nothing() -> None:
    plain = frames([np.full((64, 64), value, np.uint8) for value in (0, 90)] + [np.asarray(grey_picture(8).reduce(8))])
    shown = aligned(plain, plain, torch.eye(2, 3).repeat(3, 1, 1))
    for matrix in similarities(*shown):
        assert matrix.isfinite().all()
        assert matrix[:2].abs().max() < 1e-3


def test_blocks_are_cut_row_by_row() -> None:
    pixels = torch.arange(2 * 64 * 64).view(2, 64, 64).float()
    blocks = in_blocks(pixels)
    assert blocks.shape == (64, 2, 64)
    assert torch.equal(blocks[8 * 3 + 5, 1].view(8, 8), pixels[1, 24:32, 40:48])


def matrix(angle: float = 0.0, x: float = 1.0, y: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Float64Array:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn @ np.diag([x, y]), shift])


@pytest.mark.parametrize(
    ("map_", "expected"),
    [
        (matrix(), True),
        (matrix(0.5), True),
        (matrix(x=-1.0), True),
        (matrix(x=1.4), True),  # stretched by less than 1.5
        (matrix(x=1.6), False),
        (matrix(x=0.6), False),
        (matrix(shift=(0.3, 0.0)), True),  # 85 % in common
        (matrix(shift=(1.0, 0.0)), False),  # half
        (matrix(shift=(0.0, 5.0)), False),
        (matrix(x=0.5, y=0.5), True),  # a quarter of the other
        (matrix(x=0.4, y=0.4), False),  # 16 % of the other
        (matrix(x=2.1, y=2.1), True),
        (matrix(x=2.5, y=2.5), False),
        (np.zeros((2, 3)), False),
    ],
)
def test_plausible_maps(map_: Float64Array, expected: bool) -> None:
    sizes = torch.tensor([[64.0, 64.0]])
    affine = torch.from_numpy(map_).float()[None]
    assert plausible(affine, sizes, sizes).tolist() == [expected]


def test_what_is_in_common_depends_on_the_shapes() -> None:
    wide, tall = torch.tensor([[32.0, 64.0]]), torch.tensor([[64.0, 32.0]])
    upright, turned = torch.eye(2, 3)[None], torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    assert plausible(upright, wide, wide).item()
    assert plausible(turned, wide, tall).item()
    assert not plausible(upright, wide, tall).item()
    assert plausible(inverse(turned), tall, wide).item()
    assert plausible(composed(turned, turned), wide, wide).item()
