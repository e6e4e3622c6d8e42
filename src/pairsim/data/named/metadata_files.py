"""Read the labels of pictures from `metadata.csv` or `metadata.jsonl`, as an image folder of Hugging Face has it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pairsim._common.choices import Split
from pairsim._common.csv_files import SEPARATORS, read_table_file
from pairsim._common.storage import parsed_json
from pairsim.errors import DataError

_SHOWN = 80
FILE, LABEL, SPLIT, GROUP = "file_name", "label", "split", "group"

SPLIT_NAMES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}  # fmt: skip
"""The split of each name, in lower case, that a folder or a row may have; the names are those of Hugging Face."""


@dataclass(frozen=True)
class MetadataRow:
    """A row about one picture.

    Attributes:
        number: Number of the row in the file, from 1; that of a CSV's first row of values is 2.
        file: Path below the folder of the file, as it is written.
        label: Its class.
        split: Its split, if the file gives splits.
        group: Its group, if it has one.
    """

    number: int
    file: str
    label: str
    split: Split | None
    group: str | None


def read_metadata(path: Path, group: str = GROUP) -> tuple[list[str], list[MetadataRow]]:
    """Read the rows of a metadata file.

    Args:
        path: CSV in UTF-8, separated by commas, semicolons, tabs or bars, with the columns `file_name` and `label`, and
            if you like `split` and `group`; or lines of JSON objects with these keys. Others are ignored.
        group: The column of groups, in place of `group`.

    Returns:
        The names of the columns, and the rows; none if there is no column `file_name` or `label`.

    Raises:
        DataError: If the file cannot be read, has one of these columns twice, or a row has no file, label or split, or
            an unknown split.
    """
    try:
        text = read_table_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"Expected {path} in UTF-8, but: {error}. Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise DataError(f"Expected to read {path}, but: {error.strerror}. Check the file.") from error
    if path.suffix.lower() == ".jsonl":
        columns, records = _json_records(path, text, group)
    else:
        group = group.strip().casefold()
        columns, records = _csv_records(path, text, group)
    if FILE not in columns or LABEL not in columns:
        return columns, []
    return columns, [_row(path, number, record, group, with_split=SPLIT in columns) for number, record in records]


def _row(path: Path, number: int, record: Mapping[str, str], group: str, *, with_split: bool) -> MetadataRow:
    for column in (FILE, LABEL, *([SPLIT] if with_split else ())):
        if not record.get(column):
            raise DataError(f"Expected a {column} in row {number} of {path}, found none. Add it, or remove the row.")
    split = SPLIT_NAMES.get(record[SPLIT].casefold()) if with_split else None
    if with_split and split is None:
        raise DataError(
            f"Expected the split in row {number} of {path} to be train, val or test, got {record[SPLIT][:_SHOWN]!r}. "
            "Change it."
        )
    return MetadataRow(number, record[FILE], record[LABEL], split, record.get(group) or None)


Records: TypeAlias = list[tuple[int, dict[str, str]]]
"""The number and the values by column of each row that is not empty."""


def _csv_records(path: Path, text: str, group: str) -> tuple[list[str], Records]:
    """Return the names of the columns and the rows."""
    header = text.lstrip().partition("\n")[0].casefold()
    separator = next((one for one in SEPARATORS if {FILE, LABEL} <= {*map(_unquoted, header.split(one))}), ",")
    reader = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator), start=1)
    try:
        rows = [(number, values) for number, values in reader if any(map(str.strip, values))]
    except csv.Error as error:
        raise DataError(f"Expected CSV in {path}, found something else: {error}. Change it.") from error
    columns = [value.strip().casefold() for value in rows[0][1]] if rows else []
    for column in dict.fromkeys((FILE, LABEL, SPLIT, group)):
        if columns.count(column) > 1:
            raise DataError(
                f"Expected one column {column} in {path}, found {columns.count(column)}. Remove the others."
            )
    if not {FILE, LABEL} <= set(columns):
        return columns, []
    for number, values in rows[1:]:
        if len(values) != len(columns):
            raise DataError(
                f"Expected {len(columns)} values in row {number} of {path}, found {len(values)}: "
                f"{separator.join(values)[:_SHOWN]!r}. Put a value with {separator!r} in double quotes."
            )
    return columns, [(number, dict(zip(columns, map(str.strip, values), strict=True))) for number, values in rows[1:]]


def _unquoted(name: str) -> str:
    return name.strip().strip('"').strip()


def _json_records(path: Path, text: str, group: str) -> tuple[list[str], Records]:
    """Return the keys and the rows, with values as text."""
    records: Records = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = parsed_json(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise DataError(f"Expected a JSON object in row {number} of {path}, found {line[:_SHOWN]!r}. Change it.")
        columns.update(dict.fromkeys(values))
        used = {column: values[column] for column in (FILE, LABEL, SPLIT, group) if values.get(column) is not None}
        for column, value in used.items():
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise DataError(
                    f"Expected the {column} in row {number} of {path} to be text or a whole number, got "
                    f"{repr(value)[:_SHOWN]}. "
                    "Change it."
                )
        records.append((number, {column: str(value).strip() for column, value in used.items()}))
    return list(columns), records
