"""The benchmark of LFW's development pairs, on small pictures and a net with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from benchmarks import lfw_pairs
from benchmarks.options import Options
from pairsim import SimilarityModel
from pairsim.images import Preprocessing
from pairsim.models.verdict import OperatingPoint

READER = Preprocessing(image_size=(8, 8), channels=3)
KNOWN, OTHERS = ("Ann_B", "Carl"), tuple(f"Other_{number}" for number in range(8))
"""People of the pairs, who have pictures for training too, and people who are in training only."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each person is of one shade of grey, darker with each picture; Dora's picture is missing."""
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    for shade, name in enumerate((*KNOWN, *OTHERS)):
        for folder in (lfw_pairs.PEOPLE, lfw_pairs.PICTURES):
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(1, 5):
                grey = np.full((8, 8, 3), 20 * shade + number, np.uint8)
                Image.fromarray(grey).save(tmp_path / folder / name / f"{name}_{number:04}.jpg", quality=100)
    lines = ["2", "Ann_B\t1\t2", "Carl\t3\t4", "Ann_B\t1\tCarl\t3", "Carl\t2\tDora\t1"]
    (tmp_path / lfw_pairs.PAIRS).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_pairs_without_a_picture_are_left_out_and_counted(root: Path) -> None:
    pairs = lfw_pairs.read_pairs(root, READER)
    assert (pairs.listed, pairs.missing) == (4, ("Dora/Dora_0001.jpg",))
    shades = pairs.images[:, 0, 0, 0]
    assert shades[pairs.first].tolist() == [1, 23, 1]
    assert shades[pairs.second].tolist() == [2, 24, 23]
    assert pairs.target.tolist() == [1, 1, 0]
    assert pairs.people == {"Ann_B", "Carl", "Dora"}
    train = lfw_pairs.training_images(root / lfw_pairs.PEOPLE, pairs.people, READER, quick=False)
    first, second = lfw_pairs.tables([], pairs, train)
    assert (
        first.notes[0] == "3 of the 4 pairs of pairsDevTest.txt, as Dora/Dora_0001.jpg is missing among the pictures."
    )
    assert first.notes[1].startswith("Training and validation: 8 people, 32 images, none of the people in these pairs.")
    assert second.rows == []


def test_people_of_the_pairs_are_not_in_training(root: Path) -> None:
    people = lfw_pairs.read_pairs(root, READER).people
    train = lfw_pairs.training_images(root / lfw_pairs.PEOPLE, people, READER, quick=False)
    assert sorted(train.images[:, 0, 0, 0].tolist()) == [20 * shade + n for shade in range(2, 10) for n in range(1, 5)]
    assert np.bincount(train.targets).tolist() == [4] * len(OTHERS)


class TwoPixels(nn.Module):
    """The first two pixels, so that similarities are known."""

    in_channels, image_size, embedding_dim = 1, (1, 2), 2

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(images.flatten(1), dim=1)


def test_accuracies_are_those_of_every_threshold_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 1, 1, 2, generator=generator)
    first, second = torch.randint(0, 40, (2, 61), generator=generator)
    target = (torch.rand(61, generator=generator) < 0.6).long()
    model = SimilarityModel(TwoPixels()).eval()
    model.operating_point = OperatingPoint(0.9, fmr=0.1, fnmr=0.1, num_positive=1, num_negative=1, source="made up")
    pairs = lfw_pairs.FacePairs(images, first, second, target, frozenset(), (), 61)
    found = lfw_pairs.figures(model, pairs)
    unit = nn.functional.normalize(images.flatten(1).double(), dim=1)
    scores = (unit[first] * unit[second]).sum(dim=1)
    shares = [float(((scores >= score - 1e-6) == target.bool()).double().mean()) for score in [*scores.tolist(), 2.0]]
    assert found["best_accuracy"] == pytest.approx(max(shares))
    assert found["accuracy"] == pytest.approx(float(((scores >= 0.9) == target.bool()).double().mean()))
    assert found["accuracy"] < found["best_accuracy"]


@pytest.mark.slow
def test_every_arm_is_judged_on_the_pairs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "weights").mkdir()
    torch.save(mobilenet_v2().state_dict(), root / "weights" / "mobilenet_v2.pth")
    monkeypatch.setattr(lfw_pairs, "QUICK_STEP", 1)
    rows, means = (list[Any](table.rows) for table in lfw_pairs.run(Options(quick=True, data_dir=root)))
    assert [row["arm"] for row in rows] == [row["arm"] for row in means] == list(lfw_pairs.ARMS)
    assert [row["kept"].split(":")[0] for row in rows[:2]] == ["frozen", "frozen"]
    assert rows[0]["kept"] == "frozen: none"
    assert rows[1]["kept"].startswith("frozen: whiten")
    assert all(row["best_accuracy"] <= 1 for row in rows)
    # NaN where random weights give all images one embedding, so that no threshold separates them
    assert not any(row["accuracy"] > row["best_accuracy"] for row in rows)


def test_without_the_pairs_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    (table,) = lfw_pairs.run(Options(data_dir=tmp_path))
    assert table.rows == ()
    assert "needs open/lfw-people, open/lfw-pairs/pairsDevTest.txt, open/lfw-pairs/images" in table.notes[0]
