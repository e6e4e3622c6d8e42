from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim import PairDataset
from pairsim.data import ImageTensors
from pairsim.data.pairs.pair_files import read_numbered_pairs
from pairsim.data.pairs.pair_lists import PairList
from pairsim.errors import DataError, RunError


def _list(*columns: Any) -> PairList:
    return PairList(*columns)


def _columns(pairs: PairList) -> list[list[int] | None]:
    fold = None if pairs.fold is None else pairs.fold.tolist()
    return [pairs.first.tolist(), pairs.second.tolist(), pairs.target.tolist(), fold]


@pytest.mark.parametrize("folds", [None, 5])
def test_saved_lists_are_loaded_and_read_by_others(digits: ImageTensors, tmp_path: Path, folds: int | None) -> None:
    drawn = PairDataset(digits, 200, seed=3)
    pairs = PairList.of(drawn, folds=folds)
    file = tmp_path / "new" / "pairs.csv"
    pairs.save(file)
    loaded = PairList.load(file, require_hash=True)
    assert _columns(loaded) == _columns(pairs)
    assert loaded.sha256 == pairs.sha256
    assert len(loaded) == 200
    assert read_numbered_pairs(file) == tuple(_columns(pairs)[:3])
    again = PairDataset.from_pairs(digits, loaded.first, loaded.second, loaded.target)
    assert again.all_pairs().hash() == drawn.all_pairs().hash()


def test_the_file(tmp_path: Path) -> None:
    _list([3, 0], [4, 2], [1, 0], [0, 1]).save(tmp_path / "pairs.csv")
    digest = hashlib.sha256(b"3,4,1,0\n0,2,0,1\n").hexdigest()
    assert (tmp_path / "pairs.csv").read_bytes().decode() == (
        f"# pairsim pairs: 2, sha256 {digest}\nnumber1,number2,label,fold\n3,4,1,0\n0,2,0,1\n"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["pairs.csv"]


@settings(deadline=None)
@given(change=st.sampled_from(["first", "second", "target", "fold", "order", "drop"]), position=st.integers(0, 9))
def test_any_change_changes_the_hash(change: str, position: int) -> None:
    base = {"first": [*range(10)], "second": [*range(10, 20)], "target": [0, 1] * 5, "fold": [0] * 5 + [1] * 5}
    other = {name: list(values) for name, values in base.items()}
    if change == "order":
        other = {name: values[1:] + values[:1] for name, values in base.items()}
    elif change == "drop":
        other = {name: values[:position] + values[position + 1 :] for name, values in base.items()}
    elif change == "target":
        other[change][position] ^= 1
    else:
        other[change][position] += 30
    hashes = {_list(*columns.values()).sha256 for columns in (base, other)}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [("3,4,1", "3,5,1", 3), ("0,2,0", "0,2,1", 3), ("1,5,1\n", "", 2), ("1,5,1\n", "1,5,1\n1,6,1\n", 4)],
)
def test_a_changed_file_is_refused_by_every_reader(tmp_path: Path, old: str, new: str, count: int) -> None:
    file = tmp_path / "pairs.csv"
    pairs = _list([3, 0, 1], [4, 2, 5], [1, 0, 1])
    pairs.save(file)
    changed = file.read_text().replace(old, new)
    rows = changed.split("label\n")[1]
    file.write_text(changed)
    said = (
        f"Expected {file} to hold 3 pairs with sha256 {pairs.sha256}, as its first line says, found {count} with "
        f"sha256 {hashlib.sha256(rows.encode()).hexdigest()}. It was changed: get the original file, or remove the "
        "line to take the pairs as they are."
    )
    for read in (PairList.load, read_numbered_pairs):
        with pytest.raises(DataError) as caught:
            read(file)
        assert str(caught.value) == said


def test_a_wrong_count_alone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    _list([3], [4], [1]).save(file)
    file.write_text(file.read_text().replace("pairs: 1,", "pairs: 2,"))
    with pytest.raises(DataError, match=r"to hold 2 pairs .* found 1 with"):
        PairList.load(file)


@pytest.mark.parametrize("mark", ["# pairsim pairs: 1", "# pairsim pairs: 1, sha256 12ab", "# pairsim pairs"])
def test_a_broken_first_line_is_not_taken_for_a_comment(tmp_path: Path, mark: str) -> None:
    (tmp_path / "pairs.csv").write_text(f"{mark}\n3,4,1\n")
    with pytest.raises(DataError, match=f"Expected one line '# pairsim pairs: COUNT, sha256 .*found {mark!r}. Get"):
        PairList.load(tmp_path / "pairs.csv")


