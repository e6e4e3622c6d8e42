"""Labels are read once, and a labelled dataset gives the same results with and without them attached."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.utils.data import Dataset, Subset

from pairsim import (
    Gallery,
    PairDataset,
    SimilarityModel,
    TrainConfig,
    Trainer,
    calibrate,
    encode_dataset,
    evaluate,
)
from pairsim.data import ClassIndex, ImageTensors, LabelledData, LabelledImages, load_data, make_resident, read_labels
from pairsim.data.image_sets import fetch_images, in_memory, subset
from pairsim.data.random_transforms import is_known_fixed
from pairsim.errors import DataError


class Unlabelled(Dataset[Any]):
    """A dataset whose labels are known only from its items; counts how often each item is read."""

    def __init__(self, num: int = 12) -> None:
        self.reads = [0] * num

    def __len__(self) -> int:
        return len(self.reads)

    def __getitem__(self, index: int) -> Any:
        self.reads[index] += 1
        return torch.full((1, 4, 4), index, dtype=torch.uint8), f"class{index % 3}"


def test_labels_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Unlabelled()
    images = LabelledImages.of(dataset)
    assert dataset.reads == [1] * 12
    indexed = []

    def from_labels(labels: Any) -> ClassIndex:
        indexed.append(len(labels))
        return build(labels)

    build = ClassIndex.from_labels
    monkeypatch.setattr(ClassIndex, "from_labels", from_labels)
    first, second = PairDataset(images, seed=1), PairDataset(images, seed=2)
    assert LabelledImages.of(images) is images
    assert images.index is images.index
    part = subset(images, np.array([4, 5, 7]))
    assert LabelledImages.of(part).targets.tolist() == ["class1", "class2", "class1"]
    assert part.index.counts.tolist() == [2, 1]
    assert read_labels(images) is images.targets
    assert first.labels is second.labels is images.targets
    assert dataset.reads == [1] * 12
    assert indexed == [12, 3]


def test_items_and_images() -> None:
    dataset = Unlabelled()
    images = LabelledImages.of(dataset, labels=range(12))
    image, label = images[5]
    assert (int(image[0, 0, 0]), label, len(images)) == (5, 5, 12)
    assert LabelledImages.of(images, labels=[7] * 12).dataset is dataset
    assert in_memory(images) is PairDataset(images, positive_fraction=0).dataset is dataset
    assert fetch_images(images, np.array([3, 2]))[:, 0, 0, 0].tolist() == [3, 2]
    part = subset(images, np.array([3, 2]))
    assert isinstance(part.dataset, Subset)
    assert [label for _, label in part] == [3, 2]


def test_resident_images_keep_their_labels() -> None:
    dataset = Unlabelled()
    images = LabelledImages.of(dataset)
    held = make_resident(images, workers=0, progress=False)
    assert held.targets.tolist() == images.targets.tolist()
    assert held.images[:, 0, 0, 0].tolist() == list(range(12))


@pytest.fixture(scope="module")
def digits_train() -> LabelledData:
    return load_data("digits", "train")


def test_loaded_data_is_a_dataset(digits_train: LabelledData) -> None:
    loaded = digits_train
    assert len(loaded) == len(loaded.dataset) == 1438
    assert torch.equal(loaded[3][0], loaded.dataset[3][0])
    assert loaded[3][1] == loaded.dataset[3][1]
    assert read_labels(loaded) is loaded.targets is loaded.dataset.targets
    assert in_memory(loaded) is loaded.dataset
    assert is_known_fixed(loaded)
    part = subset(loaded, np.array([5, 2]))
    assert isinstance(part.dataset, ImageTensors)
    assert part.targets.tolist() == loaded.targets[[5, 2]].tolist()


def model() -> SimilarityModel:
    return small_model(16).train()


def weights_hash(dataset: Any, val: Any = None, **settings: Any) -> str:
    trained = model()
    Trainer(trained, TrainConfig(epochs=1, batch_size=64, progress=False, **settings), train=dataset, val=val).fit()
    digest = hashlib.sha256()
    for value in trained.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def test_training_is_the_same_as_on_the_images_inside(digits_train: LabelledData) -> None:
    test = load_data("digits", "test")
    assert weights_hash(digits_train) == weights_hash(digits_train.dataset)
    expected = weights_hash(digits_train.dataset, test.dataset, objective="pairs", num_pairs=320)
    assert weights_hash(digits_train, test, objective="pairs", num_pairs=320) == expected
    assert weights_hash(PairDataset(digits_train, 320), PairDataset(test), objective="pairs") == weights_hash(
        PairDataset(digits_train.dataset, 320), PairDataset(test.dataset), objective="pairs"
    )


def test_evaluation_is_the_same_as_on_the_images_inside() -> None:
    test, net = load_data("digits", "test"), model()
    assert torch.equal(encode_dataset(net, test), encode_dataset(net, test.dataset))
    first, second = (evaluate(net, one).to_dict() | {"throughput": None} for one in (test, test.dataset))
    assert first == second
    assert calibrate(net, test, equal_errors=True) == calibrate(net, test.dataset, equal_errors=True)
    with pytest.raises(TypeError, match="dataset"):  # as for every dataset, whose images are read by encode_dataset
        Gallery(net).add(test)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [[7, 3], torch.tensor([7, 3]), torch.tensor([[7], [3]])])
def test_labels_that_are_no_array(labels: Any) -> None:
    images = LabelledImages(range(2), labels)
    assert images.targets.tolist() == [7, 3]
    assert images.index.num_classes == 2


def test_another_number_of_labels() -> None:
    with pytest.raises(DataError, match=r"^Expected one label for each of 2 images, found 3 labels\."):
        LabelledImages(range(2), [1, 2, 3])  # type: ignore[arg-type]
