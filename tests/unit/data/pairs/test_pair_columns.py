from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pairsim.data.pairs.pair_columns import header_columns, targets_of
from pairsim.data.pairs.pair_files import read_folds, read_table
from pairsim.errors import DataError


def read(folder: Path, *rows: str) -> tuple[list[tuple[str, str]], list[int] | None]:
    file = folder / "pairs.csv"
    file.write_text("\n".join(rows))
    table = read_table(file)
    return table.pairs, table.target


@pytest.mark.parametrize(
    "header",
    [
        *("file1,file2,same", "image1,image2,label", "path1,path2,target", "first,second,match", "left,right,is_same"),
        *("image_0,image_1,label", "Image A,Image B,Same Class", "img1,img2,genuine", "number1,number2,y", "a,b,label"),
        *("query,reference,target", "something,else,label", "x,y,issame", "image1_path,image2_path,anything"),
    ],
)
def test_headers_are_no_pairs(tmp_path: Path, header: str) -> None:
    found = read(tmp_path, header, "a.png,b.png,1", "c.png,d.png,0")
    assert found == ([("a.png", "b.png"), ("c.png", "d.png")], [1, 0])


@pytest.mark.parametrize("row", ["a,b,1", "1,2,1", "first,second,1", "left,right,true", "a,b,same", "x,y,no"])
def test_rows_that_look_like_a_header_are_pairs(tmp_path: Path, row: str) -> None:
    first, second, label = row.split(",")
    below = ("c,d,same", "e,f,different") if label == "same" else ("c,d,1", "e,f,0")
    pairs, target = read(tmp_path, row, *below)
    assert pairs == [(first, second), ("c", "d"), ("e", "f")]
    assert target == [0 if label == "no" else 1, 1, 0]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("label,path1,path2", "1,a.png,b.png"),
        (",path1,path2,label", "0,a.png,b.png,1"),
        ("image2,score,label,image1", "b.png,0.5,same,a.png"),
        ("path1,id1,path2,id2,same,comment", "a.png,7,b.png,7,True,good"),
        ("path1,path2,label1,label2,target", "a.png,b.png,3,3,1"),
        ("first,second,similarity,match,target,correct", "a.png,b.png,0.4,0,1,0"),
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, header: str, row: str) -> None:
    assert read(tmp_path, header, row) == ([("a.png", "b.png")], [1])


@pytest.mark.parametrize(
    "rows",
    [
        ("image1,image2", "a.png,b.png"),
        ("a.png,b.png",),
        ("first,second,similarity,probability,match,threshold,fmr", "a.png,b.png,0.4,0.5,0,0.5,"),
        ("path1,path2,comment", "a.png,b.png,perhaps"),
    ],
)
def test_lists_without_labels(tmp_path: Path, rows: tuple[str, ...]) -> None:
    assert read(tmp_path, *rows) == ([("a.png", "b.png")], None)
    with pytest.raises(DataError, match=r"found no label, as in 'a.png,b.png'. Add a column with 1 \(same\) or 0"):
        _ = read_table(tmp_path / "pairs.csv").rows


def test_a_fold_is_found_by_name(tmp_path: Path) -> None:
    read(tmp_path, "fold,path1,path2,label", "3,a.png,b.png,1", "1,c.png,d.png,0")
    assert read_folds(tmp_path / "pairs.csv") == [3, 1]


@pytest.mark.parametrize(
    ("labels", "targets"),
    [
        ("1 0", [1, 0]),
        ("1 -1", [1, 0]),
        ("-1.0 1.0", [0, 1]),
        ("True FALSE", [1, 0]),
        ("match nonmatch", [1, 0]),
        ("Match Non-Match", [1, 0]),
        ("genuine impostor", [1, 0]),
        ("same different", [1, 0]),
        ("positive negative", [1, 0]),
        ("WAHR FALSCH", [1, 0]),
        ("y n", [1, 0]),
        ("1,0 0,00", [1, 0]),
        ("1.00 +1 0. 0", [1, 1, 0, 0]),
        ("0 -1", [0, None]),
        ("2 1", [None, 1]),
        ("0.93 1", [None, 1]),
        ("1 perhaps", [1, None]),
    ],
)
def test_labels(labels: str, targets: list[int | None]) -> None:
    assert targets_of(labels.split()) == targets


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("path1,path2,different", "a.png,b.png,1"), "'different', whose 1 means different. Swap the labels"),
        (("impostor,path1,path2", "1,a.png,b.png"), "'impostor', whose 1 means different. .* It is in line 1 of"),
        (("path1,path2,label,target", "a.png,b.png,1,0"), "one column of labels, found 'label' and 'target'"),
        (("path1,path2,label", "a.png,b.png,1", "a,1.png,b.png,1"), "line 3 of .* to be 3 fields, like the first line"),
        (("a.png,b.png,0", "c.png,d.png,-1"), "Expected line 2 of .* found 'c.png,d.png,-1'. Labels may be words"),
        (("path1,path2,label", "a.png,,1"), "Expected line 2 of .* found 'a.png,,1'"),
        (("1,a.png,b.png",), "Expected line 1 of .* need a first line with their names, such as label,path1,path2"),
        (("a.png b.png 1",), "Expected line 1 of .* to be path1,path2,label"),
    ],
)
def test_lists_that_are_not_understood(tmp_path: Path, rows: Sequence[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, *rows)


@pytest.mark.parametrize(
    "name",
    ["is_different", "is_diff", "not_same", "No-Match", "mismatch", "is_negative", "forged", "is_forgery", "Fake"],
)
def test_labels_whose_one_means_different_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name!r}, whose 1 means different. Swap the labels"):
        read(tmp_path, f"path1,path2,{name}", "a.png,b.png,1", "c.png,d.png,0")


@pytest.mark.parametrize("name", ["distance", "dist", "dissimilarity"])
def test_distances_of_one_and_zero_are_no_labels(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, f"path1,path2,{name}", "a.png,b.png,1", "c.png,d.png,0")[1] is None


def test_long_names_of_columns_take_no_time() -> None:
    assert header_columns([["filename" * 5000 + "!", "image" * 5000 + "!", "label!"]]) is None


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("first,second,target,kind,group", "a.png,b.png,0,skilled,w001"),
        ("group,kind,path1,path2,label", "w001,skilled,a.png,b.png,0"),
        ("Kind,first,second,target,Group,fold", "skilled,a.png,b.png,0,w001,3"),
    ],
)
def test_kind_and_group_are_found_by_name(tmp_path: Path, header: str, row: str) -> None:
    assert read(tmp_path, header, row) == ([("a.png", "b.png")], [0])
    table = read_table(tmp_path / "pairs.csv")
    assert (table.kinds, table.groups) == (["skilled"], ["w001"])


def test_kind_and_group_alone_are_no_labels(tmp_path: Path) -> None:
    assert read(tmp_path, "first,second,kind,group", "a.png,b.png,0,1") == ([("a.png", "b.png")], None)
