from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from pairsim.data import RandomAffine


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blob(height: int = 32, width: int = 32) -> Tensor:
    """A white square with its middle at (x, y) = (20, 8), on black."""
    image = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    image[..., 6:10, 18:22] = 255
    return image


def middle(image: Tensor) -> tuple[float, float]:
    weights = image[0, 0].double()
    ys, xs = torch.meshgrid(*(torch.arange(size) + 0.5 for size in weights.shape), indexing="ij")
    return float((weights * xs).sum() / weights.sum()), float((weights * ys).sum() / weights.sum())


def draw(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let the five amounts be these, each in [-1, 1]."""
    given = (torch.tensor(values).view(5, 1) + 1) / 2
    monkeypatch.setattr(torch, "rand", lambda *_, **__: given.clone())


def test_nothing_to_change_changes_nothing() -> None:
    images = torch.randint(0, 256, (3, 3, 7, 9), dtype=torch.uint8)
    still = RandomAffine(degrees=0, scale=0, translate=0)
    assert torch.equal(still(images, generator()), images)
    floats = torch.rand(2, 1, 5, 5)
    torch.testing.assert_close(still(floats, generator()), floats, rtol=0, atol=1e-5)


def test_shift_is_a_share_of_width_and_height(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, 0, 0, 1, -0.5, 0)
    moved = RandomAffine(degrees=0, scale=0, translate=0.25)(blob(32, 40), generator())
    assert middle(moved) == pytest.approx((20 + 10, 8 - 4), abs=0.05)


def test_a_quarter_turn_is_one_of_pixels_even_where_sides_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, 1, 0, 0, 0, 0)
    turned = RandomAffine(degrees=90, scale=0, translate=0)(blob(32, 40), generator())
    # (20, 8) is 8 above the middle (20, 16) of a picture of 40 x 32; y points down, so it comes to its right
    assert middle(turned) == pytest.approx((28, 16), abs=0.05)


def test_scale_above_one_enlarges(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, 0, 1, 0, 0, 0)
    larger = RandomAffine(degrees=0, scale=0.5, translate=0)(blob(), generator())
    assert middle(larger) == pytest.approx((16 + 1.5 * 4, 16 - 1.5 * 8), abs=0.05)
    assert float(larger.double().sum() / blob().double().sum()) == pytest.approx(1.5**2, rel=0.05)


def test_shear_moves_rows_sideways(monkeypatch: pytest.MonkeyPatch) -> None:
    draw(monkeypatch, 0, 0, 0, 0, 1)
    sheared = RandomAffine(degrees=0, scale=0, translate=0, shear=26.565)(blob(), generator())  # tangent 0.5
    assert middle(sheared) == pytest.approx((20 - 0.5 * 8, 8), abs=0.05)


def test_each_image_has_its_own_amounts_within_the_limits() -> None:
    affine = RandomAffine(degrees=10, scale=0.1, translate=0.1)
    maps = affine.maps(2000, 28, 28, generator()).double()
    turned = torch.atan2(maps[:, 0, 1], maps[:, 0, 0]).rad2deg()
    size = 1 / torch.linalg.det(maps[:, :, :2]).sqrt()
    shift = -torch.linalg.solve(maps[:, :, :2], maps[:, :, 2]) / 2
    for values, limit in ((turned, 10), (size - 1, 0.1), (shift[:, 0], 0.1), (shift[:, 1], 0.1)):
        assert float(values.abs().max()) <= limit * (1 + 1e-4)
        assert float(values.abs().max()) > 0.95 * limit
        assert float(values.mean()) == pytest.approx(0, abs=0.05 * limit)


def test_same_as_torch_affine_grid() -> None:
    images = torch.rand(5, 2, 9, 13)
    affine = RandomAffine(degrees=40, scale=0.3, translate=0.2, shear=20)
    grid = functional.affine_grid(affine.maps(5, 9, 13, generator()), [5, 2, 9, 13], align_corners=False)
    expected = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(affine(images, generator()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.bfloat16])
def test_dtype_is_kept_and_the_background_stays(dtype: torch.dtype) -> None:
    paper = torch.full((64, 1, 12, 12), 200, dtype=dtype)
    changed = RandomAffine(degrees=45, translate=0.5)(paper, generator())
    assert changed.dtype == dtype
    torch.testing.assert_close(changed, paper, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ({"degrees": 181}, r"Expected degrees to be in \[0, 180\], got 181"),
        ({"scale": 1.0}, r"Expected scale to be in \[0, 1\), got 1.0"),
        ({"translate": -0.1}, r"Expected translate to be in \[0, 1\], got -0.1"),
        ({"shear": 90}, r"Expected shear to be in \[0, 90\), got 90"),
        ({"degrees": float("nan")}, "Expected degrees"),
    ],
)
def test_amounts_out_of_range(amount: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RandomAffine(**amount)
