"""Read the labels of pictures from `metadata.csv` or `metadata.jsonl`, as an image folder of Hugging Face has it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pairsim._common.choices import Split
from pairsim.errors import DataError

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


def read_metadata(path: Path) -> list[MetadataRow] | None:
    """Read the rows of a metadata file.

    Args:
        path: CSV in UTF-8 with the columns `file_name` and `label`, and if you like `split` and `group`; or lines of
            JSON objects with these keys. Others are ignored.

    Returns:
        The rows; `None` if the file has no labels.

    Raises:
        DataError: If the file cannot be read, or a row has no file, label or split, or an unknown split.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"Expected {path} in UTF-8, but: {error}. Save it as CSV in UTF-8.") from error
    except OSError as error:
        raise DataError(f"Expected to read {path}, but: {error.strerror}. Check its permissions.") from error
    records = list(_json_records(path, text) if path.suffix.lower() == ".jsonl" else _csv_records(path, text))
    columns = {column for _, record in records for column in record}
    if records and FILE not in columns:
        raise DataError(f"Expected {path} to have a column {FILE}, found {', '.join(sorted(columns))}. Add it.")
    if LABEL not in columns:
        return None
    return [_row(path, number, record, with_split=SPLIT in columns) for number, record in records]


def _row(path: Path, number: int, record: Mapping[str, str], *, with_split: bool) -> MetadataRow:
    for column in (FILE, LABEL, *([SPLIT] if with_split else ())):
        if not record.get(column):
            raise DataError(f"Expected a {column} in row {number} of {path}, found none. Add it, or remove the row.")
    split = SPLIT_NAMES.get(record[SPLIT].casefold()) if with_split else None
    if with_split and split is None:
        raise DataError(
            f"Expected the split in row {number} of {path} to be train, val or test, got {record[SPLIT]!r}. Change it."
        )
    return MetadataRow(number, record[FILE], record[LABEL], split, record.get(GROUP) or None)


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the values by column of each row that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    number = 0
    try:
        for number, values in enumerate(reader, start=1):
            if not any(map(str.strip, values)):
                continue
            if header is None:
                header = [value.strip().casefold() for value in values]
                twice = {column for column in header if column and header.count(column) > 1}
                if twice or FILE not in header:
                    raise DataError(
                        f"Expected the first row of {path} to name each column once, {FILE} and {LABEL} among them, "
                        f"with commas between, found {','.join(values)!r}. Change it."
                    )
                continue
            if len(values) != len(header):
                raise DataError(
                    f"Expected {len(header)} values in row {number} of {path}, found {len(values)}: "
                    f"{','.join(values)!r}. Put a value with a comma in double quotes."
                )
            yield number, dict(zip(header, map(str.strip, values), strict=True))
    except csv.Error as error:
        raise DataError(f"Expected CSV in {path}, but row {number + 1} is not: {error}. Change it.") from error


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the values as text of each line that is not empty."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DataError(f"Expected a JSON object in row {number} of {path}, found {line[:80]!r}. Change it.")
        used = {column: values[column] for column in (FILE, LABEL, SPLIT, GROUP) if values.get(column) is not None}
        for column, value in used.items():
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise DataError(
                    f"Expected the {column} in row {number} of {path} to be text or a whole number, got {value!r}. "
                    "Change it."
                )
        yield number, {**dict.fromkeys(values, ""), **{column: str(value).strip() for column, value in used.items()}}
