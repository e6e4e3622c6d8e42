"""`pairsim train` reads labels and pictures once and never loads its own model; `evaluate` loads it once."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_command import here

from pairsim.data.labels import read_labels
from pairsim.images.reading import read_image
from pairsim.models import pretrained

EPOCHS, BATCH_SIZE = 2, 8
TRAIN = ("--epochs", str(EPOCHS), "--batch-size", str(BATCH_SIZE), "--num-workers", "0", "--device", "cpu")
READING = ("--image-size", "12", "--channels", "1")


def looks(*num_images: int) -> int:
    """Readings before training: for each set up to 8 pictures in a forward pass, and the first one for its shape."""
    return sum(min(count, 8) + 1 for count in num_images)


def write_pictures(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 180)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = level + generator.integers(0, 40, (12, 12))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


def replace(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Replace a function in all modules of pairsim that have imported it."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "pairsim":
            for key in [key for key, value in vars(module).items() if value is function]:
                monkeypatch.setattr(module, key, other)


class Counts:
    """Counts readings of labels, pictures and models.

    Attributes:
        labels: Number of images of each dataset whose labels were read; arrays that were read before do not count.
        models: Folders that a model was loaded from.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.labels: list[int] = []
        self.models: list[Path] = []
        self._pictures = folder / "pictures.txt"  # a file, as worker processes read pictures too
        load = pretrained.load

        def labels_of(dataset: Any, labels: Any = None) -> Any:
            if not isinstance(labels, np.ndarray):
                self.labels.append(len(dataset))
            return read_labels(dataset, labels)

        def picture(path: Any, **options: Any) -> Any:
            with self._pictures.open("a") as file:
                file.write(f"{path}\n")
            return read_image(path, **options)

        def model(folder: Path, net: Any) -> Any:
            self.models.append(folder)
            return load(folder, net)

        replace(monkeypatch, read_labels, labels_of)
        replace(monkeypatch, read_image, picture)
        monkeypatch.setattr(pretrained, "load", model)

    def pictures(self) -> Counter[str]:
        """Number of readings of each picture."""
        return Counter(self._pictures.read_text().splitlines())

    def clear(self) -> None:
        self.labels.clear()
        self.models.clear()
        self._pictures.unlink(missing_ok=True)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Counts:
    for name in ("training.data_setup", "data.named.class_folders", "verification.scoring", "report", "runs.run_data"):
        importlib.import_module(f"pairsim.{name}")  # those that use the counted functions
    return Counts(monkeypatch, tmp_path)


def write_data(folder: Path, *, has_val: bool) -> tuple[int, int]:
    """Write a folder of pictures; return the number of training and of validation images."""
    if has_val:
        write_pictures(folder / "train", 10)
        write_pictures(folder / "val", 4)
        return 20, 8
    write_pictures(folder, 10)
    return 14, 2  # 4 are test images


def train(folder: Path, *arguments: str) -> None:
    done = here("train", "data", "--out", "run", *TRAIN, *arguments, cwd=folder)
    assert done.status == 0, done.err
    assert "No report" not in done.err


@pytest.mark.parametrize("objective", ["all-pairs", "pairs"])
@pytest.mark.parametrize("has_val", [False, True])
def test_resident_pictures_are_decoded_once(counts: Counts, tmp_path: Path, has_val: bool, objective: str) -> None:
    sizes = write_data(tmp_path / "data", has_val=has_val)
    train(tmp_path, "--resident", "--objective", objective, *READING)
    assert (tmp_path / "run" / "report.html").is_file()
    assert counts.models == []
    assert counts.labels == ([20, 8] if has_val else [16])
    assert counts.pictures().total() == sum(sizes) + looks(*sizes)
    assert len(counts.pictures()) == sum(sizes)


@pytest.mark.parametrize("has_val", [False, True])
def test_pictures_are_decoded_once_in_each_epoch(counts: Counts, tmp_path: Path, has_val: bool) -> None:
    num_train, num_val = write_data(tmp_path / "data", has_val=has_val)
    train(tmp_path, "--no-resident", "--no-report", *READING)
    assert counts.models == []
    assert counts.labels == ([20, 8] if has_val else [16])
    statistics = num_train
    baseline = num_val if has_val else 0  # two validation images are of two classes, and none can be judged
    readable = num_train + num_val  # all that cannot be read are named before the first epoch
    expected = EPOCHS * (num_train + num_val) + readable + statistics + baseline + looks(num_train, num_val)
    assert counts.pictures().total() == expected


@pytest.mark.parametrize("has_val", [False, True])
def test_pictures_of_pairs_are_decoded_once_in_each_batch(counts: Counts, tmp_path: Path, has_val: bool) -> None:
    num_train, num_val = write_data(tmp_path / "data", has_val=has_val)
    train(tmp_path, "--no-resident", "--no-report", "--objective", "pairs", *READING)
    assert counts.models == []
    assert counts.labels == ([20, 8] if has_val else [16])
    statistics, num_batches = 1, -(-num_train // BATCH_SIZE)
    assert max(counts.pictures().values()) <= EPOCHS * num_batches + statistics + 2
    assert len(counts.pictures()) == num_train + num_val


def test_the_report_decodes_validation_pictures_once_and_again_those_it_shows(counts: Counts, tmp_path: Path) -> None:
    sizes = write_data(tmp_path / "data", has_val=True)
    train(tmp_path, "--no-resident", "--no-report", *READING)
    without = counts.pictures()
    counts.clear()
    train(tmp_path, "--no-resident", "--resume", "never", *READING)
    shown = (tmp_path / "run" / "report.html").read_text().count("data:image/png")
    for_report = counts.pictures() - without
    assert for_report.total() == sizes[1] + shown
    assert {Path(name).parts[1] for name in for_report} == {"val"}
    assert counts.models == []
    assert counts.labels == [20, 8]


def test_size_and_channels_of_a_folder_are_read_from_some_pictures(counts: Counts, tmp_path: Path) -> None:
    write_data(tmp_path / "data", has_val=True)
    train(tmp_path, "--resident", "--no-report", *READING)
    given = counts.pictures()
    counts.clear()
    train(tmp_path, "--resident", "--no-report", "--resume", "never")
    chosen = counts.pictures() - given
    assert chosen.total() == 21
    assert {Path(name).parts[1] for name in chosen} == {"train"}


@pytest.mark.parametrize(("command", "has_val"), [("evaluate", False), ("report", False), ("calibrate", True)])
def test_a_run_is_loaded_once(counts: Counts, tmp_path: Path, command: str, has_val: bool) -> None:
    write_data(tmp_path / "data", has_val=has_val)
    train(tmp_path, "--no-report", *READING)
    counts.clear()
    out = ("--out", "page.html") if command == "report" else ()
    done = here(command, "run", "data", *out, cwd=tmp_path)
    assert done.status == 0, done.err
    assert counts.models == [Path("run")]
    assert counts.labels == ([20, 8] if has_val else [4])
    if command != "report":  # which reads the pictures that it shows again
        assert set(counts.pictures().values()) == {1}
