"""The rows of the `pairs.txt` of Labeled Faces in the Wild."""

from __future__ import annotations

from pairsim.data.pairs.pair_text import ListText
from pairsim.errors import DataError

_LFW_ROW = "'name n1 n2' or 'name1 n1 name2 n2' with tabs between"


def is_lfw(rows: list[list[str]]) -> bool:
    """Whether rows with tabs are those of LFW: names with numbers, below a line with the numbers of folds and pairs."""
    filled = [row for row in rows[:3] if any(map(str.strip, row))]
    if not filled or any("," in field for row in filled for field in row) or max(map(len, filled)) == 1:
        return False
    first, *below = filled
    if len(first) <= 2 and all(field.strip().isdecimal() for field in first):
        return any(not all(field.strip().isdecimal() for field in row) for row in below)
    return len(first) in (3, 4) and first[1].strip().isdecimal() and not first[0].strip().isdecimal()


def lfw_rows(text: ListText, rows: list[list[str]]) -> list[tuple[str, str, int]]:
    """Return the two pictures and the target of each row, without a first line of numbers.

    Raises:
        DataError: If a row is not a pair.
    """
    parsed = []
    for number, fields in enumerate(rows, start=text.first):
        row = _lfw_row(fields)
        if row is not None:
            parsed.append(row)
        elif any(map(str.strip, fields)) and (number != text.first or len(fields) in (3, 4)):
            found = "\t".join(fields)
            raise DataError(f"Expected line {number} of {text.file} to be {_LFW_ROW}, found {found!r}.")
    return parsed


def _lfw_row(fields: list[str]) -> tuple[str, str, int] | None:
    """Return images and target of a row of LFW; None if the fields are not a pair."""
    if len(fields) not in (3, 4):
        return None
    pair = (fields[0], fields[1]), (fields[0] if len(fields) == 3 else fields[2], fields[-1])
    try:
        first, second = (f"{name}/{name}_{int(number):04d}.jpg" for name, number in pair)
    except ValueError:
        return None
    return first, second, int(len(fields) == 3)
