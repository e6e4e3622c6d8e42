from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pairsim import PairDataset
from pairsim.data.pairs.pair_files import read_folds, read_numbered_pairs, read_pair_file, read_table, write_pair_file
from pairsim.errors import DataError, ImageReadError
from pairsim.images import Preprocessing


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        Image.fromarray(np.full((6, 5), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("header", ["", "path1,path2,label\n"])
def test_csv(pictures: Path, header: str) -> None:
    (pictures / "pairs.csv").write_text(f"{header}a.png,b.png,0\nb.png, c.png ,same\n\na.png,c.png,False\n")
    pairs = PairDataset.from_csv(pictures / "pairs.csv", channels=1, image_size=(4, 4))
    assert pairs.all_pairs().target.tolist() == [0, 1, 0]
    first, second, target = pairs[1]
    assert (first.shape, int(first[0, 0, 0]), int(second[0, 0, 0]), float(target)) == ((1, 4, 4), ord("b"), ord("c"), 1)
    assert "first_path" in pairs.to_dataframe().columns


def test_csv_with_transform_and_root(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("lists") / "pairs.csv"
    file.write_text("a.png,b.png,1\n")
    pairs = PairDataset.from_csv(file, pictures, channels=1, transform=torch.Tensor.float)
    assert pairs[0][0].dtype == torch.float32


def test_lfw_pairs(tmp_path: Path) -> None:
    for name, number in (("Ann_B", 1), ("Ann_B", 4), ("Cy_D", 2)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name / f"{name}_{number:04d}.jpg")
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn_B\t1\t4\nAnn_B\t4\tCy_D\t2\n")
    pairs = PairDataset.from_csv(tmp_path / "pairs.txt")
    assert pairs.all_pairs().target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.png,b.png,0\na.png,b.png,perhaps\n", "Expected line 2 of .* label 1 .* found 'a.png,b.png,perhaps'"),
        ("a.png,b.png\n", "found no label, as in 'a.png,b.png'"),
        ("path1,path2,label\n", "to list pairs as path1,path2,label, found none"),
        ("10\t3\nAnn\t1\n", r"Expected line 2 .* found 'Ann\\t1'"),
    ],
)
def test_bad_lists(pictures: Path, text: str, said: str) -> None:
    (pictures / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        PairDataset.from_csv(pictures / "pairs.csv")


def test_missing_list_and_missing_picture(pictures: Path) -> None:
    for name, reason in (("absent.csv", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(DataError, match=rf"Expected a readable list of pairs at .*: {reason}\. Check the path"):
            PairDataset.from_csv(pictures / name)
    (pictures / "pairs.csv").write_text("a.png,absent.png,0\n")
    with pytest.raises(ImageReadError, match=r"1 picture \(.*absent.png\) is missing\. .*--on-error skip"):
        PairDataset.from_csv(pictures / "pairs.csv")


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "nan"])
def test_a_wrong_number_in_the_first_row_is_no_header(pictures: Path, label: str) -> None:
    file = pictures / "pairs.csv"
    file.write_text(f"a.png,b.png,{label}\nb.png,c.png,0\n")
    with pytest.raises(DataError, match=r"Expected line 1 of .* to be path1,path2,label"):
        read_pair_file(file)


@pytest.mark.parametrize(
    ("label", "target"), [("1", 1), ("TRUE", 1), ("Same", 1), ("yes", 1), ("0", 0), ("0.0", 0), ("different", 0)]
)
def test_words_for_labels(pictures: Path, label: str, target: int) -> None:
    (pictures / "pairs.csv").write_text(f"a.png,b.png,{label}\n")
    assert read_pair_file(pictures / "pairs.csv") == [(str(pictures / "a.png"), str(pictures / "b.png"), target)]


def test_commas_in_names_and_the_mark_of_windows(pictures: Path) -> None:
    (pictures / "a.png").rename(pictures / "a,1.png")
    (pictures / "pairs.csv").write_bytes(b'\xef\xbb\xbf"a,1.png",b.png,1\r\nb.png,c.png,0\r\n')
    assert [row[2] for row in read_pair_file(pictures / "pairs.csv")] == [1, 0]


def test_backslashes_of_windows_separate_folders(pictures: Path) -> None:
    (pictures / "in").mkdir()
    (pictures / "a.png").rename(pictures / "in" / "a.png")
    (pictures / "b.png").rename(pictures / "b\\1.png")
    (pictures / "pairs.csv").write_text("in\\a.png,b\\1.png,1\n")
    assert read_pair_file(pictures / "pairs.csv") == [(str(pictures / "in/a.png"), str(pictures / "b\\1.png"), 1)]


def test_the_message_on_missing_pictures_names_a_guessed_encoding(pictures: Path) -> None:
    (pictures / "pairs.csv").write_bytes("\xe4.png,b.png,1\n".encode("cp850"))
    with pytest.raises(ImageReadError, match=r"The list was read as cp1252: save it as UTF-8\."):
        read_pair_file(pictures / "pairs.csv")


def test_absolute_paths_stay(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("lists") / "pairs.csv"
    file.write_text(f"{pictures / 'a.png'},{pictures / 'b.png'},1\n")
    assert read_pair_file(file, "elsewhere")[0][0] == str(pictures / "a.png")


def test_a_picture_in_several_pairs_is_one_image(pictures: Path) -> None:
    (pictures / "pairs.csv").write_text("a.png,b.png,1\na.png,c.png,0\n")
    pairs = PairDataset.from_csv(pictures / "pairs.csv")
    assert len(pairs.dataset) == 3
    assert pairs.all_pairs().first.tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:1 repeated pair counts")
def test_a_picture_under_several_paths_is_one_image(pictures: Path) -> None:
    file = pictures / "pairs.csv"
    file.write_text(f"a.png,b.png,0\n./a.png,{pictures}/b.png,0\n{pictures}/x/../b.png,c.png,1\n")
    pairs = PairDataset.from_csv(file)
    assert (pairs.all_pairs().first.tolist(), pairs.all_pairs().second.tolist()) == ([0, 0, 1], [1, 1, 2])
    assert [Path(path).name for path in pairs.dataset.paths] == ["a.png", "b.png", "c.png"]
    file.write_text("a.png,b.png,0\na.png,./a.png,1\n")
    with pytest.raises(DataError, match=r"found 1 of a picture with itself, such as .a\.png,\./a\.png"):
        PairDataset.from_csv(file)


def test_a_link_is_the_picture_that_it_leads_to(pictures: Path) -> None:
    (pictures / "link.png").symlink_to(pictures / "a.png")
    file = pictures / "pairs.csv"
    file.write_text("a.png,b.png,0\nlink.png,b.png,0\nlink.png,c.png,1\n")
    with pytest.warns(UserWarning, match="1 repeated pair counts"):
        assert PairDataset.from_csv(file).all_pairs().first.tolist() == [0, 0, 0]
    file.write_text("a.png,link.png,1\n")
    with pytest.raises(DataError, match=r"such as .a\.png,link\.png"):
        PairDataset.from_csv(file)


def test_a_picture_paired_with_itself_is_refused(pictures: Path) -> None:
    (pictures / "pairs.csv").write_text("a.png,a.png,1\n")
    with pytest.raises(
        DataError, match=r"pairs\.csv, found 1 of a picture with itself, such as .a\.png,a\.png.\. Remove"
    ):
        PairDataset.from_csv(pictures / "pairs.csv")


def test_lfw_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("10\t300\nAnn_B\tone\t4\n")
    with pytest.raises(DataError, match=r"Expected line 2 of .*pairs.txt to be 'name n1 n2'"):
        read_pair_file(tmp_path / "pairs.txt")


def test_numbered_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("first,second,target\n3,4,1\n0,2,0\n")
    assert read_numbered_pairs(file) == ([3, 0], [4, 2], [1, 0])
    for text in ("a.png,b.png,1\n", "-1,2,0\n", ""):
        file.write_text(text)
        with pytest.raises(DataError, match="number1,number2,label with image numbers from 0"):
            read_numbered_pairs(file)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"Expected a readable list of pairs at .*utf-8"):
        read_pair_file(tmp_path / "pairs.csv")


def test_comments_at_the_top_and_folds_change_no_pair(pictures: Path) -> None:
    file = pictures / "pairs.csv"
    file.write_text("a.png,b.png,0\nb.png,c.png,same\n")
    plain = read_pair_file(file)
    assert read_folds(file) is None
    for text in (
        "# made by hand\na.png,b.png,0\nb.png,c.png,same\n",
        '# two, "comments\n#\n\npath1,path2,label\na.png,b.png,0\nb.png,c.png,same\n',
        "# folds\npath1,path2,label,fold\na.png,b.png,0,1\nb.png,c.png,same, 0\n",
        "a.png,b.png,0,1\nb.png,c.png,same,0\n",
    ):
        file.write_text(text)
        assert read_pair_file(file) == plain
        assert read_folds(file) == ([1, 0] if "png,0,1" in text else None)


def test_numbered_pairs_with_comment_and_folds(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("# ten digits\nnumber1,number2,label,fold\n3,4,1,7\n0,2,0,7\n")
    assert read_numbered_pairs(file) == ([3, 0], [4, 2], [1, 0])
    assert read_folds(file) == [7, 7]


def test_a_picture_whose_name_begins_like_a_comment_is_not_passed_over(pictures: Path) -> None:
    (pictures / "a.png").rename(pictures / "#a.png")
    (pictures / "pairs.csv").write_text("#a.png,b.png,1\n#a.png,c.png,0\n")
    assert [row[2] for row in read_pair_file(pictures / "pairs.csv")] == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# one\na.png,b.png,1,x\n", "Expected line 2 of .* found 'a.png,b.png,1,x'"),
        ("a.png,b.png,same,x\n", "Expected line 1 of .* a fold number from 0, found 'a.png,b.png,same,x'"),
        ("a.png,b.png,1,-1\n", "Expected line 1 of .* found 'a.png,b.png,1,-1'"),
        ("# one\n# two\npath1,path2,label\na.png,b.png,maybe\n", "Expected line 4 of .* found 'a.png,b.png,maybe'"),
        ("a.png,b.png,1\n# late\n", "Expected line 2 of .* found '# late'"),
        ("a.png,b.png,1,0\nb.png,c.png,1\n", "Expected a fold in every row of .* or in none, found line 2 unlike"),
        ("a.png,b.png,1\nb.png,c.png,1,0\n", "Expected a fold in every row of .* or in none, found line 2 unlike"),
        ("# nothing else\n", "to list pairs as path1,path2,label, found none"),
    ],
)
def test_bad_comments_and_folds(pictures: Path, text: str, said: str) -> None:
    (pictures / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_pair_file(pictures / "pairs.csv")


def test_folds_of_lfw(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    same, other = ["Ann\t1\t4"] * 2, ["Ann\t1\tCy\t2"] * 2
    file.write_text("\n".join(["# view 2", "3\t2", *(same + other) * 3]))
    assert read_folds(file) == [0] * 4 + [1] * 4 + [2] * 4
    file.write_text("\n".join(["6", *(same + other) * 3]))  # as in view 1
    assert read_folds(file) is None
    file.write_text("\n".join(["3\t2", *same, *other]))
    said = "Expected .* to list 3 folds of 2 positive and 2 negative pairs, as its first line says, found 4 pairs"
    with pytest.raises(DataError, match=said):
        read_folds(file)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1).filter(
    lambda name: name == name.strip()
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(NAMES, NAMES, st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=8),
    folds=st.booleans(),
)
def test_written_paths_are_read_back(tmp_path: Path, pairs: list[tuple[str, str, int, int]], folds: bool) -> None:
    first, second, target, fold = (list(column) for column in zip(*pairs, strict=True))
    file = tmp_path / "pairs.csv"
    write_pair_file(file, first, second, target, fold if folds else None)
    table = read_table(file)
    assert table.rows == [(a, b, t) for a, b, t, _ in pairs]
    assert table.folds == (fold if folds else None)
    assert table.frozen


def test_a_frozen_list_of_paths(pictures: Path) -> None:
    file = pictures / "pairs.csv"
    write_pair_file(file, ["a.png", "b.png"], ["b.png", "c.png"], [True, False])
    head, *rows = file.read_bytes().splitlines(keepends=True)
    digest = hashlib.sha256(b"a.png,b.png,1\nb.png,c.png,0\n").hexdigest()
    assert head.decode() == f"# pairsim pairs: 2, sha256 {digest}\n"
    assert rows == [b"path1,path2,label\n", b"a.png,b.png,1\n", b"b.png,c.png,0\n"]
    assert [row[2] for row in read_pair_file(file)] == [1, 0]
    # other line ends, another header, words for labels and more comments are the same pairs
    file.write_bytes(head + b"# mine\r\nleft,right,target\r\na.png, b.png,same\r\nb.png,c.png,no\r\n")
    assert [row[2] for row in read_pair_file(file)] == [1, 0]
    file.write_bytes(head + b"a.png,b.png,1\nb.png,c.png,1\n")
    found = hashlib.sha256(b"a.png,b.png,1\nb.png,c.png,1\n").hexdigest()
    said = f"to hold 2 pairs with sha256 {digest}, as its first line says, found 2 with sha256 {found}. It was changed"
    with pytest.raises(DataError, match=said):
        read_pair_file(file)


@pytest.mark.parametrize("name", ["", " a.png", "a.png ", "a\nb.png", "a\u2028b.png", "a\0.png", "\udcff.png"])
def test_names_that_would_not_come_back(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"Expected paths in UTF-8 without line breaks .*, got .*\(1 such\)"):
        write_pair_file(tmp_path / "pairs.csv", ["a.png", name], ["b.png", "c.png"], [1, 0])


KINDS = "first,second,target,kind,group\n"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "a.png,b.png,0,,v\n",
            r"Expected line 2 of .* to be a negative pair with its kind, found 'a.png,b.png,0,,v'. Fill",
        ),
        ("a.png,b.png,1,,\n", r"Expected line 2 of .* to be a pair with its group, found 'a.png,b.png,1,,'"),
        (
            "a.png,b.png,1,,v\na.png,c.png,2,skilled,v\n",
            r"Expected line 3 of .* with label 1 \(same\) or 0 \(different\)",
        ),
        ("a.png,b.png,1\n", r"Expected line 2 of .* to be 5 fields, like the first line, found 'a.png,b.png,1'"),
    ],
)
def test_bad_kinds_and_groups(pictures: Path, rows: str, said: str) -> None:
    (pictures / "pairs.csv").write_text(f"{KINDS}{rows}a.png,b.png,0,skilled,v\n")
    with pytest.raises(DataError, match=said):
        PairDataset.from_csv(pictures / "pairs.csv")


