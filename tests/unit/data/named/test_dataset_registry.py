from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from run_command import here

from pairsim._common.choices import Split
from pairsim.data import ImageTensors, LabelledData, load_data
from pairsim.data.named import NAMES, data_root
from pairsim.data.named.dataset_registry import DATASETS
from pairsim.errors import DatasetNotFoundError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fashionmnist", "Did you mean fashion-mnist"),
        ("digit", "Did you mean digits"),
        ("zzz", r"found neither at 'zzz'\. Check the path\.$"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=said):
        load_data(name, "train")


@pytest.mark.parametrize(
    ("data", "level", "kind", "said"),
    [
        ("photos", 0, ValueError, "Expected class_level to be at least 1, got 0."),
        ("photos", True, TypeError, "Expected class_level to be a whole number of at least 1, got True."),
        ("photos", "2", TypeError, "Expected class_level to be a whole number of at least 1, got '2'."),
        ("digits", 2, ValueError, "Expected class_level to be 1 for the named dataset digits, got 2. Leave it out."),
    ],
)
def test_class_levels_that_are_none(data: str, level: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(said)}$"):
        load_data(data, "all", class_level=level)


def test_where_data_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRSIM_DATA", "/env")
    assert data_root(tmp_path) == tmp_path
    assert data_root() == Path("/env")
    monkeypatch.delenv("PAIRSIM_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/pairsim")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache" / "pairsim"


def load_toy(name: str, split: Split, root: Path) -> LabelledData:
    """A dataset of the kind that a user registers."""
    images = torch.randint(0, 256, (40, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    part = slice(0, 30) if split == "train" else slice(30, 40)
    dataset = ImageTensors(images[part], torch.arange(40)[part] % 2)
    return LabelledData(dataset, ("even", "odd"), (8, 8), 1, f"{name} below {root.name}")


@pytest.fixture
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS, "toy", f"{__name__}:load_toy")


@pytest.mark.usefixtures("_toy")
def test_one_line_registers_a_dataset(tmp_path: Path) -> None:
    assert "toy" in NAMES
    train, test = (load_data("toy", split, data_dir=tmp_path / "here") for split in ("train", "test"))
    assert (len(train), len(test), train.source) == (30, 10, "toy below here")
    with pytest.raises(DatasetNotFoundError, match="Expected one of digits, fashion-mnist, mnist, toy, or a folder"):
        load_data("nonesuch", "train")


@pytest.mark.usefixtures("_toy")
def test_a_registered_dataset_is_trained_on_and_calibrated_with_by_name(tmp_path: Path) -> None:
    options = ("--epochs", "1", "--batch-size", "16", "--embedding-dim", "4", "--device", "cpu")
    trained = here("train", "toy", "--out", "run", *options, "--no-report", "--json", cwd=tmp_path)
    assert trained.status == 0, trained.err
    assert json.loads((tmp_path / "run" / "data.json").read_text())["class_names"] == ["even", "odd"]
    evaluated = here("evaluate", "run", "toy", "--json", cwd=tmp_path)
    assert evaluated.status == 0, evaluated.err
    assert evaluated.json["num_images"] == 10


def test_names_are_listed_without_pytorch() -> None:
    code = (
        "import sys; from pairsim.data.named import NAMES, data_root, load_data; print(*NAMES, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["digits", "fashion-mnist", "mnist", "False"]
