"""Images that a run is judged by are read as its model reads pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim import EmbeddingNet, SimilarityModel
from pairsim._common import storage
from pairsim.data import ClassIndex, load_data, read_labels, stratified_split
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.runs.run_data import held_out_images, load_evaluation_data

PREPROCESSING = Preprocessing(image_size=(8, 8), channels=3, fit="crop", interpolation="bicubic")


@pytest.fixture
def model() -> SimilarityModel:
    net = EmbeddingNet(in_channels=3, image_size=8, embedding_dim=4)
    return SimilarityModel(net, preprocessing=PREPROCESSING).eval()


def write(folder: Path, names: str = "ab") -> None:
    generator = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = generator.integers(0, 256, (10, 24), dtype=np.uint8)  # in grey, for a model in colour
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def check(files: Any, num: int) -> None:
    assert len(files) == num
    for path, (image, _) in zip(files.paths, files, strict=True):
        assert torch.equal(image, PREPROCESSING.read(path))


def test_a_split(model: SimilarityModel, tmp_path: Path) -> None:
    write(tmp_path / "data")
    for split, num in (("train", 16), ("test", 4)):
        check(load_evaluation_data(model, str(tmp_path / "data"), split, None, None).dataset, num)  # type: ignore[arg-type]


def test_a_file_of_pairs(model: SimilarityModel, tmp_path: Path) -> None:
    write(tmp_path / "data")
    (tmp_path / "pairs.csv").write_text("a/1.png,a/2.png,1\nb/1.png,a/1.png,0\n")
    pairs = load_evaluation_data(model, str(tmp_path / "data"), "test", tmp_path / "pairs.csv", None).dataset
    check(pairs.dataset, 3)
    assert pairs.all_pairs().target.tolist() == [1, 0]
    first, second, target = pairs[1]
    assert torch.equal(first, PREPROCESSING.read(tmp_path / "data" / "b" / "1.png"))
    assert torch.equal(second, PREPROCESSING.read(tmp_path / "data" / "a" / "1.png"))
    assert float(target) == 0


def test_a_validation_set_of_its_own(model: SimilarityModel, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / "data" / split)
    check(held_out_images(tmp_path / "run", model, str(tmp_path / "data"), None), 20)


def test_what_the_run_held_out(model: SimilarityModel, tmp_path: Path) -> None:
    write(tmp_path / "data")
    with pytest.raises(RunError, match="Expected a run folder at"):
        held_out_images(tmp_path / "run", model, str(tmp_path / "data"), None)
    labels = read_labels(load_data(tmp_path / "data", "train").dataset)
    kept, held = stratified_split(ClassIndex.from_labels(labels), 0.25, seed=3)
    known = ClassIndex.from_labels(labels[kept]).fingerprint()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_bytes(storage.to_json({"val_fraction": 0.25, "seed": 3}))
    (tmp_path / "run" / "run.json").write_bytes(storage.to_json({"data": known}))
    check(held_out_images(tmp_path / "run", model, str(tmp_path / "data"), None), len(held))
