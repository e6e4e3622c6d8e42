"""The benchmark of duplicates: its sets, its arithmetic against counting by hand, and its arms on small pictures."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import duplicate_sets, duplicates
from benchmarks.duplicate_scores import (
    Cluster,
    figures,
    kinds_named,
    originals_to_go,
    recall_by_edit,
    swept,
    within,
)
from benchmarks.duplicate_sets import ORIGINAL, PictureSet, cluster_pairs, write_edited, write_made, write_real
from benchmarks.optional import missing
from benchmarks.options import OptionError, Options
from pairsim.audits.duplicates.rates.edits import EDITS
from pairsim.images import read_image


def save(path: Path, seed: int) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(path, quality=95)
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten photographs, four products, and a group of two real copies beside two pictures of the same room."""
    monkeypatch.delenv("PAIRSIM_DATA", raising=False)
    place = tmp_path / "data" / "open"
    source = place / "near-duplicates"
    for number in range(10):
        save(source / "distractors" / f"photo{number}.JPEG", number)
    for number in range(4):
        save(place / "groceries" / f"class{number % 2}" / f"{number}.jpg", 100 + number)
    shutil.copy(save(source / "lib" / "a" / "copy.jpg", 200), save(source / "lib" / "b" / "copy.jpg", 0))
    for number in range(2):
        save(source / "lib" / f"room{number}.jpg", 300 + number)
    rows = [("a", "lib/a/copy.jpg", "two"), ("a", "lib/b/copy.jpg", "two")]
    rows += [(f"room{number}", f"lib/room{number}.jpg", "singletons, the same room") for number in range(2)]
    with open(source / "groups.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("group", "path", "note"), *rows])
    return tmp_path / "data"


def test_the_edited_set_has_every_edit_of_one_half(data: Path, tmp_path: Path) -> None:
    test = write_edited(tmp_path / "test", data, quick=True)
    development = write_edited(tmp_path / "development", data, half="development", quick=True)

    def edited(found: PictureSet) -> set[str]:
        return {found.families[name] for name, edit in found.edits.items() if edit == ORIGINAL}

    assert edited(test) == {"photo1", "photo3", "photo5"}
    assert edited(development) == {"photo0", "photo2", "photo4"}
    of_one = [edit for name, edit in test.edits.items() if test.families[name] == "photo1"]
    assert sorted(of_one) == sorted([ORIGINAL, *(edit.name for edit in EDITS)])
    assert len(test.copies) == 3 * len(list(combinations(of_one, 2)))
    assert set(os.listdir(test.folder)) == set(test.families)
    alone = [name for name in test.families if test.edits[name] == ""]
    assert len({test.families[name] for name in alone}) == len(alone) == 1 + 4
    (original,) = (name for name, edit in test.edits.items() if (test.families[name], edit) == ("photo3", ORIGINAL))
    source = data / "open" / "near-duplicates" / "distractors" / "photo3.JPEG"
    assert (test.folder / original).read_bytes() == source.read_bytes()
    (mirrored,) = (name for name, edit in test.edits.items() if (test.families[name], edit) == ("photo3", "mirrored"))
    assert torch.equal(read_image(test.folder / mirrored), read_image(source).flip(2))
    assert test.kinds[mirrored] == "mirrored"


def test_the_real_set_takes_its_groups_from_the_list(data: Path, tmp_path: Path) -> None:
    found = write_real(tmp_path / "real", data)
    assert len(found.families) == 4 + 10
    assert len(found.copies) == 1
    ((one, other),) = found.copies
    assert (found.folder / one).read_bytes() == (found.folder / other).read_bytes()
    assert len(write_real(tmp_path / "quick", data, quick=True).families) == 2 + 1


def test_the_made_set_has_a_copy_in_ten(tmp_path: Path) -> None:
    found = write_made(tmp_path / "made", 40, seed=3)
    assert len(found.families) == 40
    assert len(found.copies) == 4
    assert [edit for edit in found.edits.values() if edit != ORIGINAL] == [edit.name for edit in EDITS[:4]]
    again = write_made(tmp_path / "again", 40, seed=3)
    assert found.families == again.families
    name = next(iter(found.families))
    assert (found.folder / name).read_bytes() == (again.folder / name).read_bytes()
    assert read_image(found.folder / name).shape == (3, 256, 256)


def test_where_the_pictures_are(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="Set PAIRSIM_DATA or pass --data-dir"):
        duplicate_sets.data_folder(None)
    monkeypatch.setenv("PAIRSIM_DATA", str(data))
    assert duplicate_sets.data_folder(None) == data
    with pytest.raises(OptionError, match=r"Expected a folder of pictures at .*near-duplicates"):
        write_edited(tmp_path / "new", tmp_path)
    with pytest.raises(OptionError, match="to be empty or absent, found files"):
        write_edited(data, data)


def small_set(edits: Sequence[str] = (ORIGINAL, "grey", "png copy", ORIGINAL, "grey", "")) -> PictureSet:
    """Two families, abc and de, and f alone."""
    families = dict(zip("abcdef", "111223", strict=True))
    named = {"grey": "grey", "png copy": "identical pixels"}
    kinds = {name: named.get(edit, "") for name, edit in zip("abcdef", edits, strict=True)}
    return PictureSet(Path(), families, dict(zip("abcdef", edits, strict=True)), kinds)


def test_figures_of_pairs() -> None:
    pictures = small_set()
    assert pictures.copies == {("a", "b"), ("a", "c"), ("b", "c"), ("d", "e")}
    assert pictures.num_others == 15 - 4
    found = figures(pictures, [("a", "b"), ("d", "e"), ("a", "f")])
    assert found == {"recall": 0.5, "false_pairs": 1, "false_per_million": 1e6 / 11, "precision": 2 / 3}
    assert figures(pictures, [])["precision"] is None
    assert set(cluster_pairs([["c", "a", "b"], ["f"]])) == {("a", "b"), ("a", "c"), ("b", "c")}


def test_recall_by_edit_is_of_originals() -> None:
    assert recall_by_edit(small_set(), [("a", "b"), ("b", "c")]) == {"grey": 0.5, "png copy": 0.0}


def test_changes_are_named_beside_an_original() -> None:
    clusters = [Cluster("a", {"b": "grey, cropped", "c": "resized"}), Cluster("e", {"d": "grey"})]
    assert kinds_named(small_set(), clusters) == {"grey": 1.0, "png copy": 0.0}


def test_originals_to_go_are_those_beside_other_pixels() -> None:
    assert originals_to_go(small_set(), [Cluster("c", {"a": ""}), Cluster("e", {"d": ""})]) == {"d": "grey"}
    assert originals_to_go(small_set(), [Cluster("f", {"a": ""})]) == {"a": "another picture"}


@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_is_the_best_threshold(seed: int) -> None:
    """Against trying every threshold."""
    pictures = small_set()
    half = np.triu(np.random.default_rng(seed).integers(0, 6, (6, 6)), k=1)
    distances = half + half.T
    order = [*np.random.default_rng(seed).permutation(list("abcdef"))]
    names = [str(name) for name in order]
    tried = {threshold: within(names, distances, threshold) for threshold in range(-1, 7)}
    allowed = [pairs for pairs in tried.values() if figures(pictures, pairs)["false_pairs"] <= 1]
    threshold, pairs = swept(pictures, names, distances)
    assert pairs == max(allowed, key=len)
    if pairs:
        assert tried[int(threshold)] == pairs
    else:
        assert np.isnan(threshold)


def test_distances_of_hashes_and_of_embeddings() -> None:
    bits = np.array([[True, False, True], [True, True, False], [True, False, True]])
    assert duplicates._distances(bits).tolist() == [[0, 2, 0], [2, 0, 2], [0, 2, 0]]
    assert duplicates._distances(bits.astype(np.uint8)).tolist() == [[0, 2, 0], [2, 0, 2], [0, 2, 0]]
    vectors = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    expected = [[0, 1, 1 - 0.5**0.5], [1, 0, 1 - 0.5**0.5], [1 - 0.5**0.5, 1 - 0.5**0.5, 0]]
    assert np.allclose(duplicates._distances(vectors), expected)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Arms run here, with its cores and threads."""
    calls: list[tuple[str, ...]] = []

    from PIL.ImageFile import ImageFile

    monkeypatch.setattr(ImageFile, "load", ImageFile.load)  # so that it is put back

    def run_here(_: str, *arguments: str) -> dict[str, float]:
        calls.append(arguments)
        return duplicates.measure(*arguments)

    monkeypatch.setattr(duplicates, "run_fresh", run_here)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return calls


@pytest.mark.slow
def test_run_leaves_out_packages_that_are_not_there(
    data: Path, in_this_process: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "optional", lambda *_: None)
    tables = duplicates.run(Options(quick=True, data_dir=data, images=20))
    assert [table.title.split(":")[0] for table in tables] == [
        duplicates.EDITED,
        duplicates.REAL,
        duplicates.BY_EDIT,
        duplicates.COST,
        f"{duplicates.MADE} of 256 x 256",
    ]
    edited, real, by_edit, cost, made = (table.rows for table in tables)
    assert {missing("imagehash"), missing("imagededup")} < set(tables[0].notes)
    assert (real[0]["recall"], real[0]["precision"], real[0]["false_pairs"]) == (1.0, 1.0, 0)
    assert {row["edit"] for row in by_edit} == {edit.name for edit in EDITS}
    assert next(row for row in by_edit if row["edit"] == "png copy")[duplicates.PAIRSIM] == 1.0
    assert 0 < edited[0]["recall"] <= 1
    assert [row["arm"] for row in cost] == [f"{duplicates.PAIRSIM}, {cores}" for cores in ("all cores", "1 core")]
    assert made[0]["pictures"] == 20
    assert 0 < made[0]["decoding"] < 1
    assert {call[3] for call in in_this_process} == {"all", "1"}


@pytest.mark.filterwarnings("ignore:Parameter num_enc_workers:RuntimeWarning")
@pytest.mark.parametrize("arm", [*duplicates.IMAGEHASH, *duplicates.IMAGEDEDUP])
def test_hash_libraries_find_what_hardly_differs(
    arm: str, data: Path, tmp_path: Path, in_this_process: list[tuple[str, ...]]
) -> None:
    pytest.importorskip(arm.partition(" ")[0])
    pictures = write_edited(tmp_path / "edited", data, quick=True)
    found = duplicates._searched(arm, pictures, tmp_path, data)
    assert recall_by_edit(pictures, found.pairs)["png copy"] == 1.0
    assert found.default is not None
    assert recall_by_edit(pictures, found.default)["jpeg quality 80"] == 1.0
    assert found.cost["cpu_seconds"] > 0


def test_the_net_is_left_out_without_its_weights(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "optional", lambda *_: object())
    arms, notes = duplicates._arms(data)
    assert arms == [*duplicates.IMAGEHASH, *duplicates.IMAGEDEDUP, duplicates.PAIRSIM]
    assert notes == ["imagededup CNN is left out: its weights are not there."]


def test_the_script_writes_a_set_and_scores_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def quickly(place: Path, found: Path, *, half: Any) -> PictureSet:
        return write_edited(place, found, half=half, quick=True)

    monkeypatch.setattr(duplicates, "write_edited", quickly)
    arguments = ["--edited", str(tmp_path / "edited"), "--data-dir", str(data), "--half", "development"]
    assert duplicates.main(arguments) == 0
    assert "104 pictures, 1,584 pairs of copies" in capsys.readouterr().out
    assert duplicates.main(["--score", str(tmp_path / "edited")]) == 0
    printed = capsys.readouterr().out
    assert "| png copy | 1 |" in printed
    assert "| mirrored | 1 |" in printed
