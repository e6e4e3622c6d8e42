from __future__ import annotations

from pathlib import Path

import pytest
from folder_trees import locked

from pairsim.data.named.metadata_files import MetadataRow, read_metadata
from pairsim.errors import DataError


def written(folder: Path, content: str | bytes, name: str = "metadata.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        "file_name,label,split,group\na.png,cat,train,g\nb.png,dog,Testing,\n",
        "\ufefffile_name,label,split,group\r\na.png,cat,train,g\r\nb.png,dog,TEST,\r\n",
        "file_name;label;split;group\na.png;cat;train;g\nb.png;dog;test;\n",
        '"file_name"\t"label"\tsplit\tgroup\na.png\tcat\ttrain\tg\nb.png\tdog\ttest\t\n',
        "\nlabel|file_name|split|group\ncat|a.png|train|g\ndog|b.png|test|\n",
        'group, Label ,FILE_NAME,split,text\n g ,cat, a.png,TRAINING,"x,\ny"\n,dog,b.png,evaluation,\n',
    ],
)
def test_csv(content: str, tmp_path: Path) -> None:
    _, rows = read_metadata(written(tmp_path, content))
    first = 3 if content.startswith("\n") else 2
    assert rows == [
        MetadataRow(first, "a.png", "cat", "train", "g"),
        MetadataRow(first + 1, "b.png", "dog", "test", None),
    ]


def test_rows_are_counted_with_those_that_are_empty(tmp_path: Path) -> None:
    _, rows = read_metadata(written(tmp_path, "\nfile_name,label\n\n,\na.png,007\n"))
    assert rows == [MetadataRow(5, "a.png", "007", None, None)]


def test_json_lines(tmp_path: Path) -> None:
    content = '{"file_name": "a.png", "label": 3, "text": [1]}\r\n\n{"label": "x", "file_name": "b.png", "group": 5}\n'
    columns, rows = read_metadata(written(tmp_path, content, "metadata.jsonl"))
    assert columns == ["file_name", "label", "text", "group"]
    assert rows == [MetadataRow(1, "a.png", "3", None, None), MetadataRow(3, "b.png", "x", None, "5")]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("", []),
        ("\n", []),
        ("file_name,Text\na.png,hello\n", ["file_name", "text"]),
        ("file_name,label\n", ["file_name", "label"]),
        ("name,label,\na.png,x\n", ["name", "label", ""]),
        ("file;label\na.png;x\n", ["file;label"]),
    ],
)
def test_files_without_labels(content: str, columns: list[str], tmp_path: Path) -> None:
    assert read_metadata(written(tmp_path, content)) == (columns, [])


def test_a_locked_file(tmp_path: Path) -> None:
    path = written(tmp_path, "file_name,label\na.png,x\n")
    with locked(path), pytest.raises(DataError, match=r"read .*metadata\.csv, but: Permission denied\. Check the file"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("file_name,label,label\na.png,x,y\n", r"Expected one column label in .*, found 2\. Remove the others"),
        ("file_name,label\na.png\n", r"Expected 2 values in row 2 of .*, found 1: 'a\.png'"),
        (
            "file_name,label\na.png,x\nb, c.png,y\n",
            r"Expected 2 values in row 3 of .*, found 3: 'b, c.png,y'. Put a value with ','",
        ),
        ("file_name;label\na.png;x;y\n", r"Expected 2 values in row 2 .* Put a value with ';' in double quotes"),
        ('file_name,label\na.png,"x\n', r"Expected CSV in .*, found something else: unexpected end of data"),
        ("file_name,label\na.png,caf\xe9\n".encode("latin-1"), r"Expected .* in UTF-8, but: .*Save it as CSV in UTF-8"),
        ("file_name,label\na.png,x\n".encode("utf-16"), r"Expected .* in UTF-8"),
    ],
)
def test_wrong_csv(content: str | bytes, expected: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=expected):
        read_metadata(written(tmp_path, content))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", r"Expected a JSON object in row 2 of .*, found '\{'"),
        ("[1]", "Expected a JSON object in row 2"),
        ("[" * 100_000, "Expected a JSON object in row 2"),
        ('{"file_name": "b.png", "label": 1.5}', r"the label in row 2 of .* to be text or a whole number, got 1\.5"),
        ('{"file_name": "b.png", "label": true}', "the label in row 2"),
        ('{"file_name": ["b.png"], "label": 1}', "the file_name in row 2"),
        ('{"file_name": "b.png", "label": null}', "Expected a label in row 2"),
        ('{"file_name": "b.png"}', "Expected a label in row 2"),
        ('{"label": "b", "text": [5]}', "Expected a file_name in row 2"),
    ],
)
def test_wrong_json_lines(line: str, expected: str, tmp_path: Path) -> None:
    path = written(tmp_path, '{"file_name": "a.png", "label": 1}\n' + line, "metadata.jsonl")
    with pytest.raises(DataError, match=expected):
        read_metadata(path)


def test_json_lines_without_files(tmp_path: Path) -> None:
    assert read_metadata(written(tmp_path, '{"label": 1, "text": 2}', "metadata.jsonl")) == (["label", "text"], [])


@pytest.mark.parametrize(
    "content", ["File_Name,label,group,Writer\n1.png,a,g,w1\n", "file_name,label,writer\n1.png,a,w1\n"]
)
def test_another_column_of_groups(content: str, tmp_path: Path) -> None:
    _, rows = read_metadata(written(tmp_path, content), " Writer ")
    assert [row.group for row in rows] == ["w1"]
    with pytest.raises(DataError, match=r"Expected one column writer in .*, found 2"):
        read_metadata(written(tmp_path, "file_name,label,writer,Writer\n1.png,a,w1,w2\n"), "writer")


def test_another_key_of_groups(tmp_path: Path) -> None:
    file = written(tmp_path, '{"file_name": "1.png", "label": "a", "writer": 3}\n', "metadata.jsonl")
    assert [row.group for row in read_metadata(file, "writer")[1]] == ["3"]
    file = written(tmp_path, '{"file_name": "1.png", "label": "a", "writer": [3]}\n', "metadata.jsonl")
    with pytest.raises(DataError, match=r"Expected the writer in row 1 of .* to be text or a whole number, got \[3\]"):
        read_metadata(file, "writer")