def test_a_list_without_hash(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("# from a colleague\n3,4,same\n0,2,different\n")
    assert PairList.load(file).sha256 == _list([3, 0], [4, 2], [1, 0]).sha256
    with pytest.raises(DataError, match=r"pairs.csv to give the hash of its pairs, found none. Write it with PairList"):
        PairList.load(file, require_hash=True)
    file.write_text("a.png,b.png,1\n")
    with pytest.raises(DataError, match="number1,number2,label with image numbers from 0"):
        PairList.load(file)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        _list([3], [4], [1]).save(tmp_path / "file" / "pairs.csv")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (([], [], []), "Expected at least one pair, found none"),
        (([1, 2], [3], [1]), r"Expected one value per pair in every column, \[P\], got shapes .*'first': \[2\]"),
        (([[1]], [[3]], [[1]]), r"Expected one value per pair .* 'target': \[1, 1\]"),
        (([1], [3], [1], [0, 1]), r"Expected one value per pair .* 'fold': \[2\]"),
        (([1], [3], [2]), "Expected every target to be 1"),
        (([1], [3], ["1"]), "Expected every target to be 1"),
        (([-1], [3], [1]), "Expected first to hold whole numbers from 0"),
        (([1], [3.0], [1]), "Expected second to hold whole numbers from 0, got dtype float64"),
        (([1], [2**63], [1]), "Expected second to hold whole numbers from 0, got 9223372036854775808"),
        (([1], [3], [1], [-1]), "Expected fold to hold whole numbers from 0"),
        (([1, 2], [3, 2], [0, 1]), "found 1 pairs of an image with itself, the first at position 1. Remove them"),
    ],
)
def test_a_list_checks_itself(columns: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        _list(*columns)


def test_a_list_is_a_locked_copy() -> None:
    first = np.array([1, 2], dtype=np.int32)
    pairs = _list(first, [3, 4], np.array([True, False]))
    before = pairs.sha256
    first[0] = 9
    assert pairs.sha256 == before
    assert [str(column.dtype) for column in (pairs.first, pairs.target)] == ["int64", "uint8"]
    with pytest.raises(ValueError, match="read-only"):
        pairs.first[0] = 9


@settings(deadline=None)
@given(
    num_pairs=st.integers(12, 200),
    positive_fraction=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    folds=st.integers(2, 3),
    seed=st.integers(0, 5),
)
def test_dealt_folds_are_even(num_pairs: int, positive_fraction: float, folds: int, seed: int) -> None:
    drawn = PairDataset(range(40), num_pairs, labels=[0, 1] * 20, positive_fraction=positive_fraction)
    pairs = PairList.of(drawn, folds=folds, seed=seed)
    assert pairs.fold is not None
    assert pairs.target.tolist() == drawn.all_pairs().target.tolist()
    for among in (pairs.target == 0, pairs.target == 1, pairs.target >= 0):
        counts = np.bincount(pairs.fold[among], minlength=folds)
        assert len(counts) == folds
        assert counts.max() - counts.min() <= 1


def test_folds_follow_the_seed(digits: ImageTensors) -> None:
    drawn = PairDataset(digits, 100)
    one, same, other = (PairList.of(drawn, folds=4, seed=seed).sha256 for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("folds", [0, 1, 6])
def test_number_of_folds_message(digits: ImageTensors, folds: int) -> None:
    said = f"got {folds} for 5 positive and 5 negative pairs. Use fewer folds"
    with pytest.raises(ValueError, match=said):
        PairList.of(PairDataset(digits, 10), folds=folds)


def test_the_epoch_that_is_set_is_the_one_that_is_listed(digits: ImageTensors) -> None:
    drawn = PairDataset(digits, 50)
    drawn.set_epoch(2)
    assert PairList.of(drawn).first.tolist() == drawn.all_pairs().first.tolist()


def _chains(lengths: list[int]) -> PairDataset:
    """Chains of pairs that have no image in common, their pairs shuffled; each with targets 0 and 1 in turn."""
    first: list[int] = []
    target: list[int] = []
    start = 0
    for length in lengths:
        first += range(start, start + length)
        target += [number % 2 for number in range(length)]
        start += length + 1
    order = np.random.default_rng(len(lengths)).permutation(len(first))
    numbers = np.array(first)[order]
    return PairDataset.from_pairs(range(start), numbers, numbers + 1, np.array(target)[order])


@settings(deadline=None)
@given(lengths=st.lists(st.sampled_from([2, 4, 6]), min_size=12, max_size=30), folds=st.integers(2, 4))
def test_separated_folds_share_no_image(lengths: list[int], folds: int) -> None:
    pairs = PairList.of(_chains(lengths), folds=folds, separate_images=True)
    assert pairs.fold is not None
    images = [
        set(np.concatenate([pairs.first[pairs.fold == f], pairs.second[pairs.fold == f]]).tolist())
        for f in range(folds)
    ]
    assert sum(map(len, images)) == len(set().union(*images)) == sum(lengths) + len(lengths)
    for target in (0, 1):
        counts = np.bincount(pairs.fold[pairs.target == target], minlength=folds)
        share = sum(lengths) / 2 / folds
        assert share / 2 <= counts.min() <= counts.max() <= 2 * share


def test_long_chains_are_one_group() -> None:
    pairs = PairList.of(_chains([3000, 3000]), folds=2, separate_images=True)
    assert np.bincount(pairs.fold if pairs.fold is not None else []).tolist() == [3000, 3000]


def test_images_that_cannot_be_separated(digits: ImageTensors) -> None:
    said = (
        r"fall into 10 folds of similar size with nothing in common, found \d+ groups of connected pairs, the largest"
    )
    with pytest.raises(DataError, match=said):
        PairList.of(PairDataset(digits, 400), folds=10, separate_images=True)
    with pytest.raises(DataError, match=r"found 3 groups of connected pairs, the largest with 40 of 44 pairs. Draw"):
        PairList.of(_chains([40, 2, 2]), folds=2, separate_images=True)
    with pytest.raises(ValueError, match="Expected folds with separate_images, got none"):
        PairList.of(PairDataset(digits, 400), separate_images=True)


def test_two_hashes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    _list([3], [4], [1]).save(file)
    mark = file.read_text().splitlines()[0]
    file.write_text(f"{mark}\n{mark[:-1]}0\n3,4,1\n")
    with pytest.raises(DataError, match="Expected one line '# pairsim pairs: COUNT, sha256"):
        PairList.load(file)


def test_kinds_and_groups_are_kept(digits: ImageTensors, tmp_path: Path) -> None:
    pairs = PairDataset.from_pairs(digits, [0, 1, 2], [3, 4, 5], [1, 0, 0], kind=["", "b", "a"], group=["v", "v", "w"])
    listed = PairList.of(pairs)
    listed.save(tmp_path / "pairs.csv")
    loaded = PairList.load(tmp_path / "pairs.csv", require_hash=True)
    assert loaded.sha256 == listed.sha256 != PairList(listed.first, listed.second, listed.target).sha256
    assert loaded.kind is not None
    assert loaded.group is not None
    assert (loaded.kind.tolist(), loaded.group.tolist()) == (["", "b", "a"], ["v", "v", "w"])


@pytest.mark.parametrize(
    ("kind", "group", "said"),
    [
        (["", ""], None, "Expected kind to hold a text for every negative pair, got others or empty ones"),
        (["a", 1], None, "Expected kind to hold a text"),
        (None, ["v", ""], "Expected group to hold a text for every pair"),
        (None, ["v"], r"one value per pair in every column"),
    ],
)
def test_a_list_checks_kinds_and_groups(kind: Any, group: Any, said: str) -> None:
    texts = (None if text is None else np.array(text, dtype=object) for text in (kind, group))
    with pytest.raises(DataError, match=said):
        PairList(np.array([0, 1]), np.array([2, 3]), np.array([1, 0], dtype=np.uint8), None, *texts)


@given(parts=st.integers(6, 15), folds=st.integers(2, 3), seed=st.integers(0, 3))
def test_folds_that_share_no_class(parts: int, folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(2 * parts), 4)
    inside = np.array([(0, 1), (2, 3), (0, 4), (1, 5), (4, 5)])  # images of two classes, which no other pair joins
    numbers = np.concatenate([inside + 8 * part for part in range(parts)])
    first, second = np.random.default_rng(seed).permutation(numbers).T
    pairs = PairDataset.from_pairs(range(8 * parts), first, second, labels[first] == labels[second])
    listed = PairList.of(pairs, folds=folds, separate_by=labels, seed=seed)
    assert listed.fold is not None
    assert listed.first.tolist() == first.tolist()
    both = np.stack([labels[first], labels[second]])
    classes = [set(both[:, listed.fold == fold].ravel().tolist()) for fold in range(folds)]
    assert sum(map(len, classes)) == len(set().union(*classes)) == 2 * parts
    images = PairList.of(pairs, folds=folds, separate_images=True, seed=seed)
    assert (
        len(set(zip(both[0].tolist(), (images.fold if images.fold is not None else first).tolist(), strict=True)))
        > 2 * parts
    )


def test_what_folds_are_separated_by(digits: ImageTensors) -> None:
    pairs = PairDataset(digits, 40)
    with pytest.raises(ValueError, match="Expected folds with separate_by, got none"):
        PairList.of(pairs, separate_by=digits.targets)
    with pytest.raises(ValueError, match=r"one class or group for each of \d+ images, got shape \[3\]"):
        PairList.of(pairs, folds=2, separate_by=np.arange(3))
    with pytest.raises(DataError, match=r"found 1 groups of connected pairs, the largest with 400 of 400 pairs\. Draw"):
        PairList.of(PairDataset(digits, 400), folds=2, separate_by=digits.targets)
