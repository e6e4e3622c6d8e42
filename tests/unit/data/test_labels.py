from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from pairsim.data import ImageTensors, read_labels
from pairsim.errors import DataError


class NeverRead(Dataset[Any]):
    """A dataset whose images must not be touched."""

    def __init__(self, size: int = 4, **attributes: Any) -> None:
        self.size = size
        vars(self).update(attributes)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("an image was decoded")


@pytest.mark.parametrize("values", [[3, 1, 3, 2], torch.tensor([3, 1, 3, 2]), np.array([3, 1, 3, 2]), (3, 1, 3, 2)])
@pytest.mark.parametrize("name", ["targets", "labels", "_labels"])
def test_attributes(name: str, values: Any) -> None:
    assert read_labels(NeverRead(**{name: values})).tolist() == [3, 1, 3, 2]


def test_samples_of_an_image_folder() -> None:
    assert read_labels(NeverRead(2, samples=[("a.png", 1), ("b.png", 0)])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "a", "b"],
        np.array(["a", "b", "a", "b"]),
        np.array(["a", "b", "a", "b"], dtype=object),
        np.array([b"a", b"b", b"a", b"b"]),
    ],
)
def test_strings(values: Any) -> None:
    assert read_labels(NeverRead(), values).tolist() == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    "values", [[np.int64(1), 2, True, np.int32(0)], [torch.tensor(1), 2, 1, 0], [1.0, 2.0, 1.0, 0.0]]
)
def test_numbers_of_any_kind(values: Any) -> None:
    assert read_labels(NeverRead(), values).tolist() == [1, 2, 1, 0]


def test_labels_given_win_over_the_datasets_own() -> None:
    assert read_labels(NeverRead(2, targets=[0, 0]), [5, 6]).tolist() == [5, 6]


def test_through_wrappers() -> None:
    inner = NeverRead(targets=[10, 11, 12, 13])
    assert read_labels(Subset(Subset(inner, [3, 2, 1]), [0, 2])).tolist() == [13, 11]
    assert read_labels(ConcatDataset([inner, Subset(inner, [0])])).tolist() == [10, 11, 12, 13, 10]
    assert read_labels(NeverRead(dataset=inner)).tolist() == [10, 11, 12, 13]
    assert read_labels(TensorDataset(torch.zeros(2, 1), torch.tensor([4, 5]))).tolist() == [4, 5]


class Wrapper(Dataset[Any]):
    """A dataset with changed items around another one."""

    def __init__(self, dataset: Any, change: Callable[[Any, int], Any]) -> None:
        self.dataset, self.change = dataset, change

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.change(self.dataset, index)


