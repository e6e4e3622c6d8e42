from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, random_split

from pairsim import (
    EmbeddingNet,
    Gallery,
    PairDataset,
    SimilarityModel,
    TrainConfig,
    Trainer,
    audit_labels,
    calibrate,
    encode_dataset,
    evaluate,
    find_leaks,
)
from pairsim.data import read_labels
from pairsim.data.image_sets import fetch_images
from pairsim.data.items import check_map_style, column_labels, image_of, label_of
from pairsim.data.random_transforms import is_known_fixed
from pairsim.errors import DataError
from pairsim.images import Preprocessing

NUM_IMAGES = 24


def pixels(number: int, side: int = 20) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A dark or a bright picture with noise, by its class: even numbers are dark."""
    noise = np.random.default_rng(number).integers(0, 60, (side, side), dtype=np.uint8)
    return noise + np.uint8(150 * (number % 2))


def picture(number: int) -> Image.Image:
    return Image.fromarray(pixels(number, 18 + number % 3))  # of several sizes


class ImageColumn:
    """Stands for `datasets.Image`."""


ImageColumn.__name__ = "Image"


class ClassLabel:
    def __init__(self, *names: str) -> None:
        self.names = list(names)


class Table:
    """Has the interface of a Hugging Face dataset; counts the pictures that are decoded."""

    def __init__(self, features: dict[str, Any], columns: dict[str, list[Any]]) -> None:
        self.features, self.columns, self.decoded = features, columns, 0

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        self.decoded += 1
        return {name: values[key] for name, values in self.columns.items()}

    def with_format(self, _kind: None) -> Table:
        return self


def table(labels: list[int] | None = None) -> Table:
    columns: dict[str, list[Any]] = {
        "file": [f"{number}.png" for number in range(NUM_IMAGES)],
        "picture_of_it": [picture(number) for number in range(NUM_IMAGES)],
        "kind": labels or [number % 2 for number in range(NUM_IMAGES)],
    }
    return Table({"file": object(), "picture_of_it": ImageColumn(), "kind": ClassLabel("dark", "bright")}, columns)


class Items(Dataset[Any]):
    """A dataset of torchvision's kind, without a transform."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> Any:
        if index >= NUM_IMAGES:
            raise IndexError(index)
        return self.item(index)


ITEMS: dict[str, Callable[[int], Any]] = {
    "PIL": lambda k: (picture(k), k % 2),
    "grey array": lambda k: (pixels(k), k % 2),
    "colour array": lambda k: (np.repeat(pixels(k)[..., None], 3, axis=2), k % 2),
    "uint8 tensor": lambda k: (torch.from_numpy(pixels(k, 16))[None], k % 2),
    "tensor [H, W]": lambda k: (torch.from_numpy(pixels(k, 16)), k % 2),
    "list": lambda k: [picture(k), k % 2],
    "more": lambda k: (picture(k), k % 2, {"box": [1, 2]}, k),
    "text label": lambda k: (picture(k), ("dark", "bright")[k % 2]),
    "tensor label": lambda k: (picture(k), torch.tensor(k % 2)),
    "label [1]": lambda k: (picture(k), torch.tensor([k % 2])),
    "numpy label": lambda k: (picture(k), np.int64(k % 2)),
    "one-hot": lambda k: (picture(k), torch.eye(2)[k % 2]),
    "one-hot list": lambda k: (picture(k), [1 - k % 2, k % 2]),
    "image, label": lambda k: {"image": picture(k), "label": k % 2},
    "img, fine_label": lambda k: {"img": picture(k), "fine_label": k % 2, "coarse_label": 0},
    "pixel_values, labels": lambda k: {"pixel_values": torch.from_numpy(pixels(k, 16))[None], "labels": k % 2},
    "by type": lambda k: {"id": k, "shot": picture(k), "target": k % 2},
}


