from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_files import folder_of_classes, write_pictures
from PIL import Image
from run_command import UNUSUAL_NAME, here


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that the command line trained on digits; copy it before changing it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = here("train", "digits", "--out", folder, "--epochs", "4", "--batch-size", "64", cwd=folder.parent)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def run(trained_digits: Path, tmp_path: Path) -> Path:
    """A copy of the run on digits, which a test may change."""
    return Path(shutil.copytree(trained_digits, tmp_path / "digits"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sub-folder per class: stripes across and stripes down."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in ("across", "down"):
        (folder / name).mkdir()
        for number in range(20):
            pixels = np.zeros((20, 20), np.uint8)
            pixels[int(generator.integers(0, 4)) :: 4] = 255
            pixels = np.clip(pixels + generator.integers(0, 50, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels if name == "across" else pixels.T).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its data, and a folder of pictures, one of which has a name that not all encodings have."""
    folder = tmp_path_factory.mktemp("surroundings")
    for name, brightest in (("a", 60), ("ü", 255)):
        write_pictures(folder / "data" / name, [f"{number}.png" for number in range(10)], brightest=brightest)
    folder_of_classes(folder / "pics", ("a", "b"))
    (folder / "pics" / "a" / "0.png").rename(folder / "pics" / "a" / UNUSUAL_NAME)
    for call in (["train", "data", "--out", "run", "--epochs", "1", "--no-report"],
                 ["gallery", "add", "gallery", "pics", "--run", "run"]):  # fmt: skip
        done = here(*call, cwd=folder)
        assert done.status == 0, done.err
    return folder
