from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.datasets import MNIST

from pairsim import EmbeddingNet, SimilarityModel, encode_dataset
from pairsim.data import ImageFiles, ImageTensors, LabelledData, LabelledImages, read_labels
from pairsim.data.image_sets import fetch_images, in_memory, joined, subset
from pairsim.errors import DataError
from pairsim.images import Preprocessing


class Pictures(Dataset[Any]):
    """A dataset of an unknown kind."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 2, 2), float(index)), 0


def test_torchvision_like_datasets_without_a_transform_are_in_memory() -> None:
    assert isinstance(in_memory(Mnist()), ImageTensors)
    transformed = Mnist()
    transformed.transform = torch.Tensor.float
    assert in_memory(transformed) is transformed


class Mnist(MNIST):  # type: ignore[misc]
    transform: Any

    def __init__(self) -> None:
        self.data = torch.arange(20, dtype=torch.uint8)[:, None, None].expand(20, 6, 6)
        self.targets = torch.arange(20)
        self.transform = self.target_transform = None


class Inverted(Mnist):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return 255 - self.data[index][None], int(self.targets[index])


class InvertedTensors(TensorDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        image, label = super().__getitem__(index)  # type: ignore[no-untyped-call]
        return 255 - image, label


class InvertedImages(ImageTensors):
    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        image, label = super().__getitem__(index)
        return 255 - image, label


class InvertedLabelled(LabelledImages):
    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = super().__getitem__(index)
        return 255 - image, label


class WithData(Dataset[Any]):
    """Raw pixels in `.data`, as those of torchvision, but items of another size."""

    def __init__(self) -> None:
        self.data = Mnist().data
        self.targets = list(range(20))

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return 255 - self.data[index][None], index


PIXELS = Mnist().data[:, None].clone()


@pytest.mark.parametrize(
    "dataset",
    [
        Inverted(),
        InvertedTensors(PIXELS, torch.arange(20)),
        InvertedImages(PIXELS, range(20)),
        InvertedLabelled(ImageTensors(PIXELS, range(20)), np.arange(20)),
        WithData(),
        Subset(InvertedImages(PIXELS, range(20)), range(20)),
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_a_getitem_of_ones_own_is_always_used(dataset: Any) -> None:
    numbers = np.array([3, 17, 3])
    expected = 255 - PIXELS[[3, 17, 3]]
    for images in (dataset, LabelledImages.of(dataset), in_memory(dataset)):
        assert torch.equal(fetch_images(images, numbers).reshape(expected.shape), expected)
    assert torch.equal(fetch_images(subset(LabelledImages.of(dataset), numbers[:2]), np.array([1])), expected[1:2])
    assert LabelledImages.of(dataset).targets.tolist() == list(range(20))
    model = SimilarityModel(EmbeddingNet(image_size=6, embedding_dim=4)).eval()
    own = model.encode(torch.stack([dataset[index][0].reshape(1, 6, 6) for index in range(20)]))
    torch.testing.assert_close(encode_dataset(model, dataset), own, rtol=0, atol=1e-6)


def test_pixels_and_floats_are_not_joined() -> None:
    mixed = [(torch.zeros(1, 4, 4), 0), (torch.zeros(1, 4, 4, dtype=torch.uint8), 1)]
    with pytest.raises(
        DataError, match=r"found torch.float32 at index 0 and torch.uint8 at index 1. Use one transform"
    ):
        fetch_images(mixed, np.arange(2))


def test_indices_of_subsets() -> None:
    images = ImageTensors(PIXELS, range(20))
    for indices in ([-1, 0], np.array([-1, 0]), torch.tensor([-1, 0])):
        part = in_memory(Subset(images, indices))  # type: ignore[arg-type]
        assert part.targets.tolist() == read_labels(Subset(images, indices)).tolist() == [19, 0]  # type: ignore[arg-type]
        assert part.images[:, 0, 0, 0].tolist() == [19, 0]
    empty = in_memory(Subset(images, []))
    assert len(empty) == 0 == len(empty.targets)
    wrong: list[tuple[Any, str]] = [
        (np.arange(20) > 3, r"whole numbers, got bool. Pass mask.nonzero\(\)\[0\] for a mask"),
        ([0.0, 1.0], "whole numbers, got float64"),
        ([0, 20], "below its 20 images, got 20"),
        ([-21], "below its 20 images, got -21"),
    ]
    for bad, message in wrong:
        for use in (in_memory, read_labels):
            with pytest.raises(DataError, match=message):
                use(Subset(images, bad))


def test_one_tensor_or_many_targets_stay_a_tensor_dataset() -> None:
    bare = TensorDataset(torch.rand(3, 1, 2, 2))
    boxes = TensorDataset(torch.rand(3, 1, 2, 2), torch.rand(3, 4))
    assert in_memory(bare) is bare
    assert in_memory(boxes) is boxes
    labelled = in_memory(TensorDataset(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])))
    assert isinstance(labelled, ImageTensors)
    assert labelled.targets.tolist() == [0, 1, 0]


def test_subsets_of_images_in_memory_are_in_memory(digits: ImageTensors) -> None:
    part = in_memory(Subset(Subset(digits, [5, 9, 40]), [2, 0]))
    assert isinstance(part, ImageTensors)
    assert part.images[:, 0, 0, 0].tolist() == [40, 5]
    assert part.targets.tolist() == [0, 5]
    outside = Subset(Pictures(), [1])
    assert in_memory(outside) is outside


def test_subset_keeps_images_in_memory() -> None:
    images = ImageTensors(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), ["a", "b", "c", "d"])
    part = subset(images, np.array([3, 1]))
    assert isinstance(part, ImageTensors)
    assert part.targets.tolist() == ["d", "b"]
    assert [int(part[index][0]) for index in range(2)] == [3, 1]


def test_subsets_of_files_are_files() -> None:
    part = subset(ImageFiles(["a", "b", "c"], [7, 8, 9], image_size=(4, 4), channels=1), np.array([2, 0]))
    assert isinstance(part, ImageFiles)
    assert (part.paths, part.targets.tolist(), part.image_size, part.channels) == (["c", "a"], [9, 7], (4, 4), 1)


def test_items_of_many_kinds() -> None:
    preprocessing = Preprocessing(image_size=(4, 4), channels=1)
    grey = np.full((8, 8), 9, np.uint8)
    items = [
        (torch.full((1, 4, 4), 9, dtype=torch.uint8), 0),
        (Image.fromarray(grey), 0),
        grey,
        torch.full((4, 4), 9, dtype=torch.uint8),
    ]
    batch = fetch_images(items, np.array([0, 1, 2, 3, 1]), preprocessing)
    assert batch.shape == (5, 1, 4, 4)
    assert bool((batch == 9).all())


def test_bad_items() -> None:
    with pytest.raises(DataError, match=r"Expected item 0 to be \(image, label\).*got str"):
        fetch_images([("picture", 1)], np.array([0]))
    with pytest.raises(DataError, match=r"Expected image 0 to have shape \[C, H, W\], got \[1, 1, 4, 4\]"):
        fetch_images([(torch.zeros(1, 1, 4, 4), 1)], np.array([0]))
    with pytest.raises(DataError, match="found NaN or infinite values in image 1"):
        fetch_images([(torch.zeros(1, 2, 2), 0), (torch.full((1, 2, 2), torch.inf), 0)], np.array([0, 1]))
    with pytest.raises(DataError, match=r"got \[2, 2\]"):
        ImageTensors(torch.zeros(2, 2), [0, 1])
    with pytest.raises(DataError, match=r"got torch.int64. Use images.to\(torch.uint8\)"):
        ImageTensors(torch.zeros(2, 1, 2, 2, dtype=torch.int64), [0, 1])
    for images in (np.zeros((2, 1, 2, 2), dtype=np.uint8), [torch.zeros(1, 2, 2)] * 2):
        with pytest.raises(TypeError, match=r"^Expected images as one tensor, got (ndarray|list)\. Use"):
            ImageTensors(images, [0, 1])  # type: ignore[arg-type]
    for path in ("a.png", Path("a.png")):
        with pytest.raises(TypeError, match=r"^Expected a list of paths, got one: a.png\. Put it in a list\.$"):
            ImageFiles(path, ["a"])  # type: ignore[arg-type]


def test_images_of_several_shapes_are_named() -> None:
    items = [(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 2, 3), 0)]
    with pytest.raises(DataError, match=r"found \[1, 2, 2\] at index 0 and \[1, 2, 3\] at index 1. Add a resize"):
        fetch_images(items, np.array([0, 1]))


def test_large_but_finite_half_precision_is_not_refused() -> None:
    images = torch.full((2, 1, 8, 8), 60_000.0, dtype=torch.float16)  # their sum is infinite
    assert len(ImageTensors(images, [0, 1])) == 2


def test_a_subset_has_the_type_of_its_dataset() -> None:
    class Brighter(ImageFiles):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return image + 1, label

    part = subset(Brighter(["a", "b", "c"], [7, 8, 9]), np.array([1]))
    assert isinstance(part, Brighter)
    assert (part.paths, part.targets.tolist()) == (["b"], [8])


def test_a_repeated_image_is_read_once() -> None:
    class Counting(Pictures):
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    dataset = Counting()
    batch = fetch_images(dataset, np.array([5, 3, 5, 5]))
    assert batch[:, 0, 0, 0].tolist() == [5, 3, 5, 5]
    assert dataset.reads == 2


def test_a_part_of_labelled_images_keeps_its_groups() -> None:
    images = LabelledImages([1, 2, 3, 4], np.array([0, 0, 1, 1]), groups=np.array(["a", "a", "b", "c"]))
    part = subset(images, np.array([3, 1]))
    assert (part.targets.tolist(), part.groups.tolist()) == ([1, 0], ["c", "a"])
    assert subset(LabelledImages([1, 2], np.array([0, 1])), np.array([1])).groups is None


def test_a_part_of_labelled_data_keeps_names_and_groups() -> None:
    data = LabelledData(
        dataset=ImageTensors(torch.arange(5, dtype=torch.uint8)[:, None, None].expand(5, 4, 4), [7, 3, 5, 3, 7]),
        class_names=("three", "five", "seven"),
        image_size=(4, 4),
        channels=1,
        source="here",
        groups=np.array(list("vwxyz")),
    )
    part = subset(data, np.array([4, 1]))
    assert isinstance(part, LabelledData)
    assert (part.class_names, part.targets.tolist(), part.source) == (("three", "seven"), [7, 3], "here")
    assert part.groups is not None
    assert part.groups.tolist() == ["z", "w"]
    assert [int(part[number][0].max()) for number in range(2)] == [4, 1]
    whole = joined(data, part)
    assert whole.targets.tolist() == [7, 3, 5, 3, 7, 7, 3]
    assert [int(whole[number][0].max()) for number in range(7)] == [0, 1, 2, 3, 4, 4, 1]