def listed(kind: str) -> list[Any]:
    return [ITEMS[kind](number) for number in range(NUM_IMAGES)]


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    torch.manual_seed(0)
    return SimilarityModel(EmbeddingNet(image_size=16, embedding_dim=8))


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("as_list", [False, True], ids=["dataset", "list"])
def test_items_of_all_kinds(model: SimilarityModel, kind: str, as_list: bool) -> None:
    dataset: Any = listed(kind) if as_list else Items(ITEMS[kind])
    labels = read_labels(dataset)
    assert labels.tolist() == (["dark", "bright"] if kind == "text label" else [0, 1]) * (NUM_IMAGES // 2)
    batch = fetch_images(dataset, np.arange(NUM_IMAGES), model.preprocessing)
    assert (batch.shape, batch.dtype) == ((NUM_IMAGES, batch.shape[1], 16, 16), torch.uint8)
    means = batch.float().mean(dim=(1, 2, 3))
    assert bool((means[::2] < 60).all())
    assert bool((means[1::2] > 140).all())
    assert encode_dataset(model, dataset).shape == (NUM_IMAGES, 8)
    assert as_list or evaluate(model, dataset).num_positive == 2 * 12 * 11 // 2
    assert PairDataset(dataset, 4).all_pairs().target.sum() == 2


def parts(dataset: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return {
        "itself": dataset,
        "Subset": Subset(dataset, range(0, 20)),
        "ConcatDataset": ConcatDataset([dataset, dataset]),
        "random_split": random_split(dataset, [20, 4], generator)[0],
    }


@pytest.mark.parametrize(
    ("make", "kind"),
    [(table, "itself"), (table, "random_split"), (table, "ConcatDataset"), (lambda: listed("image, label"), "Subset")],
    ids=["table", "part of a table", "two tables", "part of a list"],
)
def test_every_function_takes_them(make: Callable[[], Any], kind: str) -> None:
    dataset = parts(make())[kind]
    own = SimilarityModel(EmbeddingNet(image_size=16, embedding_dim=8))
    config = TrainConfig(epochs=1, batch_size=8, val_fraction=0.3, num_workers=0, progress=False)
    assert len(Trainer(own, config, train=dataset).fit()) == 1
    assert calibrate(own, dataset).num_positive == evaluate(own, dataset).num_positive
    with pytest.raises(DataError, match=r"Expected all images to have one shape, found \[3, \d\d, .* Add a resize"):
        find_leaks(dataset, dataset)
    assert len(audit_labels(dataset, folds=2, config=config)) == len(dataset)


def test_a_table_keeps_its_class_names_and_decodes_nothing_for_labels(model: SimilarityModel) -> None:
    own = table()
    for dataset in parts(own).values():
        assert set(read_labels(dataset).tolist()) == {"dark", "bright"}
    assert read_labels(own)[:3].tolist() == ["dark", "bright", "dark"]
    assert own.decoded == 0
    assert {row.name for row in evaluate(model, own).weakest_classes} <= {"dark", "bright"}


def test_a_table_without_labels() -> None:
    own = table([0, 1] * 11 + [-1, -1])
    with pytest.raises(DataError, match=r"found -1 \(no label\) in column 'kind' at index 22. Pass a split that has"):
        read_labels(own)
    own.features["other"] = ClassLabel("a", "b")
    with pytest.raises(DataError, match=r"Expected one label in each item, .* found the names 'kind', 'other'"):
        read_labels(own)
    own.features = {"picture_of_it": ImageColumn()}
    assert column_labels(own) is None
    del own.columns["kind"]
    with pytest.raises(DataError, match=r"Expected one label in each item, .* 'label'. See item 0 of Table"):
        read_labels(own)


def test_a_table_with_two_labels_uses_the_usual_name() -> None:
    features = {"coarse_label": ClassLabel("a"), "fine_label": ClassLabel("x", "y")}
    assert read_labels(Table(features, {"coarse_label": [0, 0], "fine_label": [1, 0]})).tolist() == ["y", "x"]


def pictures() -> list[Any]:
    return [(Image.fromarray(pixels(number)), number % 2) for number in range(NUM_IMAGES)]


def test_leaks_between_pictures() -> None:
    report = find_leaks(pictures(), [{"image": image, "label": label} for image, label in pictures()[:3]])
    assert [(match.test, match.train) for match in report.exact_duplicates] == [(0, 0), (1, 1), (2, 2)]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


def functions(model: SimilarityModel) -> dict[str, Callable[[Any], Any]]:
    return {
        "read_labels": read_labels,
        "encode_dataset": lambda data: encode_dataset(model, data),
        "evaluate": lambda data: evaluate(model, data),
        "calibrate": lambda data: calibrate(model, data),
        "Trainer": lambda data: Trainer(model, TrainConfig(epochs=1), train=data),
        "val": lambda data: Trainer(model, TrainConfig(epochs=1), train=listed("PIL"), val=data),
        "PairDataset": lambda data: PairDataset(data, 4),
        "find_leaks": lambda data: find_leaks(data, data),
        "audit_labels": audit_labels,
    }


NOT_DATASETS: dict[str, tuple[Callable[[], Any], str]] = {
    "DataLoader": (
        lambda: DataLoader(Items(ITEMS["PIL"])),
        r"Pass loader.dataset; .* Subset\(loader.dataset, indices\)",
    ),
    "dict": (lambda: {"train": table(), "test": table()}, r"parts, 'train', 'test', such as data\['train'\]"),
    "Stream": (Stream, "load them into a list or a map-style dataset first"),
    "list_iterator": (lambda: iter([]), "load them into a list or a map-style dataset first"),
    "str": (lambda: "folder", r"Pass pairsim.load_data\(path\) for a folder of pictures"),
    "PosixPath": (lambda: Path("folder"), r"Pass pairsim.load_data\(path\) for a folder of pictures"),
}


@pytest.mark.parametrize("kind", NOT_DATASETS)
@pytest.mark.parametrize("function", functions(SimilarityModel(EmbeddingNet(image_size=16))))
def test_what_is_no_dataset(model: SimilarityModel, function: str, kind: str) -> None:
    make, said = NOT_DATASETS[kind]
    with pytest.raises(TypeError, match=f"Expected a map-style dataset with a length, got {kind}. .*{said}"):
        functions(model)[function](make())


@pytest.mark.parametrize("function", ["encode", "similarity_matrix", "Gallery.add", "Gallery.search"])
@pytest.mark.parametrize(
    "make",
    [
        *(lambda: DataLoader(Items(ITEMS["PIL"])), lambda: Items(ITEMS["PIL"]), table),
        *(lambda: listed("PIL"), lambda: listed("image, label"), lambda: {"train": table()}),
    ],
    ids=["loader", "dataset", "table", "tuples", "dicts", "splits"],
)
def test_functions_of_images_name_the_one_for_datasets(
    model: SimilarityModel, function: str, make: Callable[[], Any]
) -> None:
    gallery = Gallery(model)
    gallery.add([picture(0)])
    call: Any = {"Gallery.add": gallery.add, "Gallery.search": gallery.search}.get(function) or getattr(model, function)
    with pytest.raises(
        TypeError, match=r"Expected images or paths, got a .*Use pairsim.encode_dataset\(model, dataset"
    ):
        call(make())


def test_a_list_of_pairs_is_no_dataset_of_images() -> None:
    with pytest.raises(TypeError, match=r"got PairDataset\. Pass its \.dataset\."):
        check_map_style(PairDataset(listed("PIL"), 4))


def test_items_that_are_not_understood() -> None:
    with pytest.raises(DataError, match=r"Expected one image in each item, .* such as 'image', found .*'a', 'b'"):
        image_of({"a": 1, "b": "x"})
    with pytest.raises(DataError, match="Expected one image in each item"):
        image_of({"left": picture(0), "right": picture(1)})
    for item in ({"image": 1}, (1,), 3):
        with pytest.raises(DataError, match="Expected"):
            label_of(item)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "got NoneType. It is the image of item 3"),
        (np.zeros((16, 16), complex), "got complex128 .* It is the image of item 3"),
        (np.zeros((16, 16, 7), np.uint8), r"got uint8 \[16, 16, 7\] .* It is the image of item 3"),
    ],
)
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])  # a failed worker takes 5 s to end
def test_images_that_are_none_are_named(model: SimilarityModel, image: Any, said: str, workers: int) -> None:
    items = [*listed("PIL")[:3], (image, 0)]
    with pytest.raises(DataError, match=f"^Expected .*{said}") as raised:
        encode_dataset(model, items, workers=workers)
    assert "\n" not in str(raised.value)


