from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_files import content_of

from pairsim._common.json_files import sealed
from pairsim.data import ClassIndex, PairDataset, splits, stratified_split
from pairsim.data.splits import ValidationSplit, read_split, split_by_class, write_split
from pairsim.errors import RunError


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_split_is_stratified_seeded_and_whole(fraction: float) -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    index = ClassIndex.from_labels(labels)
    kept, held = stratified_split(index, fraction, seed=4)
    assert sorted([*kept, *held]) == list(range(71))
    assert [int((labels[held] == c).sum()) for c in range(3)] == [round(50 * fraction), round(20 * fraction), 0]
    assert (stratified_split(index, fraction, seed=4)[1] == held).all()
    assert not np.array_equal(stratified_split(index, fraction, seed=5)[1], held)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_needs_a_share(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"to be in \(0, 1\)"):
        stratified_split(ClassIndex.from_labels(np.array([0, 1])), fraction)


def test_named_images_are_split_the_same_in_any_order() -> None:
    names = [f"{number}.png" for number in range(40)]
    labels = np.arange(40) % 2
    _, held = stratified_split(ClassIndex.from_labels(labels), 0.25, names=names)
    turn = np.random.default_rng(0).permutation(40)
    _, turned = stratified_split(ClassIndex.from_labels(labels[turn]), 0.25, names=[names[index] for index in turn])
    assert {names[turn[index]] for index in turned} == {names[index] for index in held}


def test_an_image_that_comes_moves_at_most_one_other_of_its_class() -> None:
    for num in range(5, 60):
        before, after = (
            {
                f"{index}"
                for index in stratified_split(ClassIndex.from_labels(np.zeros(n, int)), 0.2, names=range_of(n))[1]
            }
            for n in (num, num + 1)
        )
        assert len(before - after) <= 1
        assert len(after - before - {f"{num}"}) <= 1


def range_of(num: int) -> list[str]:
    return [str(number) for number in range(num)]


def test_every_class_keeps_an_image() -> None:
    labels = np.array([0, 1, 1, 2, 2, 2])
    kept, held = stratified_split(ClassIndex.from_labels(labels), 0.99)
    assert set(labels[kept].tolist()) == {0, 1, 2}
    assert labels[held].tolist() == [1, 2, 2]


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_images_that_are_groups_of_their_own_are_split_as_by_name(fraction: float) -> None:
    labels = np.array([f"c{number % 3}" for number in range(60)])
    names = np.array([f"{number}.png" for number in range(60)])
    index = ClassIndex.from_labels(labels)
    for first, second in zip(
        stratified_split(index, fraction, names=names.tolist()),
        stratified_split(index, fraction, groups=names),
        strict=True,
    ):
        assert first.tolist() == second.tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 5))
def test_groups_are_held_out_whole(images: list[tuple[int, int]], seed: int) -> None:
    labels, groups = (np.array(column) for column in zip(*images, strict=True))
    index = ClassIndex.from_labels(labels)
    kept, held = stratified_split(index, 0.25, seed=seed, groups=groups)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(images)))
    assert not set(groups[kept].tolist()) & set(groups[held].tolist())
    assert set(labels[kept].tolist()) == set(labels.tolist())  # every class keeps an image
    turn = np.random.default_rng(0).permutation(len(images))
    _, turned = stratified_split(ClassIndex.from_labels(labels[turn]), 0.25, seed=seed, groups=groups[turn])
    assert sorted(turn[turned].tolist()) == held.tolist()
    counts = {label: int((labels == label).sum()) for label in set(labels.tolist())}
    shares = {label: min(int(number * 0.25 + 0.5), number - 1) for label, number in counts.items()}
    for label, share in shares.items():
        own = int((labels[held] == label).sum())
        if own < share:  # then every other group is too large, or would take all images of a class that are left
            for group in set(groups[kept][labels[kept] == label].tolist()):
                inside = labels[groups == group]
                too_large = own > 0 and len(held) + len(inside) >= 2 * sum(shares.values())
                assert too_large or any(
                    (labels[kept] == one).sum() <= (inside == one).sum() for one in set(inside.tolist())
                )


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(-3, 12), min_size=8, max_size=60).filter(lambda labels: len(set(labels)) >= 5),
    share=st.sampled_from([0.4, 0.5, 0.6]),
    seed=st.integers(0, 3),
)
def test_class_split_is_disjoint_whole_and_seeded(labels: list[int], share: float, seed: int) -> None:
    array = np.array(labels)
    index = ClassIndex.from_labels(array)
    seen, unseen = split_by_class(index, unseen=share, seed=seed)
    assert sorted([*seen, *unseen]) == list(range(len(labels)))
    assert seen.tolist() == sorted(seen)
    assert unseen.tolist() == sorted(unseen)
    assert [str(part.dtype) for part in (seen, unseen)] == ["int64", "int64"]
    assert not set(array[seen]) & set(array[unseen])
    assert len(set(array[unseen])) == math.floor(index.num_classes * share + 0.5)
    # the same classes, in another order and with other numbers of images
    turned = array[::-1].repeat(2)
    assert set(turned[split_by_class(ClassIndex.from_labels(turned), unseen=share, seed=seed)[1]]) == set(array[unseen])


