"""Each value in the JSON of a run and a model replaced by others: read, or named in one line."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pairsim import SimilarityModel
from pairsim.data.splits import read_split
from pairsim.errors import PairsimError
from pairsim.runs import read_run
from pairsim.runs.class_splits import ClassSplit

ODD: tuple[Any, ...] = (10**400, -(10**400), 1e308, -1, 0, [10**400], {"a": 1}, "x", "\x1b[31m", None, True, [])
IMAGE = torch.zeros(1, 8, 8, dtype=torch.uint8)


def model(run: Path) -> object:
    return SimilarityModel.from_pretrained(run).verify(IMAGE, IMAGE)


def data(run: Path) -> object:
    values = json.loads((run / "data.json").read_text())
    return read_run(run), ClassSplit.from_record(values, run) if isinstance(values, dict) else None


FILES: dict[str, Callable[[Path], object]] = {
    "model/config.json": model,
    "run.json": read_run,
    "config.json": read_run,
    "split.json": read_split,
    "data.json": data,
}
CLASS_SPLIT = {"unseen": 0.5, "val": ["a"], "test": ["b"]}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a value, and its own."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return value


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES)
def test_every_value_may_be_odd(file: str, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    path = run / file
    values = json.loads(path.read_text())
    values.pop("sha256", None)
    if file == "data.json":
        values["class_split"] = CLASS_SPLIT
    tried, wrong = 0, list[str]()
    for place in places(values):
        for other in ODD:
            path.write_text(json.dumps(replaced(values, place, other)))
            tried += 1
            try:
                FILES[file](run)
            except PairsimError as error:
                if not str(error).isprintable():
                    wrong.append(f"{place} {other!r:.20}: {error}")
            except Exception as error:
                wrong.append(f"{place} {other!r:.20}: {type(error).__name__}: {error}")
    print(f"{file}: {tried} values")
    assert not wrong
