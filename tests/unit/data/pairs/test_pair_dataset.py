from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pairsim import PairDataset
from pairsim.data import ImageTensors
from pairsim.errors import DataError, MissingExtraError


def numbered(num: int = 12) -> ImageTensors:
    return ImageTensors(torch.arange(num, dtype=torch.uint8).view(-1, 1, 1, 1), [n % 3 for n in range(num)])


def test_item() -> None:
    pairs = PairDataset(numbered(), 20)
    first, second, target = pairs[3]
    assert target.dtype == torch.float32
    assert (int(first) % 3 == int(second) % 3) == bool(target)
    assert len(pairs) == 20
    assert len(PairDataset(numbered())) == 12
    assert int(pairs[-1][0]) == int(pairs[19][0])


@pytest.mark.parametrize("index", [20, -21])
def test_index_outside(index: int) -> None:
    with pytest.raises(IndexError, match="Expected a pair number from 0 to 19"):
        PairDataset(numbered(), 20)[index]


def test_numbers_of_pairs_are_whole() -> None:
    with pytest.raises(TypeError, match=r"Expected whole numbers of pairs, got \[1\.5\]"):
        PairDataset(numbered(), 20)[1.5]  # type: ignore[index]


def test_epochs() -> None:
    pairs = PairDataset(numbered(), 50, seed=2)
    before = pairs.all_pairs().hash()
    assert pairs.all_pairs().hash() == before
    pairs.set_epoch(1)
    assert pairs.epoch == 1
    assert pairs.all_pairs().hash() != before
    pairs.set_epoch(0)
    assert pairs.all_pairs().hash() == before
    with pytest.raises(ValueError, match="Expected epoch to be at least 0, got -1"):
        pairs.set_epoch(-1)
    with pytest.raises(ValueError, match=r"Expected epoch to be below 2\*\*63, got 1000"):
        pairs.set_epoch(10**20)


def test_pickle_keeps_pairs_and_epoch() -> None:
    pairs = PairDataset(numbered(), 50, seed=2)
    pairs.set_epoch(3)
    copy = pickle.loads(pickle.dumps(pairs))
    assert copy.epoch == 3
    assert copy.all_pairs().hash() == pairs.all_pairs().hash()


def test_default_collate_gives_float32_targets() -> None:
    first, second, target = next(iter(DataLoader(PairDataset(numbered(), 8), batch_size=8)))
    assert first.shape == second.shape == (8, 1, 1, 1)
    assert target.dtype == torch.float32
    assert target.sum() == 4


