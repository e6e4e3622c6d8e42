from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pairsim import PairDataset
from pairsim.data import ImageTensors
from pairsim.errors import DataError, ImageReadError, MissingExtraError


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
    ("columns", "said"),
    [
        (([0], [1, 2], [1]), r"Expected first, second and target to have one length, got \[1, 2, 1\]"),
        (([], [], []), "Expected at least one pair, found none"),
        (([0], [1], [2]), "Expected every target to be 1"),
        (([0], [12], [1]), "Expected second to hold image numbers from 0 to 11"),
        (([-1], [1], [1]), "Expected first to hold image numbers from 0 to 11"),
        (([4, 5], [4, 6], [1, 0]), "found 1 pairs of an image with itself, the first at position 0"),
    ],
)
def test_bad_pairs(columns: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        PairDataset.from_pairs(numbered(), *columns)


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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        Image.fromarray(np.full((6, 5), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("header", ["", "path1,path2,label\n"])
def test_csv(pictures: Path, header: str) -> None:
    (pictures / "pairs.csv").write_text(f"{header}a.png,b.png,0\nb.png, c.png ,same\n\na.png,c.png,False\n")
    pairs = PairDataset.from_csv(pictures / "pairs.csv", channels=1, image_size=(4, 4))
    assert pairs.all_pairs().target.tolist() == [0, 1, 0]
    first, second, target = pairs[1]
    assert (first.shape, int(first[0, 0, 0]), int(second[0, 0, 0]), float(target)) == ((1, 4, 4), ord("b"), ord("c"), 1)
    assert "first_path" in pairs.to_dataframe().columns


def test_csv_with_transform_and_root(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("lists") / "pairs.csv"
    file.write_text("a.png,b.png,1\n")
    pairs = PairDataset.from_csv(file, pictures, channels=1, transform=torch.Tensor.float)
    assert pairs[0][0].dtype == torch.float32


def test_lfw_pairs(tmp_path: Path) -> None:
    for name, number in (("Ann_B", 1), ("Ann_B", 4), ("Cy_D", 2)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / f"{name}_{number:04d}.jpg")
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn_B\t1\t4\nAnn_B\t4\tCy_D\t2\n")
    pairs = PairDataset.from_csv(tmp_path / "pairs.txt")
    assert pairs.all_pairs().target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png,b.png,0\na.png,b.png,perhaps\n", "Expected line 2 of .* label 1 .* found 'a.png,b.png,perhaps'"),
        ("a.png,b.png\n", "Expected line 1"),
        ("path1,path2,label\n", "to list pairs as path1,path2,label, found none"),
        ("10\t3\nAnn\t1\n", r"Expected line 2 .* found 'Ann\\t1'"),
    ],
)
def test_bad_lists(pictures: Path, text: str, said: str) -> None:
    (pictures / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        PairDataset.from_csv(pictures / "pairs.csv")


def test_missing_list_and_missing_picture(pictures: Path) -> None:
    with pytest.raises(DataError, match="Expected a readable list of pairs at"):
        PairDataset.from_csv(pictures / "absent.csv")
    (pictures / "pairs.csv").write_text("a.png,absent.png,0\n")
    with pytest.raises(ImageReadError, match=r"1 do not, such as .*absent.png. Pass root="):
        PairDataset.from_csv(pictures / "pairs.csv")
