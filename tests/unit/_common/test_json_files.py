from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pairsim._common import storage
from pairsim._common.json_files import json_value, read_sealed, read_sealed_lines, sealed, sealed_lines
from pairsim.errors import RunError


@dataclass(frozen=True)
class Row:
    name: str
    rates: tuple[float, ...]


def test_nested_results_become_json() -> None:
    rows = (Row("a", (0.5, math.nan)), Row("b", ()))
    expected = {"rows": [{"name": "a", "rates": [0.5, None]}, {"name": "b", "rates": []}], "n": 2, "none": None}
    value = json_value({"rows": rows, "n": 2, "none": None})
    assert value == expected
    assert json.loads(json.dumps(value, allow_nan=False)) == expected


def test_infinities_become_none_and_other_values_stay() -> None:
    assert json_value([math.inf, -math.inf, 0.0, True, "nan"]) == [None, None, 0.0, True, "nan"]


VALUES: dict[str, Any] = {
    "format": "x",
    "weights": "a" * 64,
    "numbers": [1.5, 1e-9, -0.0, 3],
    "t": "ü\udce9",
    "d": {"a": None},
}


def test_an_object_has_the_hash_of_the_rest_as_its_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(sealed(VALUES))
    first, *_ = json.loads(path.read_bytes()).items()
    assert first == ("sha256", hashlib.sha256(storage.to_json(VALUES)).hexdigest())
    assert read_sealed(path) == VALUES
    path.write_bytes(storage.to_json(VALUES))  # of an earlier version
    assert read_sealed(path) == VALUES
    path.write_text(json.dumps(json.loads(sealed(VALUES)), sort_keys=True))
    with pytest.raises(RunError, match="is of other content"):  # order counts, as of classes
        read_sealed(path)


def test_lines_have_the_hash_of_their_number_and_content(tmp_path: Path) -> None:
    path, records = tmp_path / "x.jsonl", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}, VALUES]
    path.write_bytes(sealed_lines(records))
    assert read_sealed_lines(path) == records
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["sha256"] for line in lines[:1]] == [
        hashlib.sha256(b'1 {"epoch": 1, "loss": 0.5}').hexdigest()
    ]
    path.write_bytes(lines[0])  # a beginning is what an earlier moment had
    assert read_sealed_lines(path) == records[:1]
    for wrong in (lines[1:], lines[::-1], [lines[0], lines[2]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(RunError, match=r"x\.jsonl, line [12] is damaged or was edited"):
            read_sealed_lines(path)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert read_sealed_lines(path) == records
    assert (sealed_lines([]), path.write_bytes(b""), read_sealed_lines(path)) == (b"", 0, [])


@pytest.mark.parametrize("lines", [False, True])
def test_every_flipped_bit_is_found_or_changes_nothing(lines: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    content = sealed_lines([VALUES, VALUES]) if lines else sealed(VALUES)
    read: Callable[[Path], Any] = read_sealed_lines if lines else read_sealed
    unchanged = 0
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            found = read(path)
        except RunError as error:
            assert f"{path}" in str(error)  # noqa: PT017
        else:
            unchanged += 1
            assert found == ([VALUES, VALUES] if lines else VALUES)
    assert unchanged < 20  # white space


def test_an_edit_is_told_and_accepted_without_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(sealed(VALUES).decode("utf-8", "surrogatepass").replace("1.5", "1.25"), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        read_sealed(path)
    assert str(caught.value) == (
        f"{path} is damaged or was edited: its SHA-256 is of other content. Copy it again; to accept an edit, remove "
        '"sha256" and its value.'
    )
    first, second, *others = path.read_text().splitlines(keepends=True)
    assert '"sha256"' in second
    path.write_text("".join([first, *others]))
    assert read_sealed(path)["numbers"][0] == 1.25


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"sha256": "' + "0" * 64 + '", "a": NaN}')
    with pytest.raises(RunError, match="is of other content"):
        read_sealed(path)