FINE = [("image", number % 6) for number in range(40)]
WRAPPERS: dict[str, tuple[Callable[[Any, int], Any], list[Any]]] = {
    "unchanged": (lambda data, index: data[index], [label for _, label in FINE]),
    "coarser": (lambda data, index: ("image", data[index][1] // 2), [label // 2 for _, label in FINE]),
    "in another order": (lambda data, index: data[len(data) - 1 - index], [label for _, label in reversed(FINE)]),
    "images alone": (lambda data, index: data[index][0], [label for _, label in FINE]),
    "other names": (lambda data, index: ("image", f"class {data[index][1]}"), [label for _, label in FINE]),
    "fewer names": (lambda data, index: ("image", "ab"[data[index][1] % 2]), ["ab"[label % 2] for _, label in FINE]),
}


@pytest.mark.parametrize(("change", "expected"), WRAPPERS.values(), ids=WRAPPERS)
def test_labels_that_a_wrapper_changes(change: Callable[[Any, int], Any], expected: list[Any]) -> None:
    inner = ImageTensors(torch.zeros(40, 2, 2, dtype=torch.uint8), [label for _, label in FINE])
    assert read_labels(Wrapper(inner, change)).tolist() == expected


def test_whole_numbers_of_64_bits_stay_apart() -> None:
    large = [2**63 + 5, 2**63 + 6, 3]
    assert read_labels(range(3), large).tolist() == large
    assert read_labels(range(3), np.array(large, dtype=np.uint64)).tolist() == large
    assert read_labels(range(2), [np.uint64(2**63 + 1), 2]).tolist() == [2**63 + 1, 2]
    joined: ConcatDataset[Any] = ConcatDataset(
        [NeverRead(2, targets=np.array(large[:2], dtype=np.uint64)), NeverRead(1, targets=[3])]
    )
    assert read_labels(joined).tolist() == large
    for labels in ([2**63 + 5, -1], [2**64, 1]):
        with pytest.raises(DataError, match=r"Expected labels of at most 64 bits, found .* Pass them as text"):
            read_labels(range(2), labels)
    for given in ([2**53 + 1, 2**53, 1.0], [1e300, 2e300], np.array([2.0**60, 1.0])):
        with pytest.raises(DataError, match=r"Expected labels in floating point below 2\*\*53, found \d+, which may"):
            read_labels(range(len(given)), given)


def test_a_table_is_no_dataset() -> None:
    table = pytest.importorskip("pandas").DataFrame({"path": ["a.png"], "label": [1]})
    with pytest.raises(TypeError, match=r"got DataFrame. Pass pairsim.data.ImageFiles\(table\['path'\]"):
        read_labels(table)


def test_target_transform_is_applied_once_to_each_distinct_label() -> None:
    seen: list[int] = []

    def halve(label: int) -> int:
        seen.append(label)
        return label // 2

    assert read_labels(NeverRead(targets=[0, 3, 3, 2], target_transform=halve)).tolist() == [0, 1, 1, 1]
    assert sorted(seen) == [0, 2, 3]


class OnlyItems(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.reads = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.items[index]


def test_one_pass_only_when_nothing_else_is_left() -> None:
    dataset = OnlyItems([("image", 2), ("image", 0)])
    assert read_labels(dataset).tolist() == [2, 0]
    assert dataset.reads == 2
    # a wrapper of another length cannot be seen through, so it is read too
    shorter = OnlyItems([("image", 1)])
    shorter.dataset = NeverRead(4, targets=[0, 0, 0, 0])  # type: ignore[attr-defined]
    assert read_labels(shorter).tolist() == [1]


def test_items_without_labels_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"Expected items \(image, label\), found str. See item 0 of OnlyItems, or pass labels="
    ):
        read_labels(OnlyItems(["image"]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 2], "Expected one label for each of 4 images, found 2 labels"),
        ([1.0, float("nan"), 0.0, float("nan")], "found 2 NaN or infinite, the first at index 1"),
        ([1, None, 0, 1], "found None at index 1"),
        ([0.5, 1.0, 0.0, 1.0], "found fractions"),
        ([[1, 0], [0, 1], [1, 1], [0, 1]], r"found labels of shape \[4, 2\] that are not one-hot"),
        ([[1, 0], [1], [1, 1], [0, 1]], "found ndarray at index 0"),
        (["a", float("nan"), "b", "c"], "found nan at index 1"),
        (torch.zeros(4, 3), r"found labels of shape \[4, 3\]"),
        (["a", 1, "b", 2], "found text and numbers mixed"),
        (np.array([1j, 1, 1, 1]), "found complex128"),
    ],
)
def test_bad_labels(values: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_labels(NeverRead(), values)


def test_iterable_dataset_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(TypeError, match="Expected a map-style dataset with a length, got Stream"):
        read_labels(Stream())


def test_iterable_dataset_with_a_length_is_refused_too() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

        def __len__(self) -> int:
            return 2

    for labels in (None, [0, 1]):
        with pytest.raises(TypeError, match="Iterable datasets cannot be paired"):
            read_labels(Stream(), labels)


def test_only_those_parts_are_read_that_have_no_labels_stored() -> None:
    unlabelled = OnlyItems([("image", 5), ("image", 6)])
    assert read_labels(ConcatDataset([NeverRead(2, targets=[1, 2]), unlabelled])).tolist() == [1, 2, 5, 6]
    assert unlabelled.reads == 2


def test_parts_of_different_kinds_are_refused() -> None:
    parts: list[Dataset[Any]] = [NeverRead(1, targets=[1]), NeverRead(1, targets=["1"])]
    with pytest.raises(DataError, match="found text and numbers mixed"):
        read_labels(ConcatDataset(parts))


def test_large_numbers_of_several_parts_stay_exact() -> None:
    large = 2**53 + 1
    signed, unsigned = NeverRead(1, targets=[large]), NeverRead(1, targets=np.array([large], dtype=np.uint64))
    assert read_labels(ConcatDataset([signed, unsigned])).tolist() == [large, large]


def test_text_of_numpy_and_numbers_are_not_mixed() -> None:
    with pytest.raises(DataError, match="found text and numbers mixed"):
        read_labels(NeverRead(2), [np.str_("1"), 1])


def test_target_transforms_of_wrappers_and_folders() -> None:
    inner = NeverRead(targets=[0, 1, 2, 3])
    assert read_labels(NeverRead(dataset=inner, target_transform=lambda label: label // 2)).tolist() == [0, 0, 1, 1]
    samples = NeverRead(2, samples=[("a.png", 0), ("b.png", 1)], target_transform=lambda label: f"class {label}")
    assert read_labels(samples).tolist() == ["class 0", "class 1"]
    with pytest.raises(DataError, match="found None at index 0"):
        read_labels(NeverRead(targets=[0, 1, 2, 3], target_transform=lambda label: None))


def test_subset_of_unlabelled_images_reads_only_its_own() -> None:
    inner = OnlyItems([("image", number) for number in range(10)])
    assert read_labels(Subset(inner, [7, 3])).tolist() == [7, 3]
    assert inner.reads == 2


def test_reading_shows_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    read_labels(OnlyItems([("image", 1)]))
    assert capsys.readouterr() == ("", "")


def test_labels_are_not_the_callers_to_lose() -> None:
    targets = torch.tensor([1, 0, 1, 0])
    read_labels(NeverRead(targets=targets, target_transform=lambda label: 1 - label))
    assert targets.tolist() == [1, 0, 1, 0]