def test_each_image_of_a_batch_is_fetched_once() -> None:
    fetched: list[int] = []

    class Counting(ImageTensors):
        def __getitem__(self, index: int) -> Any:
            fetched.append(index)
            return super().__getitem__(index)

    pairs = PairDataset(Counting(numbered(6).images, [0, 0, 0, 1, 1, 1]), 100)
    pairs.__getitems__(list(range(100)))
    assert sorted(fetched) == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"positive_fraction": 1.5}, ValueError, r"Expected positive_fraction to be in \[0, 1\], got 1.5"),
        ({"positive_fraction": float("nan")}, ValueError, "got nan"),
        ({"negatives": "hard"}, ValueError, 'Expected negatives to be "class" or "instance", got \'hard\''),
        ({"num_pairs": 0}, ValueError, "Expected num_pairs to be at least 1, got 0"),
        ({"seed": 1.5}, TypeError, "Expected seed to be a whole number, got 1.5"),
        ({"seed": None}, TypeError, "Expected seed to be a whole number, got None"),
        ({"labels": [1] * 12}, DataError, "Expected at least two classes to draw negative pairs from, found only"),
        ({"labels": range(12)}, DataError, "Expected a class with at least two images"),
        ({"labels": [1, 2]}, DataError, "Expected one label for each of 12 images, found 2"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        PairDataset(numbered(), **arguments)


def test_one_class_is_enough_for_positives_only() -> None:
    pairs = PairDataset(numbered(), 10, labels=[1] * 12, positive_fraction=1.0)
    assert pairs.all_pairs().target.all()


def test_given_pairs() -> None:
    pairs = PairDataset.from_pairs(numbered(), [0, 1], torch.tensor([3, 2]), np.array([1, 0]))
    assert pairs.is_fixed_list
    assert [tuple(map(int, pairs[k])) for k in range(2)] == [(0, 3, 1), (1, 2, 0)]
    pairs.set_epoch(4)
    assert int(pairs[0][0]) == 0


@pytest.mark.parametrize(
    "target",
    [
        torch.tensor([1.0, 0.0], requires_grad=True),
        torch.tensor([1, 0], dtype=torch.bfloat16),
        torch.tensor([True, False]),
        (1.0, 0.0),
    ],
)
def test_targets_of_any_dtype(target: Any) -> None:
    pairs = PairDataset.from_pairs(numbered(), torch.tensor([0, 1]), np.array([3, 2]), target)
    assert pairs.all_pairs().target.tolist() == [1, 0]


@pytest.mark.parametrize("dataset", [None, iter([1, 2])])
def test_given_pairs_need_a_map_style_dataset(dataset: Any) -> None:
    with pytest.raises(TypeError, match="Expected a map-style dataset with a length, got "):
        PairDataset.from_pairs(dataset, [0], [1], [1])


@pytest.mark.parametrize("column", ["group", "kind"])
@pytest.mark.parametrize("value", [float("nan"), None, 3])
def test_texts_are_texts(column: str, value: Any) -> None:
    columns: dict[str, Any] = {column: ["a", value]}
    with pytest.raises(DataError, match=f"Expected {column} to hold a text for every .*, got others or empty ones"):
        PairDataset.from_pairs(numbered(), [0, 1], [3, 2], [1, 0], **columns)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (([0], [1, 2], [1]), r"Expected one value per pair in every column, \[P\], got shapes .*'second': \[2\]"),
        (([], [], []), "Expected at least one pair, found none"),
        (([0], [1], [2]), r"Expected every target to be 1 \(same class\) or 0 \(different\), got 2"),
        (([0], [12], [1]), "Expected second to hold image numbers from 0 to 11, found 12"),
        (([-1], [1], [1]), "Expected first to hold whole numbers from 0, got -1"),
        (([0.5], [1], [1]), "Expected first to hold whole numbers from 0, got dtype float64"),
        (([4, 5], [4, 6], [1, 0]), "found 1 pairs of an image with itself, the first at position 0"),
    ],
)
def test_bad_pairs(columns: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        PairDataset.from_pairs(numbered(), *columns)


def test_numbers_of_no_regular_shape() -> None:
    with pytest.raises(TypeError, match=r"Expected first to be an array, .*got list"):
        PairDataset.from_pairs(numbered(), [[0], [1, 2]], [1], [1])  # type: ignore[list-item]


def test_dataframe() -> None:
    table = PairDataset(numbered(), 10, labels=list("abcabcabcabc")).to_dataframe()
    assert list(table.columns) == ["first", "second", "target", "first_label", "second_label"]
    assert ((table.first_label == table.second_label) == (table.target == 1)).all()


def test_dataframe_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'pairsim\[table\]'"):
        PairDataset(numbered(), 10).to_dataframe()


def test_without_set_epoch_the_pairs_are_those_of_epoch_0() -> None:
    pairs = PairDataset(numbered(), 30, seed=4)
    once = [tuple(map(int, pairs[k])) for k in range(30)]
    assert [tuple(map(int, pairs[k])) for k in range(30)] == once
    assert pairs.all_pairs().hash() == pairs.pairs_at(np.arange(30), epoch=0).hash()


@pytest.mark.parametrize("copied", [pickle.loads, copy.deepcopy])
def test_copies_reach_their_running_workers_too(copied: Any) -> None:
    original = PairDataset(numbered(), 32, seed=9)
    pairs = copied(pickle.dumps(original)) if copied is pickle.loads else copied(original)
    loader = DataLoader(pairs, batch_size=16, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    for epoch in (0, 3):
        pairs.set_epoch(epoch)
        found = torch.cat([first.flatten() for first, _, _ in loader])
        assert found.tolist() == pairs.all_pairs().first.tolist()
    assert original.epoch == 0


@pytest.mark.slow
def test_a_new_epoch_reaches_spawned_workers() -> None:
    pairs = PairDataset(numbered(), 32, seed=9)
    loader = DataLoader(pairs, batch_size=16, num_workers=1, persistent_workers=True, multiprocessing_context="spawn")
    for epoch in (0, 3):
        pairs.set_epoch(epoch)
        found = torch.cat([first.flatten() for first, _, _ in loader])
        assert found.tolist() == pairs.all_pairs().first.tolist()


def test_a_dataset_of_bare_images_needs_labels_only() -> None:
    pairs = PairDataset(numbered().images, 10, labels=[n % 3 for n in range(12)])
    first, second, target = pairs[0]
    assert (int(first) % 3 == int(second) % 3) == bool(target)


def test_dataframe_of_given_pairs_has_no_labels() -> None:
    table = PairDataset.from_pairs(numbered(), [0, 1], [3, 2], [1, 0]).to_dataframe()
    assert table.to_dict("list") == {"first": [0, 1], "second": [3, 2], "target": [1, 0]}


def test_dataframe_is_of_the_epoch_that_was_set() -> None:
    pairs = PairDataset(numbered(), 40)
    pairs.set_epoch(2)
    assert pairs.to_dataframe()["first"].tolist() == pairs.pairs_at(np.arange(40), epoch=2).first.tolist()


def test_pair_targets_may_be_bool_but_not_missing() -> None:
    assert PairDataset.from_pairs(numbered(), [0], [3], [True]).all_pairs().target.tolist() == [1]
    with pytest.raises(DataError, match="Expected every target to be 1"):
        PairDataset.from_pairs(numbered(), [0], [3], [float("nan")])  # type: ignore[list-item]
    with pytest.raises(DataError, match="Expected first to hold whole numbers from 0, got dtype float64"):
        PairDataset.from_pairs(numbered(), [0.0], [3], [1])  # type: ignore[list-item]
