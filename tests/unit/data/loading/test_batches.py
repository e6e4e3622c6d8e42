from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pairsim import PairDataset
from pairsim.data import ClassBalancedBatches, ClassIndex, ImageTensors
from pairsim.data.loading.batches import PairBatches, SequentialBatches


def balanced(labels: Any, batch_size: int = 8, **settings: Any) -> ClassBalancedBatches:
    groups = settings.pop("groups", None)
    given = None if groups is None else np.asarray(groups)
    return ClassBalancedBatches(ClassIndex.from_labels(np.asarray(labels)), batch_size, groups=given, **settings)


def test_pairs_come_as_first_images_then_second_images(digits: ImageTensors) -> None:
    pairs = PairDataset(digits, 50, seed=3)
    plan = PairBatches(pairs, 16)
    assert (plan.num_batches, plan.num_images) == (4, 100)
    batches = [plan.batch(2, number) for number in range(4)]
    assert [len(targets) for _, targets in batches] == [16, 16, 16, 2]
    expected = pairs.pairs_at(np.arange(50), epoch=2)
    assert np.concatenate([images[: len(t)] for images, t in batches]).tolist() == expected.first.tolist()
    assert np.concatenate([images[len(t) :] for images, t in batches]).tolist() == expected.second.tolist()
    targets = torch.cat([t for _, t in batches])
    assert targets.dtype == torch.float32
    assert targets.tolist() == expected.target.tolist()


def test_given_pairs_are_shuffled_each_epoch_and_all_there(digits: ImageTensors) -> None:
    pairs = PairDataset.from_pairs(digits, range(30), range(30, 60), [0] * 30)
    plan = PairBatches(pairs, 8)

    def firsts(plan: PairBatches, epoch: int) -> list[int]:
        parts = [plan.batch(epoch, number) for number in range(plan.num_batches)]
        return [int(number) for images, targets in parts for number in images[: len(targets)]]

    assert sorted(firsts(plan, 0)) == list(range(30))
    assert firsts(plan, 0) != firsts(plan, 1)
    assert firsts(plan, 0) == firsts(PairBatches(pairs, 7), 0)  # whatever the batch size, and after another epoch


def test_groups_of_a_class_stay_together() -> None:
    labels = np.repeat([0, 1, 2, 3], [40, 7, 2, 1])
    plan = balanced(labels, images_per_class=4)
    for epoch in range(20):
        codes = labels[plan.epoch_order(epoch)]
        for index, code in enumerate(codes):
            neighbours = codes[max(index - 1, 0) : index + 2]
            assert (neighbours == code).sum() >= (2 if code != 3 else 1)


def test_a_class_is_spread_over_the_epoch() -> None:
    labels = np.repeat(np.arange(10), 40)
    order = balanced(labels, images_per_class=4).epoch_order(0)
    half = np.bincount(labels[order[:200]], minlength=10)
    assert ((half >= 16) & (half <= 24)).all()


def test_order_is_a_function_of_seed_and_epoch() -> None:
    labels = np.arange(60) % 6
    plan = balanced(labels, seed=1)
    zero, one = plan.epoch_order(0).tolist(), plan.epoch_order(1).tolist()
    assert zero != one
    assert plan.epoch_order(0).tolist() == zero  # also after another epoch was asked for
    assert balanced(labels, seed=0).epoch_order(1).tolist() != zero
    assert balanced(labels, seed=1, batch_size=60).epoch_order(0).tolist() == zero


def test_classes_of_a_group_of_the_data_come_together() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(20), 8))  # two classes of each writer
    for seed in range(10):
        order = balanced(labels, 32, groups=[f"writer {label // 2}" for label in labels], seed=seed).epoch_order(1)
        for eight in labels[order].reshape(-1, 8):
            assert sorted(eight) == sorted([eight[0]] * 4 + [eight[0] ^ 1] * 4)
    alone = labels[balanced(labels, 32).epoch_order(1)].reshape(-1, 8) // 2
    assert any(len(set(eight)) > 1 for eight in alone.tolist())


def test_a_small_class_joins_some_images_of_a_large_one() -> None:
    labels = np.repeat([0, 1, 2, 3, 4, 5], [12, 4, 12, 4, 12, 4])
    plan = balanced(labels, 16, groups=labels // 2, seed=3)
    places = set()
    for epoch in range(30):
        codes = labels[plan.epoch_order(epoch)].tolist()
        for small in (1, 3, 5):
            place = codes.index(small)
            assert codes[place - 4 : place + 4] == [small - 1] * 4 + [small] * 4
            places.add(codes[:place].count(small - 1))
    assert places == {4, 8, 12}  # with the first, the second or the third four


def test_other_groups_of_the_data_change_nothing() -> None:
    labels = np.random.default_rng(0).integers(0, 12, 100)
    expected = balanced(labels, 16, seed=3).epoch_order(2).tolist()
    inside, whole = 10 * labels + np.arange(100) % 3, np.zeros(100)
    chained = (labels + np.arange(100) % 2) // 2  # which binds each class to the next
    for groups in (None, inside, whole, chained, labels):
        assert balanced(labels, 16, groups=groups, seed=3).epoch_order(2).tolist() == expected
    pairs = labels // 2  # 2 classes of 4 images are half of 16, and more than half of 15
    assert balanced(labels, 16, groups=pairs, seed=3).epoch_order(2).tolist() != expected
    assert balanced(labels, 15, groups=pairs, seed=3).epoch_order(2).tolist() == expected


def test_every_image_needs_its_group() -> None:
    with pytest.raises(ValueError, match="Expected one group for each of 4 images, got 3"):
        balanced([0, 0, 1, 1], groups=[0, 0, 1])


@pytest.mark.parametrize(("num", "batch_size", "sizes"), [(10, 4, {3, 4}), (8, 8, {8}), (5, 100, {5}), (3, 1, {1})])
def test_batches_are_of_nearly_one_size(num: int, batch_size: int, sizes: set[int]) -> None:
    plan = balanced(np.arange(num) % 2, batch_size)
    assert {len(plan.batch(0, number)[0]) for number in range(plan.num_batches)} == sizes


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"batch_size": -1}, {"images_per_class": 0}])
def test_sizes_are_checked(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Expected batch_size and images_per_class to be at least 1, got"):
        balanced([0, 1], **settings)


def test_sequential_batches_are_in_order() -> None:
    plan = SequentialBatches(np.array([5, 3, 9]), 2)
    assert (plan.num_batches, plan.num_images) == (2, 3)
    assert [plan.batch(epoch, number)[0].tolist() for epoch in (0, 1) for number in (0, 1)] == [[5, 3], [9]] * 2
    assert SequentialBatches(np.array([], dtype=np.int64), 2).num_batches == 0


def test_an_epoch_may_take_some_of_the_given_pairs(digits: ImageTensors) -> None:
    numbers = np.arange(40)
    pairs = PairDataset.from_pairs(digits, numbers, numbers + 1, numbers % 2)
    plan = PairBatches(pairs, 4, num_pairs=10)
    assert (plan.num_batches, plan.num_images) == (3, 20)
    epochs = [[first for number in range(3) for first in _firsts(plan, epoch, number)] for epoch in range(30)]
    assert all(len(set(firsts)) == len(firsts) == 10 for firsts in epochs)
    assert set().union(*epochs) == set(range(40))
    assert PairBatches(pairs, 4, num_pairs=1000).num_images == 80


def _firsts(plan: PairBatches, epoch: int, number: int) -> list[int]:
    images, targets = plan.batch(epoch, number)
    return [int(image) for image in images[: len(targets)]]
