from __future__ import annotations

import numpy as np
import pytest

from pairsim.data import ClassIndex, stratified_split


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_split_is_stratified_seeded_and_whole(fraction: float) -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    index = ClassIndex.from_labels(labels)
    kept, held = stratified_split(index, fraction, seed=4)
    assert sorted([*kept, *held]) == list(range(71))
    assert [int((labels[held] == c).sum()) for c in range(3)] == [round(50 * fraction), round(20 * fraction), 0]
    assert (stratified_split(index, fraction, seed=4)[1] == held).all()
    assert not np.array_equal(stratified_split(index, fraction, seed=5)[1], held)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_needs_a_share(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"to be in \(0, 1\)"):
        stratified_split(ClassIndex.from_labels(np.array([0, 1])), fraction)


def test_named_images_are_split_the_same_in_any_order() -> None:
    names = [f"{number}.png" for number in range(40)]
    labels = np.arange(40) % 2
    _, held = stratified_split(ClassIndex.from_labels(labels), 0.25, names=names)
    turn = np.random.default_rng(0).permutation(40)
    _, turned = stratified_split(ClassIndex.from_labels(labels[turn]), 0.25, names=[names[place] for place in turn])
    assert {names[turn[place]] for place in turned} == {names[place] for place in held}


def test_an_image_that_comes_moves_at_most_one_other_of_its_class() -> None:
    for num in range(5, 60):
        before, after = (
            {
                f"{place}"
                for place in stratified_split(ClassIndex.from_labels(np.zeros(n, int)), 0.2, names=range_of(n))[1]
            }
            for n in (num, num + 1)
        )
        assert len(before - after) <= 1
        assert len(after - before - {f"{num}"}) <= 1


def range_of(num: int) -> list[str]:
    return [str(number) for number in range(num)]


def test_every_class_keeps_an_image() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    kept, held = stratified_split(ClassIndex.from_labels(labels), 0.99)
    assert set(labels[kept].tolist()) == {0, 1, 2}
    assert labels[held].tolist() == [1, 2, 2]