def test_kinds_and_groups_are_written_and_frozen(pictures: Path) -> None:
    file = pictures / "pairs.csv"
    columns = ["a.png", "b.png"], ["b.png", "c.png"], [1, 0]
    write_pair_file(file, *columns, [4, 5], kind=["", "skilled"], group=["v", "w"])
    assert file.read_text().splitlines()[1:] == [
        "path1,path2,label,fold,kind,group",
        "a.png,b.png,1,4,,v",
        "b.png,c.png,0,5,skilled,w",
    ]
    table = read_table(file)
    assert (table.folds, table.kinds, table.groups, table.frozen) == ([4, 5], ["", "skilled"], ["v", "w"], True)
    file.write_text(file.read_text().replace("skilled", "random"))
    with pytest.raises(DataError, match="It was changed"):
        read_table(file)
    with pytest.raises(ValueError, match=r"Expected kinds in UTF-8 .*, got ' x' \(1 such\). Rename them"):
        write_pair_file(file, *columns, kind=["", " x"])


def test_csv_with_kinds_groups_and_preprocessing(pictures: Path) -> None:
    (pictures / "pairs.csv").write_text(f"{KINDS}a.png,b.png,1,,v\nb.png,c.png,0,skilled,v\na.png,c.png,0,random,w\n")
    reading = Preprocessing(image_size=(6, 12), channels=1, fit="pad")
    pairs = PairDataset.from_csv(pictures / "pairs.csv", preprocessing=reading)
    assert pairs.kind is not None
    assert pairs.group is not None
    assert (pairs.kind.tolist(), pairs.group.tolist()) == (["", "skilled", "random"], ["v", "v", "w"])
    assert pairs[0][0][0, 0].tolist() == [255] * 3 + [ord("a")] * 5 + [255] * 4  # padded with white
    assert pairs.to_dataframe()["kind"].tolist() == ["", "skilled", "random"]
    assert pairs.to_dataframe()["group"].tolist() == ["v", "v", "w"]
    plain = PairDataset.from_pairs(pairs.dataset, [0], [1], [1])
    assert (plain.kind, plain.group) == (None, None)
    assert "kind" not in plain.to_dataframe().columns
