"""Eight orientations of a patch have one description, and matrices move pixels as flips do."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.orientations import (
    FREQUENCIES,
    inverses,
    nearly_standard,
    orientation_matrices,
    oriented,
    standard_orientations,
)

ORIENTATIONS = [(a, b, c) for a, b, c in product((False, True), repeat=3)]


def turned(patch: Float64Array, orientation: tuple[bool, bool, bool]) -> Float64Array:
    """Transpose a patch, then exchange left and right, then top and bottom."""
    transposed, flip_x, flip_y = orientation
    patch = patch.T if transposed else patch
    patch = patch[:, ::-1] if flip_x else patch
    return np.ascontiguousarray(patch[::-1] if flip_y else patch)


def coefficients(patch: Float64Array) -> Tensor:
    """The lowest cosine coefficients of a patch of 16 x 16, by the definition, as small whole numbers `[1, D]`."""
    waves = np.cos(np.pi * np.arange(9)[:, None] * (np.arange(16) + 0.5) / 16)
    found = waves @ patch @ waves.T
    values = np.array([found[i, j] for i, j in FREQUENCIES])
    return torch.from_numpy(np.round(127 * values / np.linalg.norm(values)).astype(np.int8))[None]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_matrices_move_pixels_as_flips_do(orientation: tuple[bool, bool, bool]) -> None:
    """The matrix maps places of the turned patch to places of the patch."""
    patch = np.arange(25.0).reshape(5, 5)
    changed = turned(patch, orientation)
    matrix = orientation_matrices(torch.tensor([orientation]))[0].numpy()
    for y, x in product(range(-2, 3), repeat=2):
        column, row = (matrix @ (x, y)).astype(int)
        assert changed[y + 2, x + 2] == patch[row + 2, column + 2]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_coefficients_are_those_of_the_turned_patch(orientation: tuple[bool, bool, bool]) -> None:
    patch = np.random.default_rng(0).normal(size=(16, 16))
    found = oriented(coefficients(patch), torch.tensor([orientation]))
    assert torch.equal(found, coefficients(turned(patch, orientation)))


def test_inverses_undo_orientations() -> None:
    orientations = torch.tensor(ORIENTATIONS)
    patches = coefficients(np.random.default_rng(1).normal(size=(16, 16))).expand(8, -1)
    assert torch.equal(oriented(oriented(patches, orientations), inverses(orientations)), patches)


@pytest.mark.parametrize("seed", range(5))
def test_all_eight_have_one_standard_orientation(seed: int) -> None:
    patch = np.random.default_rng(seed).normal(size=(16, 16))
    described = [coefficients(turned(patch, one)) for one in ORIENTATIONS]
    standard = torch.cat([oriented(one, standard_orientations(one)) for one in described])
    assert (standard == standard[0]).all()
    assert standard[0, 0] >= standard[0, 1] >= 0
    horizontal, vertical = FREQUENCIES[:2]
    assert (horizontal, vertical) == ((0, 1), (1, 0))


@pytest.mark.parametrize(
    ("lowest", "expected"),
    [
        ((90, 40), {(False, False, False)}),
        ((90, 80), {(False, False, False), (True, False, False)}),
        ((90, 10), {(False, False, False), (False, False, True)}),
        ((20, 10), {(a, False, c) for a in (False, True) for c in (False, True)}),
        ((14, 0), set(ORIENTATIONS)),
    ],
)
def test_changes_that_could_be_standard(lowest: tuple[int, int], expected: set[tuple[bool, bool, bool]]) -> None:
    descriptions = torch.zeros(2, len(FREQUENCIES), dtype=torch.int8)
    descriptions[0, :2] = torch.tensor((90, 40))  # has only the standard orientation
    descriptions[1, :2] = torch.tensor(lowest)
    found = {tuple(change.tolist()) for queries, change in nearly_standard(descriptions) if 1 in queries.tolist()}
    assert found == expected
    assert {tuple(change.tolist()) for queries, change in nearly_standard(descriptions) if 0 in queries.tolist()} == {
        (False, False, False)
    }