@pytest.mark.parametrize("seed", range(20))
def test_a_large_group_is_passed_over_where_small_ones_are_left(seed: int) -> None:
    index = ClassIndex.from_labels(np.repeat(np.arange(8), 8))
    groups = np.array([f"picture {number}" if number % 2 else "large" for number in range(64)])
    _, held = stratified_split(index, 0.2, seed=seed, groups=groups)
    assert not (groups[held] == "large").any()
    assert np.bincount(index.codes[held], minlength=8).tolist() == [2] * 8


@pytest.mark.parametrize("seed", range(5))
def test_each_class_has_a_group_held_out_though_all_are_large(seed: int) -> None:
    index = ClassIndex.from_labels(np.repeat(np.arange(30), 20))
    groups = np.arange(600) // 10  # two in each class, of which a tenth is wanted
    _, held = stratified_split(index, 0.1, seed=seed, groups=groups)
    assert np.bincount(index.codes[held], minlength=30).tolist() == [10] * 30


def held_without_limit(labels: list[int], groups: list[int], share: float, order: list[int]) -> set[int]:
    """Hold out groups in an order until each class has its share, one image at a time; a class keeps some."""
    held = set[int]()

    def number(label: int, inside: set[int]) -> int:
        return sum(one == label and group in inside for one, group in zip(labels, groups, strict=True))

    wanted = {label: min(int(labels.count(label) * share + 0.5), labels.count(label) - 1) for label in labels}
    for group in order:
        classes = {label for label, one in zip(labels, groups, strict=True) if one == group}
        missing = any(number(label, held) < wanted[label] for label in classes)
        if missing and all(number(label, held | {group}) < labels.count(label) for label in classes):
            held.add(group)
    return held


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=12, max_size=60), st.integers(0, 9))
def test_groups_that_fit_are_held_out_as_without_a_limit(images: list[tuple[int, int]], seed: int) -> None:
    labels = [label for label, _ in images]
    groups = [10 * label + number // 2 for number, (label, _) in enumerate(sorted(images))]
    labels.sort()
    _, held = stratified_split(ClassIndex.from_labels(np.array(labels)), 0.5, seed=seed, groups=np.array(groups))
    order = sorted(set(groups), key=lambda group: splits._name_keys([group], seed)[0])
    assert {groups[number] for number in held} == held_without_limit(labels, groups, 0.5, order)


def test_class_split_follows_the_seed() -> None:
    index = ClassIndex.from_labels(np.arange(50))
    splits = {tuple(split_by_class(index, unseen=0.3, seed=seed)[1].tolist()) for seed in range(10)}
    assert len(splits) == 10
    chosen = np.bincount([number for split in splits for number in split], minlength=50)
    assert chosen.max() < 10  # no class is always unseen


def test_a_class_that_comes_moves_at_most_one_other() -> None:
    for num in range(5, 60):
        before, after = (
            set(split_by_class(ClassIndex.from_labels(np.arange(n)), unseen=0.4)[1].tolist()) for n in (num, num + 1)
        )
        assert len(before - after) <= 1
        assert len(after - before - {num}) <= 1


@pytest.mark.parametrize("unseen", [["b", "d"], {"d", "b"}, ("b", "d", "b"), np.array(["b", "d"])])
def test_named_classes_are_unseen(unseen: Any) -> None:
    index = ClassIndex.from_labels(np.array(["a", "b", "c", "d", "b"]))
    seen, held = split_by_class(index, unseen=unseen)
    assert (seen.tolist(), held.tolist()) == ([0, 2], [1, 3, 4])


def test_class_numbers_of_any_kind() -> None:
    index = ClassIndex.from_labels(np.array([5, 6, 7, 8, 5], dtype=np.uint8))
    for unseen in ([5, 7], torch.tensor([5, 7]), [np.int64(5), np.uint8(7)], range(5, 9, 2)):
        assert split_by_class(index, unseen=unseen)[1].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("unseen", "said"),
    [
        (0.0, r"share of unseen classes to be in \(0, 1\), got 0.0"),
        (1.0, r"to be in \(0, 1\), got 1.0"),
        (math.nan, r"to be in \(0, 1\), got nan"),
        (3, r"to be in \(0, 1\), got 3. Give labels as a list: \[3\]"),
        ("cat", r"Expected a share or a collection of labels, got 'cat'. Write \['cat'\]"),
        ([1, 9, "1"], r"found 2 that are not: 9, '1'. Its labels are 0, 1, 2, 3, 4, \.\.\."),
        (range(10, 20), r"found 10 that are not: 10, 11, 12, 13, 14, \.\.\."),
        (0.9, "Expected at least two unseen and two seen classes, .* got 5 unseen of 6 classes. Choose another share"),
        ([], "got 0 unseen of 6 classes"),
        ([2, 2], "got 1 unseen of 6 classes"),
        (range(6), "got 6 unseen of 6 classes"),
    ],
)
def test_class_split_messages(unseen: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        split_by_class(ClassIndex.from_labels(np.arange(12) % 6), unseen=unseen)


def test_either_side_of_a_class_split_has_negative_pairs() -> None:
    labels = np.repeat(np.arange(4), 3)
    for part in split_by_class(ClassIndex.from_labels(labels), unseen=0.5):
        assert PairDataset(range(len(part)), 6, labels=labels[part]).all_pairs().target.sum() == 3


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_the_file_gives_the_split_back(held_out: list[bool]) -> None:
    index = ClassIndex.from_labels(np.arange(len(held_out)) % 3)
    split = ValidationSplit(np.flatnonzero(held_out), index.fingerprint())
    with tempfile.TemporaryDirectory() as folder:
        write_split(Path(folder), split)
        found = read_split(Path(folder))
    assert found is not None
    assert found.held_out.tolist() == np.flatnonzero(held_out).tolist()
    assert found.held_out.dtype == np.int64
    assert found.data == index.fingerprint()


def test_the_file_of_a_run(tmp_path: Path) -> None:
    index = ClassIndex.from_labels(np.repeat(np.arange(10), 600))
    _, held_out = stratified_split(index, 0.1, seed=1)
    assert read_split(tmp_path) is None
    write_split(tmp_path, ValidationSplit(held_out, index.fingerprint()))
    found = read_split(tmp_path)
    assert found is not None
    assert np.array_equal(found.held_out, held_out)
    values = json.loads((tmp_path / "split.json").read_text())
    assert values["held_out"][:4] != "AAAA"
    assert {name: values[name] for name in ("num_images", "num_classes", "num_held_out")} == {
        "num_images": 6000,
        "num_classes": 10,
        "num_held_out": 600,
    }
    assert (tmp_path / "split.json").stat().st_size < 1500  # 6,000 bits in base64 and some names
    write_split(tmp_path, None)  # a run that is given its validation data
    write_split(tmp_path, None)
    assert read_split(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pairsim-run"}, "expected format pairsim-split, found 'pairsim-run'"),
        ({"format_version": 2}, "its format version 2 needs a newer pairsim"),
        ({"num_held_out": 3}, "expected 3 of 20 images, found others"),
        ({"num_images": 30}, "expected 2 of 30 images, found others"),
        ({"num_images": 5}, "expected 2 of 5 images, found others"),
        ({"held_out": "!"}, ""),
        ({"held_out": None}, ""),
        ({"labels": ...}, "'labels'"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    index = ClassIndex.from_labels(np.arange(20) % 2)
    write_split(tmp_path, ValidationSplit(np.array([4, 17]), index.fingerprint()))
    values = {**content_of(tmp_path / "split.json"), **change}
    kept = {name: value for name, value in values.items() if value is not ...}
    (tmp_path / "split.json").write_bytes(sealed(kept))
    with pytest.raises(RunError, match=f"Expected the validation split of a run in .*split.json, but: .*{said}"):
        read_split(tmp_path)


def test_names_that_are_not_utf_8_are_split_by_their_bytes() -> None:
    raw = [f"{number}-ü.png".encode() for number in range(20)] + [b"%d-caf\xe9.png" % number for number in range(20)]
    index = ClassIndex.from_labels(np.zeros(40, np.int64))
    _, held = stratified_split(index, 0.5, names=[os.fsdecode(name) for name in raw])
    # as a process sees the names that has ASCII only
    _, same = stratified_split(index, 0.5, names=[name.decode("ascii", "surrogateescape") for name in raw])
    assert len(held) == 20
    assert (held == same).all()
    labels = ClassIndex.from_labels(np.array([os.fsdecode(name) for name in raw]))
    assert len(split_by_class(labels, unseen=0.5)[1]) == 20


def components(labels: list[int], groups: list[int]) -> list[set[int]]:
    """Sets of classes that share groups, directly or not, by joining sets one image at a time."""
    sets = [({label}, {group}) for label, group in set(zip(labels, groups, strict=True))]
    joined: list[tuple[set[int], set[int]]] = []
    for classes, names in sets:
        touching = [one for one in joined if one[0] & classes or one[1] & names]
        joined = [one for one in joined if one not in touching]
        joined.append((set(classes).union(*(a for a, _ in touching)), set(names).union(*(b for _, b in touching))))
    return [classes for classes, _ in joined]


@settings(deadline=None)
@given(
    images=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=12, max_size=60).filter(
        lambda images: len({label for label, _ in images}) >= 10
    ),
    share=st.sampled_from([0.2, 0.4, 0.6]),
    seed=st.integers(0, 3),
)
def test_no_class_and_no_group_is_on_two_sides(images: list[tuple[int, int]], share: float, seed: int) -> None:
    labels = [label for label, _ in images]
    groups = [3 * (label // 3) + group for label, group in images]  # of up to three classes
    array, tied = np.array(labels), np.array(groups)
    index = ClassIndex.from_labels(array)
    sets = components(labels, groups)
    num = index.num_classes
    seen, unseen = split_by_class(index, unseen=share, groups=tied, seed=seed)
    assert sorted([*seen.tolist(), *unseen.tolist()]) == list(range(len(images)))
    chosen = set(array[unseen].tolist())
    assert not set(array[seen].tolist()) & chosen
    assert not set(tied[seen].tolist()) & set(tied[unseen].tolist())
    assert all(one <= chosen or not one & chosen for one in sets)
    wanted = max(math.floor(num * share + 0.5), 2)
    assert abs(len(chosen) - wanted) < max(2, *map(len, sets))
    # more images, in another order, move nothing
    turned = np.random.default_rng(0).permutation(np.repeat(np.arange(len(images)), 2))
    again = split_by_class(ClassIndex.from_labels(array[turned]), unseen=share, groups=tied[turned], seed=seed)[1]
    assert set(array[turned][again].tolist()) == chosen


@given(st.lists(st.integers(0, 9), min_size=8, max_size=40).filter(lambda labels: len(set(labels)) >= 5))
def test_groups_inside_classes_change_nothing(labels: list[int]) -> None:
    index = ClassIndex.from_labels(np.array(labels))
    groups = np.arange(len(labels))
    for tied in (groups, np.array([f"{label}, {number % 2}" for number, label in enumerate(labels)])):
        found = split_by_class(index, unseen=0.4, groups=tied)
        assert [part.tolist() for part in found] == [part.tolist() for part in split_by_class(index, unseen=0.4)]


def test_classes_linked_through_a_chain_of_groups() -> None:
    labels = np.repeat(np.arange(60), 2)  # class k has the groups k and k + 1, but for 20 and 40, which begin anew
    groups = labels + np.tile([0, 1], 60) + 100 * (labels // 20)
    seen, unseen = split_by_class(ClassIndex.from_labels(labels), unseen=0.3, groups=groups)
    assert len(unseen) == 40
    assert len(set((labels[unseen] // 20).tolist())) == 1
    with pytest.raises(ValueError, match=r"got 20 unseen of 20 classes\. Groups bind the classes into 1 set\."):
        split_by_class(ClassIndex.from_labels(labels[:40]), unseen=0.3, groups=groups[:40])
    assert len(seen) == 80


def test_named_classes_that_share_a_group_with_others() -> None:
    index = ClassIndex.from_labels(np.array(["a1", "a2", "b1", "b2", "c1", "c2"]))
    groups = np.array(list("aabbcc"))
    assert split_by_class(index, unseen=["a1", "a2"], groups=groups)[1].tolist() == [0, 1]
    with pytest.raises(
        ValueError, match="Expected classes of one group to be all seen or all unseen, found 'a1', 'a2' on"
    ):
        split_by_class(index, unseen=["a1", "b1", "b2"], groups=groups)
    with pytest.raises(ValueError, match=r"Expected one group for each of 6 images, got 5\."):
        split_by_class(index, unseen=0.5, groups=groups[:5])


def test_a_small_share_is_two_classes() -> None:
    assert len(split_by_class(ClassIndex.from_labels(np.arange(6)), unseen=0.01)[1]) == 2