def test_lists_are_the_same_every_time() -> None:
    items: Any = listed("PIL")
    assert is_known_fixed(items)
    assert is_known_fixed(Subset(items, [0, 1]))


def test_what_a_subset_holds_decides_whether_it_is_fixed() -> None:
    assert not is_known_fixed(Subset(table(), [0, 1]))  # type: ignore[arg-type]


def test_hugging_face_datasets(model: SimilarityModel) -> None:
    datasets = pytest.importorskip("datasets")
    made = table()
    features = datasets.Features(
        {
            "file": datasets.Value("string"),
            "picture_of_it": datasets.Image(),
            "kind": datasets.ClassLabel(names=["dark", "bright"]),
        }
    )
    real = datasets.Dataset.from_dict(made.columns, features=features)
    expected = encode_dataset(model, made)
    for number, dataset in enumerate(parts(real).values()):
        assert set(read_labels(dataset).tolist()) == {"dark", "bright"}
        assert is_known_fixed(dataset)
        if number < 2:
            assert torch.equal(encode_dataset(model, dataset), expected[: len(dataset)])

    def changed(rows: dict[str, Any]) -> dict[str, Any]:
        shown = [torch.zeros(1, 16, 16) for _ in rows["picture_of_it"]]
        return {"pixel_values": shown, "labels": rows["kind"]}

    transformed = real.with_transform(changed)
    assert not is_known_fixed(transformed)
    assert read_labels(transformed)[:2].tolist() == ["dark", "bright"]
    assert fetch_images(transformed, np.arange(2), Preprocessing(image_size=(16, 16), channels=1)).sum() == 0
    with pytest.raises(TypeError, match=r"got DatasetDict. Pass one of its parts, 'train', such as data\['train'\]"):
        evaluate(model, datasets.DatasetDict(train=real))
    with pytest.raises(TypeError, match=r"got IterableDataset\. Iterable datasets cannot be paired"):
        evaluate(model, real.to_iterable_dataset())
