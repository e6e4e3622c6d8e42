"""Any tree of folders, files and links is read or rejected, and the account adds up to all of its files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairsim.data import load_data
from pairsim.errors import PairsimError
from pairsim.images import Preprocessing
from pairsim.images.folders import scan

PREPROCESSING = Preprocessing(image_size=(8, 8), channels=1)  # so that no picture, all of which are empty, is opened

KNOWN = st.sampled_from(
    ["cat", "dog", "Train", "train", "TEST", "val", "valid", "eval", "@eaDir", ".git", "Thumbs.db", "metadata.csv"]
)
ODD_BYTES = st.binary(min_size=1, max_size=12).map(os.fsdecode)
ODD_TEXT = st.text(min_size=1, max_size=12)
STEMS = st.one_of(KNOWN, st.sampled_from("abc"), ODD_BYTES, ODD_TEXT)
ENDINGS = st.sampled_from(["", ".png", ".png", ".png", ".JPG", ".tga", ".txt", ".eps", ".", ".\n", ". x"])
NAMES = st.one_of(KNOWN, st.tuples(STEMS, ENDINGS).map("".join)).filter(
    lambda name: "/" not in name and "\0" not in name and name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)
TARGETS = st.one_of(PATHS, st.sampled_from([".", "..", "../..", "/", "absent"]), NAMES.map(lambda name: f"../{name}"))
TREES = st.lists(
    st.one_of(
        st.tuples(st.just("file"), PATHS, st.just("")),
        st.tuples(st.just("file"), PATHS, st.just("")),
        st.tuples(st.just("folder"), PATHS, st.just("")),
        st.tuples(st.just("link"), PATHS, TARGETS),
    ),
    max_size=14,
)
CELLS = st.one_of(
    st.sampled_from(["a.png", "cat/a.png", "train/a.png", "train", "test", "cat", ""]), st.text(max_size=6)
)
STARTS = st.sampled_from(
    [
        [],
        ["a.png", "cat/a.png", "cat/b.png", "dog/a.png", "dog/in/a.png", "x.txt"],
        ["train/cat/a.png", "train/dog/a.png", "TEST/cat/a.png", "TEST/dog/b.JPG", "val/cat/a.png"],
    ]
)
"""Files that a tree has besides those that are drawn, so that most trees have classes."""

TABLES = st.none() | st.none() | st.lists(st.lists(CELLS, min_size=3, max_size=4), max_size=3)
HEADERS = st.sampled_from(
    ["file_name,label,split", "file_name,label,group", "label,file_name,x,group", "a,b", "\ufeff"]
)


def make(root: Path, tree: list[tuple[str, str, str]], table: list[list[str]] | None, header: str) -> None:
    for kind, name, target in tree:
        path = os.path.join(root, name)
        try:
            os.makedirs(path if kind == "folder" else os.path.dirname(path), exist_ok=True)
            if kind == "file":
                with open(path, "xb"):
                    pass
            elif kind == "link":
                os.symlink(target, path)
        except (OSError, ValueError):  # a name that is taken, too long, or not allowed
            continue
    if table is not None and not os.path.isdir(root / "metadata.csv") and not os.path.lexists(root / "metadata.csv"):
        lines = [header, *(",".join(cells) for cells in table)]
        (root / "metadata.csv").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))


def checked(call: Callable[[], Any]) -> Any:
    """The result of a call, or None if it fails as it may."""
    try:
        return call()
    except UnicodeError:
        raise
    except (PairsimError, ValueError, TypeError):
        return None


@pytest.mark.slow
@settings(max_examples=2_000, suppress_health_check=list(HealthCheck))
@given(STARTS, TREES, TABLES, HEADERS, st.sampled_from([1, 1, 1, 2, 3]))
def test_the_account_adds_up(
    start: list[str], tree: list[tuple[str, str, str]], table: Any, header: str, level: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "in" / "root"
        root.mkdir(parents=True)
        make(root, [*(("file", name, "") for name in start), *tree], table, header)
        number = sum(len(files) for _, _, files in os.walk(root))
        found = checked(lambda: scan(root))
        if found is None:
            return
        assert len(found.names) + sum(one.files for one in found.left_out) == number
        assert len(set(found.names)) == len(found.names)
        assert len(str(found).splitlines()) == 1
        assert all(os.path.isfile(path) for path in found.pictures)
        for split in ("train", "val", "test"):
            loaded = checked(partial(load_data, root, split, preprocessing=PREPROCESSING, class_level=level))
            if loaded is None:
                continue
            assert len(loaded) == loaded.account.splits[split]
            used = sum(loaded.account.splits.values())
            assert used + sum(one.files for one in loaded.account.left_out) == number
            assert len(loaded) + sum(one.files for one in loaded.account.left_out_of(split)) == number
            assert len(loaded.account.line(split).splitlines()) == 1
