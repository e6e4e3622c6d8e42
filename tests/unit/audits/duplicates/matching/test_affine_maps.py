"""Maps against 3 x 3 matrices of numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.affine_maps import composed, from_linear, inverse

maps = st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=6).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64).view(2, 3)
)


def square(affine: Tensor) -> Float64Array:
    """Return the map as a matrix of homogeneous coordinates."""
    return np.vstack([affine.double().numpy(), [0.0, 0.0, 1.0]])


@given(maps, maps)
def test_composed_is_the_product_of_matrices(outer: Tensor, inner: Tensor) -> None:
    np.testing.assert_allclose(square(composed(outer, inner)), square(outer) @ square(inner), atol=1e-9)


@given(maps.filter(lambda affine: abs(float(torch.linalg.det(affine[:, :2]))) > 0.01))
def test_inverse_is_that_of_the_matrix(affine: Tensor) -> None:
    np.testing.assert_allclose(square(inverse(affine)), np.linalg.inv(square(affine)), atol=1e-6, rtol=1e-6)


def test_many_maps_at_once() -> None:
    outer, inner = torch.randn(2, 4, 5, 2, 3)
    together = composed(outer, inner)
    for row in range(4):
        for column in range(5):
            torch.testing.assert_close(together[row, column], composed(outer[row, column], inner[row, column]))
            torch.testing.assert_close(inverse(outer)[row, column], inverse(outer[row, column]))
    torch.testing.assert_close(composed(outer[0, :1], inner)[2, 3], composed(outer[0, 0], inner[2, 3]))


def test_maps_without_an_inverse_spoil_no_others() -> None:
    flat, shift = torch.zeros(2, 3), torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -3.0]])
    found = inverse(torch.stack([flat, shift]))
    assert found.isfinite().all()
    assert found[1].tolist() == [[1.0, 0.0, -2.0], [0.0, 1.0, 3.0]]


def test_from_linear_has_no_shift() -> None:
    linear = torch.arange(8.0).view(2, 2, 2)
    assert from_linear(linear).tolist() == [[[0, 1, 0], [2, 3, 0]], [[4, 5, 0], [6, 7, 0]]]
